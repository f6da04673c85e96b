"""A cohort: ECGs, clips, traits, labels and split of all participants, memory-mapped from a store on disk.

``open_cohort.load`` opens it. ``eccl cohort`` builds the synthetic cohort, ``eccl ingest`` builds the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.schema import DISEASES, ViewConfig
from eccl_lib.data import cmr, ecg
from eccl_lib.data.own_labels import OwnLabels
from eccl_lib.data.sharded_array import Rows
from eccl_lib.data.splits import SPLITS
from eccl_lib.io import checksums
from eccl_lib.io.files import exclusive_lock, read_json, sha256, write_rows, write_sealed
from eccl_lib.io.progress import Log

LABELS_OF_CODES = (
    "build its store with the line of the config that names the code, "
    "eccl ingest ... --set 'diseases={CODE: name}' (docs/data.md)"
)


@dataclass
class Cohort:
    """One cohort of N participants, sorted by eid. Row k of each array and of ``table`` is the same participant.

    table: eid (str), split, sex (female, male), age (years), heart_rate (beats/min) and the ECG's quality flags.
    ecg: (N, 12, 5000) int16 uV, baseline removed. clips: (N, H, W, F) uint8. traits: (N, 82) float32, NaN missing.
    labels: (N, 4) bool in the order of DISEASES. quarantine: eid, file, reason, cure of excluded participants.
    complete: False while participants are still being added. row_checksums: SHA-256 of each row; None if not stored.
    own: the user's own labels, if the store has any. diagnoses: (N,) bool of each further disease, by ICD-10 code.
    An unpaired cohort has either ECGs or clips; the other array is None. Without a table, all labels are False.
    """

    folder: Path
    fingerprint: str
    table: pd.DataFrame
    ecg: np.ndarray | Rows | None
    clips: np.ndarray | Rows | None
    traits: np.ndarray
    labels: np.ndarray
    quarantine: pd.DataFrame
    progress: Log = field(default=print, repr=False)
    complete: bool = True
    row_checksums: pd.DataFrame | None = field(default=None, repr=False)
    own: OwnLabels | None = field(default=None, repr=False)
    diagnoses: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.table)

    def index(self, split: str) -> np.ndarray:
        """Row numbers of one split: train, val or test. Raises ValueError on another name."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; choose one of {', '.join(SPLITS)}")
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def has_label(self, code: str) -> bool:
        """Whether there are labels of a disease. code: ICD-10 code such as I25."""
        own = None if self.own is None else self.own.tasks.get(code)
        return code in DISEASES or code in self.diagnoses or (own is not None and own.kind == "binary")

    def label_of(self, code: str) -> np.ndarray:
        """Whether each participant has a disease, (N,) bool: from the paper's four, further codes, or own binary tasks.

        Raises ConfigError where there are no labels, or where an own task has missing ones.
        """
        if code in DISEASES:
            return self.labels[:, DISEASES.index(code)]
        if code in self.diagnoses:
            return self.diagnoses[code]
        if not self.has_label(code):
            raise ConfigError(f"the cohort in {self.folder} has no labels of {code}; {LABELS_OF_CODES}")
        values = self.own.of([code])[1][:, 0]
        if missing := int(np.isnan(values).sum()):
            raise ConfigError(
                f"the own task {code} has no value for {missing} of {len(self)} participants; a disease needs 0 or 1 "
                "for each. Fill the column, or train it with eccl probe, which leaves missing values out."
            )
        return values > 0.5

    def labels_of(self, codes: Sequence[str]) -> np.ndarray:
        """``label_of`` of several diseases as columns, (N, codes) bool."""
        return np.stack([self.label_of(code) for code in codes], axis=1)

    def ecg_view(self, view: ViewConfig) -> np.ndarray | Rows:
        """ECGs at the view's sampling rate: (N, 12, 10 * ecg_rate) int16 uV. Computed once and cached on disk."""
        if view.ecg_rate == ecg.RATE:
            return self.ecg
        shape = (len(self), 12, ecg.SAMPLES * view.ecg_rate // ecg.RATE)
        return self._view(f"ecg-{view.ecg_rate}hz", self.ecg, shape, lambda row: ecg.to_view(row, view.ecg_rate))

    def clip_view(self, view: ViewConfig) -> np.ndarray | Rows:
        """Clips at the view's size: (N, clip_size, clip_size, clip_frames) uint8. Computed once and cached on disk."""
        shape = (len(self), view.clip_size, view.clip_size, view.clip_frames)
        if shape == self.clips.shape:
            return self.clips
        name = f"clips-{view.clip_size}px-{view.clip_frames}frames"
        return self._view(name, self.clips, shape, lambda row: cmr.to_view(row, view))

    def _view(self, name: str, source: np.ndarray | Rows, shape: tuple[int, ...], downsample: Callable) -> np.ndarray:
        """Downsampled copy of all rows of ``source``, cached per fingerprint of the cohort; one process computes it.

        Its checksum is verified when its size or time of modification has changed. Raises DamagedError.
        """
        path, key_path = self.folder / "views" / f"{name}.npy", self.folder / "views" / f"{name}.json"
        key = {"fingerprint": self.fingerprint, "shape": list(shape)}
        if not (known := _checksum(path, key_path, key)):
            with exclusive_lock(path.parent, self.progress):
                if not _checksum(path, key_path, key):
                    self.progress(f"computing the view {name} of {len(self):,} participants; later runs reuse it")
                    key_path.unlink(missing_ok=True)
                    write_rows(path, map(downsample, source), shape, source.dtype)
                    write_sealed(key_path, key | {"sha256": sha256(path)})
                    checksums.note(path.parent, [path])
        elif checksums.changed(path.parent, [path]):
            if sha256(path) != known:
                raise checksums.damaged(path, "Remove it and run the same command again.")
            checksums.note(path.parent, [path])
        return np.load(path, mmap_mode="r")


def _checksum(path: Path, key_path: Path, key: dict[str, object]) -> str:
    """SHA-256 of a cached view; empty if there is none with this key."""
    known = read_json(key_path) if path.is_file() and key_path.is_file() else {}
    return known.get("sha256", "") if {name: known.get(name) for name in key} == key else ""
