"""A cohort: ECGs, clips, traits, labels and the split, as memory maps of a store on disk.

``open_cohort.load`` opens it. ``eccl cohort`` builds the synthetic one, ``eccl ingest`` the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.schema import LEADS, ViewConfig
from eccl_lib.data import cmr, ecg
from eccl_lib.data.sharded_array import Rows
from eccl_lib.data.splits import SPLITS
from eccl_lib.io.files import read_json, write_atomically, write_json
from eccl_lib.io.progress import Log


@dataclass
class Cohort:
    """One cohort. Rows of all arrays and of ``table`` are the same participants, N of them, sorted by eid.

    table: eid (str), split, sex (female, male), age (years), heart_rate (beats/min) and the ECG's quality flags.
    ecg: (N, 12, 5000) int16 uV, baseline removed. clips: (N, H, W, F) uint8. traits: (N, 82) float32, NaN missing.
    labels: (N, 4) bool in the order of DISEASES. quarantine: eid, file, reason, cure of those left out.
    complete: False while participants are still being added. sums: SHA-256 of each row, where the store keeps them.
    An unpaired cohort has no clips, or no ecg: these are None, and where no table was given all labels are False.
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
    sums: pd.DataFrame | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.table)

    def index(self, split: str) -> np.ndarray:
        """Rows of one split: train, val or test."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; choose one of {', '.join(SPLITS)}")
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def masked_leads(self) -> np.ndarray:
        """(N, 12) bool: leads that a file did not have and that could not be derived; their samples are all zero."""
        missing = self.table["missing_leads"].fillna("").str.split()
        named = np.array([[lead in some for lead in LEADS] for some in missing], dtype=bool).reshape(len(self), 12)
        return named & ~np.isin(LEADS, LEADS[:6])  # limb leads are rebuilt from two of them

    def ecg_view(self, view: ViewConfig) -> np.ndarray | Rows:
        """(N, 12, 10 * ecg_rate) int16 uV; made once and kept beside the store."""
        if view.ecg_rate == ecg.RATE:
            return self.ecg
        shape = (len(self), 12, ecg.SAMPLES * view.ecg_rate // ecg.RATE)
        return self._view(f"ecg-{view.ecg_rate}hz", self.ecg, shape, lambda row: ecg.to_view(row, view.ecg_rate))

    def clip_view(self, view: ViewConfig) -> np.ndarray | Rows:
        """(N, clip_size, clip_size, clip_frames) uint8; made once and kept beside the store."""
        shape = (len(self), view.clip_size, view.clip_size, view.clip_frames)
        if shape == self.clips.shape:
            return self.clips
        name = f"clips-{view.clip_size}px-{view.clip_frames}frames"
        return self._view(name, self.clips, shape, lambda row: cmr.to_view(row, view))

    def _view(self, name: str, source: np.ndarray | Rows, shape: tuple[int, ...], coarser: Callable) -> np.ndarray:
        """A coarser copy of all rows. It belongs to one fingerprint: of other participants another is made."""
        path, belongs = self.folder / "views" / f"{name}.npy", self.folder / "views" / f"{name}.json"
        wanted = {"fingerprint": self.fingerprint, "shape": list(shape)}
        if not (belongs.is_file() and read_json(belongs) == wanted and path.is_file()):
            path.parent.mkdir(exist_ok=True)
            self.progress(f"making the models' view {name} of {len(self):,} participants, once")

            def write(beside: Path) -> None:
                out = np.lib.format.open_memmap(beside, mode="w+", dtype=source.dtype, shape=shape)
                for k, row in enumerate(source):
                    out[k] = coarser(row)
                out.flush()

            belongs.unlink(missing_ok=True)
            write_atomically(path, write)
            write_json(belongs, wanted)
        return np.load(path, mmap_mode="r")
