"""Notebook 09: a report on one ECG, with measured values and diagnoses where the ECG is one of the cohort's."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import Config
from eccl_lib.data import original
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import ecg_files, run_summary
from eccl_lib.evaluation.ecg_files import NotRead, Reading
from eccl_lib.evaluation.ecg_prediction import Prediction
from eccl_lib.evaluation.predict import with_silent_leads
from eccl_lib.evaluation.predictor import Predictor
from eccl_lib.io.progress import Log
from eccl_lib.pipeline import stages

EXAMPLE = "first test participant"
BLOCK = 256  # ECGs of the cohort that are compared together
HEARTS = 4  # most similar hearts that are shown


@dataclass(frozen=True)
class Hearts:
    """The hearts of the cohort that are most similar to an ECG in the shared space, the most similar first.

    clips: (k, H, W, F) uint8. similarity: (k,) cosine. own: (k,) bool, whether it is the ECG's own heart. searched:
    number of hearts. rank: of the own heart, None if the ECG is not of the cohort's test participants.
    """

    clips: np.ndarray
    similarity: np.ndarray
    own: np.ndarray
    searched: int
    rank: int | None

    @property
    def captions(self) -> list[str]:
        """Rank and similarity of each heart."""
        names = [f"own heart, rank {self.rank}" if own else f"rank {k + 1}" for k, own in enumerate(self.own)]
        return [f"{name}\ncosine {value:.2f}" for name, value in zip(names, self.similarity, strict=True)]


def read(config: Config, data: Cohort, ecg: str, log: Log) -> list[Reading | NotRead]:
    """The ECGs of a file or a folder, or the first test participant if ecg is empty. Raises UnreadableError if none is.

    Files that cannot be read are logged.
    """
    if not ecg:
        return [ecg_files.reading_of(original.ecg_of(config, data, data.index("test")[0]), EXAMPLE)]
    entries = list(ecg_files.read_all(ecg_files.find([ecg])))
    said: set[str] = set()
    for entry in (entry for entry in entries if isinstance(entry, NotRead)):
        log(f"not read: {entry.line(said)}")
    if not any(isinstance(entry, Reading) for entry in entries):
        first = entries[0]
        raise UnreadableError(f"{first.file}: {first.reason}", first.cure)
    return entries


def first(entries: Sequence[Reading | NotRead]) -> Reading:
    """The first ECG that was read."""
    return next(entry for entry in entries if isinstance(entry, Reading))


def title(reading: Reading) -> str:
    """Title of a recording's figure: the name of its file and the heart rate."""
    return f"{Path(reading.file).name}, heart rate {reading.heart_rate:.0f} per minute"


def label(reading: Reading) -> str:
    """Start of the names of a recording's figures, so that those of two files do not overwrite each other."""
    if reading.file == EXAMPLE:
        return ""
    stem = re.sub(r"[^A-Za-z0-9-]+", "_", Path(reading.file).stem)[:40]
    return f"{stem}_{hashlib.sha256(str(Path(reading.file).absolute()).encode()).hexdigest()[:6]}_"


def cohort_row(data: Cohort, reading: Reading) -> int | None:
    """The cohort's row with exactly this ECG, None if there is none."""
    for start in range(0, len(data), BLOCK):
        block = np.asarray(data.ecg[np.arange(start, min(start + BLOCK, len(data)))])
        for k in np.flatnonzero((block[:, 1, ::50] == reading.stored[1, ::50]).all(axis=1)):
            if np.array_equal(block[k], reading.stored):
                return start + int(k)
    return None


def traits(prediction: Prediction, data: Cohort, row: int | None) -> pd.DataFrame:
    """The traits of the overview, with full names and the measured value where the ECG is the cohort's (else NaN)."""
    measured = np.full(len(TRAITS), np.nan) if row is None else np.asarray(data.traits[row], np.float64)
    table = prediction.traits.assign(measured=measured)
    table["name"] = [trait.full_name for trait in TRAITS]
    inside = (measured >= table["low"]) & (measured <= table["high"])
    table["in interval"] = np.where(np.isnan(measured) | table["low"].isna(), "", np.where(inside, "yes", "no"))
    return run_summary.overview(table)


def diseases(prediction: Prediction, data: Cohort, row: int | None) -> pd.DataFrame:
    """Score, probability and its meaning for each disease, and the diagnosis where the ECG is the cohort's."""
    table = prediction.diseases
    known = [""] * len(table)
    if row is not None:
        known = ["yes" if data.label_of(code)[row] else "no" for code in table["code"]]
    return table.assign(diagnosed=known)


def similar_hearts(config: Config, data: Cohort, predictor: Predictor, reading: Reading, row: int | None) -> Hearts:
    """The test participants' hearts nearest to an ECG in the shared space of the traits' models (mean over seeds)."""
    rows, similarity = data.index("test"), []
    for model in predictor.models["traits"]:
        own = replace(config, disease="traits", seed=model.run.seed)
        features = torch.from_numpy(stages.cmr_features(own, data)[rows]).to(model.centre.device)
        with torch.no_grad():
            z_ecg = model.features(model.scale(with_silent_leads([reading])), projected=True)
            similarity.append((model.network.project_cmr(features) @ z_ecg[0]).cpu().numpy())
    mean = np.mean(similarity, axis=0)
    order = np.argsort(-mean, kind="stable")
    place = np.flatnonzero(rows[order] == row) if row is not None else []
    chosen = order[:HEARTS]
    if len(place) and place[0] >= HEARTS:
        chosen = np.append(chosen[:-1], order[place[0]])  # the own heart is shown last
    clips = np.asarray(data.clips[rows[chosen]])
    rank = int(place[0]) + 1 if len(place) else None
    return Hearts(clips, mean[chosen], rows[chosen] == (-1 if row is None else row), len(rows), rank)


def most_unusual(prediction: Prediction) -> str:
    """Code of the disease whose score is highest among the test participants' scores."""
    return str(prediction.diseases.set_index("code")["percentile"].fillna(0).idxmax())
