"""docs/scales.md: every setting in which the demo, the study or the authors' code differs from the paper."""

from __future__ import annotations

import pandas as pd

from eccl_lib.config.load import load
from eccl_lib.evaluation.scale_table import scale_table, setting_text
from eccl_lib.io import paths
from eccl_lib.io.files import write_text

PAGE = paths.ROOT / "docs" / "scales.md"
PREFIXES = ("synthetic.", "store.", "view.", "augment.", "ecg.", "cmr.", "cmr_resnet.", "cmr_vit.", "mae.")
PREFIXES += ("cmr_training.", "align.", "third_stage.", "cmae.", "variants.")


def table() -> pd.DataFrame:
    """One row per setting: paper, authors' code, demo, study."""
    configs = {scale: load(scale) for scale in ("demo", "study")}
    differing = pd.concat([scale_table(config, *PREFIXES) for config in configs.values()])
    sources = differing.loc[~differing.index.duplicated(), ["paper", "authors' code"]]
    values = {scale: [setting_text(config, name) for name in sources.index] for scale, config in configs.items()}
    return sources.assign(**values)


def page() -> str:
    """Markdown of the page."""
    frame = table()
    rows = ["| setting | " + " | ".join(frame.columns) + " |", "|" + "---|" * (len(frame.columns) + 1)]
    rows += [f"| `{name}` | " + " | ".join(values) + " |" for name, *values in frame.itertuples()]
    head = [
        "# Departures from the paper",
        "",
        "The settings in which the demo or the study differs from the paper, with those of the authors' code. `eccl",
        "config --changed --scale authors` lists the settings in which the authors' code differs. `python -m",
        "tools.scales` generates this page; [schema.py](../eccl_lib/config/schema.py) describes every setting.",
        "",
        "A training has epochs x steps per epoch updates. The rows `synthetic` have the number and prevalence of the",
        "paper's participants. The rows `store.clip_*` and `cmr_training.disease_*` apply to the synthetic cohort",
        "only. *not stated*: neither the paper nor the authors' code gives a value. Where `disease_steps_per_epoch`",
        "is 0, the CMR encoders of the diseases train like that of the traits, and `disease_lr` is not used.",
        "",
    ]
    return "\n".join([*head, *rows]) + "\n"


if __name__ == "__main__":
    write_text(PAGE, page())
