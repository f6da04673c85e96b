"""Tables that compare a scale with the paper: settings and model sizes."""

import re

import pandas as pd

from eccl_lib.config import load
from eccl_lib.config.describe import PARAMETERS, source_of
from eccl_lib.config.ranges import shown_value
from eccl_lib.config.schema import Config
from eccl_lib.models.cmr_encoders import cmr_encoder
from eccl_lib.models.ecg_vit import grid
from eccl_lib.models.heads import on_meta, parameters_in_millions
from eccl_lib.models.mae import MaskedAutoencoder

NOT_STATED = "not stated"


def scale_table(config: Config, *prefixes: str) -> pd.DataFrame:
    """One row per setting that differs from the paper's scale: paper, authors' code, here.

    prefixes: dotted names or their beginnings, such as "align." or "view.ecg"; by default all that may change results.
    Whether the paper or the authors' code states a value is read from the comment of the field in ``config.schema``.
    """
    paper, authors = load.load("paper"), load.load("authors")
    rows = {}
    names = [name for name in load.names() if name not in PARAMETERS and not name.startswith("runtime.")]
    for name in (name for name in names if name.startswith(prefixes or "")):
        if name.startswith("synthetic.") and config.cohort != "synthetic":
            continue
        values = [setting_text(each, name) for each in (paper, authors, config)]
        if values[2] != values[0]:
            source = source_of(name)
            stated = re.search(r"Sec\.|Fig\.", source) is not None
            known = stated or "authors' code" in source or values[1] != values[0]
            rows[name] = [values[0] if stated else NOT_STATED, values[1] if known else NOT_STATED, values[2]]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["paper", "authors' code", "here"])


def setting_text(config: Config, name: str) -> str:
    """A setting as the tables show it. name: dotted."""
    value = shown_value(config, name)
    return f"{value:g}" if isinstance(value, float) else str(value)


def model_sizes(config: Config) -> pd.DataFrame:
    """Inputs and encoder sizes, one column each for the paper's scale and for this config."""
    return pd.DataFrame({"paper": _sizes(load.load("paper")), "here": _sizes(config)})


def _sizes(config: Config) -> dict[str, str]:
    samples, view = 10 * config.view.ecg_rate, config.view
    rows, columns = grid(config.ecg, samples)
    ecg = parameters_in_millions(on_meta(MaskedAutoencoder, config.ecg, config.mae, samples).encoder)
    cmr = parameters_in_millions(on_meta(cmr_encoder, config))
    return {
        "ECG input": f"12 leads x {samples:,} samples",
        "ECG tokens": f"{rows} x {columns} = {rows * columns}",
        "ECG encoder, million parameters": f"{ecg:.2f}",
        "CMR input": f"{view.clip_frames} frames x {view.clip_size} x {view.clip_size} pixels",
        "CMR encoder, million parameters": f"{cmr:.2f}",
    }
