"""One participant for display: recordings, traits, diagnoses, place in the shared space; and selection by filters."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import Config
from eccl_lib.data import ecg, heart_slice, original
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.heart_slice import HeartSlice
from eccl_lib.evaluation import features
from eccl_lib.evaluation.features import Latent
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.stages import spec
from eccl_lib.tasks import task_of

NO_DISEASE = "none of the four"


@dataclass(frozen=True)
class Selection:
    """A filter of participants. disease: a code, NO_DISEASE, or "" for all. sex: female, male or "".

    ages: lowest and highest age in years, None for all, also those without an age. warned: True only with, False only
    without quality warnings.
    """

    disease: str = ""
    sex: str = ""
    ages: tuple[float, float] | None = None
    warned: bool | None = None

    def rows(self, data: Cohort) -> np.ndarray:
        """Rows of the cohort's participants that pass all filters, (n,)."""
        kept = np.ones(len(data), bool)
        if self.disease == NO_DISEASE:
            kept &= ~data.labels.any(axis=1)
        elif self.disease:
            kept &= data.label_of(self.disease)
        if self.sex:
            kept &= (data.table["sex"] == self.sex).to_numpy(bool, na_value=False)
        if self.ages is not None:
            kept &= data.table["age"].between(*self.ages).to_numpy(bool, na_value=False)
        if self.warned is not None:
            kept &= has_warnings(data) == self.warned
        return np.flatnonzero(kept)


def has_warnings(data: Cohort) -> np.ndarray:
    """Whether the ECG of each participant has a quality warning, or its heart location is flagged, (N,) bool."""
    flags = data.table.to_dict("records")
    return np.array([bool(ecg.warnings(row)) or bool(row.get("heart_flagged")) for row in flags], bool)


def warnings_of(data: Cohort, row: int) -> list[str]:
    """Quality warnings of one participant's ECG and heart location."""
    facts = data.table.iloc[row].to_dict()
    far = ["the place of the heart is uncertain"] if facts.get("heart_flagged") else []
    return ecg.warnings(facts) + far


def diagnoses_of(config: Config, data: Cohort, row: int) -> list[str]:
    """The participant's diagnoses among those of the config, spelled out with their ICD-10 codes."""
    return [task_of(config, code).title for code in config.codes if data.label_of(code)[row]]


def facts_of(data: Cohort, row: int) -> str:
    """One line about a participant: sex, age, heart rate, split. It names no id."""
    facts = data.table.iloc[row]
    age = "age unknown" if pd.isna(facts["age"]) else f"{facts['age']:.0f} years"
    rate = f"heart rate {facts['heart_rate']:.0f} per minute"
    sex = facts["sex"] if isinstance(facts["sex"], str) and facts["sex"] else "sex unknown"
    return f"{sex}, {age}, {rate}, {facts['split']} set"


def recorded_ecg(config: Config, data: Cohort, row: int) -> np.ndarray:
    """The ECG as recorded, with its baseline: (12, 5000) in mV at 500 Hz. Raises UnreadableError if it is gone."""
    return ecg.first_ten_seconds(original.ecg_of(config, data, row))


def cleaned_ecg(data: Cohort, row: int) -> np.ndarray:
    """The ECG as stored, without its baseline: (12, 5000) in mV at 500 Hz."""
    return data.ecg[row] / 1000


def heart_of(config: Config, data: Cohort, row: int) -> HeartSlice:
    """The stored slice of a participant's cine in its own resolution; the stored clip if the file cannot be read."""
    try:
        return heart_slice.from_record(original.heart_of(config, data, row))
    except UnreadableError as error:
        return heart_slice.from_clip(np.asarray(data.clips[row]), error.reason)


class SharedSpace:
    """Two-dimensional map of ECG and CMR embeddings after alignment: their first two principal components.

    rows: test participants, (n,). ecg, cmr: (n, 2), their places.
    """

    def __init__(self, config: Config, data: Cohort) -> None:
        self.config, self.data = replace(config, disease="traits"), data
        self.rows = data.index("test")
        latent = self._latent(self.rows)
        both = np.concatenate([latent.z_ecg, latent.z_cmr])
        self._centre = both.mean(axis=0)
        _, _, axes = np.linalg.svd(both - self._centre, full_matrices=False)
        self._axes = axes[:2]
        self.ecg, self.cmr = self._flat(latent.z_ecg), self._flat(latent.z_cmr)

    def place(self, row: int) -> np.ndarray:
        """Places of one participant's ECG and CMR, (2, 2)."""
        latent = self._latent(np.array([row]))
        return np.concatenate([self._flat(latent.z_ecg), self._flat(latent.z_cmr)])

    def _latent(self, rows: np.ndarray) -> Latent:
        return features.after_alignment(self.config, self.data, rows)

    def _flat(self, z: np.ndarray) -> np.ndarray:
        return (z - self._centre) @ self._axes.T


def shared_space(config: Config, data: Cohort) -> SharedSpace | None:
    """The map, if ECCL's alignment for the traits has finished runs; None otherwise. Nothing is trained."""
    of_traits = replace(config, disease="traits")
    needed = [spec(of_traits, "eccl"), spec(of_traits, "pretrain_cmr")]
    return SharedSpace(config, data) if all(own.run(data).done for own in needed) else None


def alignment_command(config: Config) -> str:
    """The shell command that trains what ``shared_space`` needs."""
    return stages.spec(replace(config, disease="traits"), "eccl").command
