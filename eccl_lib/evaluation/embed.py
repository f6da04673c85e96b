"""Embeddings of ECG files or of a cohort's ECGs by the encoder of a run, as one table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from eccl_lib.config.load import load
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import ecg_files
from eccl_lib.evaluation.ecg_files import NotRead, Reading
from eccl_lib.evaluation.predict import BATCH, with_silent_leads
from eccl_lib.io.progress import Log
from eccl_lib.pipeline.portable import EcgModel
from eccl_lib.training.datasets import EVALUATION_BATCH


def columns(width: int) -> list[str]:
    """Names of the feature columns: f0, f1, ..."""
    return [f"f{k}" for k in range(width)]


def of_files(
    model: EcgModel, files: Sequence[Path | NotRead], projected: bool, finished: Callable[[Reading | NotRead], None]
) -> pd.DataFrame:
    """One row per file: file, status, reason, cure, remarks, and the features, NaN for a file that was not read.

    files: from ``ecg_files.find``. finished: receives each file.
    """
    readings, facts, parts = ecg_files.read_all(files), [], []
    while batch := list(islice(readings, BATCH)):
        usable = [entry for entry in batch if isinstance(entry, Reading)]
        found = iter(_features(model, with_silent_leads(usable), projected) if usable else ())
        for entry in batch:
            finished(entry)
            facts.append(_facts(entry))
            parts.append(next(found) if isinstance(entry, Reading) else None)
    width = next((len(part) for part in parts if part is not None), 0)
    values = np.array([np.full(width, np.nan, np.float32) if part is None else part for part in parts])
    return pd.concat(
        [pd.DataFrame(facts), pd.DataFrame(values.reshape(len(facts), width), columns=columns(width))], axis=1
    )


def _facts(entry: Reading | NotRead) -> dict[str, Any]:
    if isinstance(entry, NotRead):
        return {"file": entry.file, "status": "not read", "reason": entry.reason, "cure": entry.cure, "remarks": ""}
    return {"file": entry.file, "status": "read", "reason": "", "cure": "", "remarks": "; ".join(entry.remarks)}


def of_cohort(model: EcgModel, data: Cohort, projected: bool, finished: Callable[[int], None]) -> pd.DataFrame:
    """One row per participant of a cohort: eid, split, and the features. finished: receives the size of each batch."""

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, len(data), EVALUATION_BATCH):
            rows = np.arange(start, min(start + EVALUATION_BATCH, len(data)))
            yield _features(model, np.asarray(data.ecg[rows]), projected)
            finished(len(rows))

    values = np.concatenate(list(parts()))
    return pd.concat(
        [data.table[["eid", "split"]].reset_index(drop=True), pd.DataFrame(values, columns=columns(values.shape[1]))],
        axis=1,
    )


@torch.no_grad()
def _features(model: EcgModel, stored: np.ndarray, projected: bool) -> np.ndarray:
    """stored: (n, 12, 5000) int16 uV. Returns (n, D) float32."""
    return model.features(model.scale(stored), projected=projected).float().cpu().numpy()


def open_for(model: EcgModel, cohort: str, log: Log) -> Cohort:
    """A cohort of this machine at the scale of a model's run. Raises MissingError if it is not built."""
    own = model.config
    config = own if cohort == own.cohort else replace(own, cohort=cohort, store=load(own.scale, cohort=cohort).store)
    return open_cohort.load(replace(config, runtime=replace(config.runtime, build_missing=False)), log, needs=("ecg",))
