"""A cohort: ECGs, clips, traits, labels and the split, as memory maps of a store on disk.

``python -m eccl_lib.data.cohort --scale demo`` builds the embedded one; ``load`` opens it, and builds it first where it
may. The store of UK Biobank's files is built by ``python -m eccl_lib.data.ukb``, one of ECGs or cines alone by
``python -m eccl_lib.data.unpaired``, and opened here all the same.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib import config as configuration
from eccl_lib import paths
from eccl_lib.config import DISEASES, Config, ViewConfig, digest
from eccl_lib.data import cmr, ecg, integrity
from eccl_lib.data.layout import ARRAYS, arrays_of
from eccl_lib.data.records import LEADS, UnreadableError
from eccl_lib.data.rows import Rows
from eccl_lib.data.splits import SPLITS
from eccl_lib.log import Log, silent
from eccl_lib.storage import (
    DamagedError,
    MissingError,
    only_one,
    read_json,
    sha256,
    write_atomically,
    write_json,
)


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


def fingerprint(config: Config) -> str:
    """What results hang on: the format, the store's parameters, and the generator's or the user's data."""
    if config.cohort != "synthetic":
        from eccl_lib.data import shards

        return shards.load(config, silent).fingerprint
    from eccl_lib.data.embedded import FORMAT
    from eccl_lib.data.synthetic import GENERATOR

    content = configuration.essentials(config)
    source = [GENERATOR, content["synthetic"]]
    return digest({"format": FORMAT, "cohort": config.cohort, "store": content["store"], "source": source})


def load(config: Config, progress: Log = print, incomplete: bool = False, needs: Collection[str] = ARRAYS) -> Cohort:
    """Open the config's cohort; build it first where ``runtime.build_missing`` says so, else raise MissingError.

    incomplete: also open a store of files to which participants are still being added. needs: the arrays without which
    the caller cannot do, ``ecg`` and ``clips`` if it does not say; ConfigError where an unpaired cohort lacks one.
    """
    _refuse_without(config.cohort, needs)
    if config.cohort != "synthetic":
        from eccl_lib.data import shards

        return shards.load(config, progress, incomplete)
    mark = fingerprint(config)
    folder = paths.cohort_dir(config.scale, config.cohort, mark)
    if not (folder / "manifest.json").is_file():
        if not config.runtime.build_missing:
            raise MissingError(f"The cohort is not built yet. Build it first:\n  {command(config)}")
        with only_one(folder, progress):
            if not (folder / "manifest.json").is_file():
                from eccl_lib.data.embedded import build

                build(config, folder, progress)
    return _open(folder, mark, progress)


def _refuse_without(cohort: str, needs: Collection[str]) -> None:
    has = arrays_of(cohort)
    if set(needs) <= set(has):
        return
    called = {"ecg": "ECGs", "clips": "cines"}
    wanted = "ECGs and cines of the same participants" if len(needs) > 1 else called[next(iter(needs))]
    stage = {"ecg": "pretrain_ecg", "clips": "pretrain_cmr"}[has[0]]
    raise configuration.ConfigError(
        f"the cohort {cohort} has {called[has[0]]} alone; this needs {wanted}. Of the stages {stage} can use it; "
        f"another cohort's training can start from the weights ({_START[has[0]]}, docs/formats.md)."
    )


_START = {"ecg": "mae.start_from", "clips": "cmr_training.start_from"}


def command(config: Config) -> str:
    """The shell command that builds this config's embedded cohort."""
    from eccl_lib.command import line

    words = shlex.split(line(config))
    wanted = [f"--scale {config.scale}", f"--cohort {config.cohort}"]
    settings = [word for word in words if word.startswith(("synthetic.", "store."))]
    return " ".join(["python -m eccl_lib.data.cohort", *wanted, *(f"--set {shlex.quote(word)}" for word in settings)])


def _open(folder: Path, mark: str, progress: Log) -> Cohort:
    store = folder / "store"
    verify(folder)
    arrays = {name: np.load(store / f"{name}.npy", mmap_mode="r") for name in ("ecg", "clips")}
    return Cohort(
        folder=folder,
        fingerprint=mark,
        table=pd.read_parquet(store / "table.parquet"),
        traits=np.load(store / "traits.npy"),
        labels=np.load(store / "labels.npy"),
        quarantine=pd.read_parquet(store / "quarantine.parquet"),
        progress=progress,
        **arrays,
    )


def verify(folder: Path, all_files: bool = False) -> None:
    """Hold the embedded cohort's files against their sums: those that changed since they were last found right, or all.

    Raises DamagedError with the file and the cure.
    """
    stated = read_json(folder / "manifest.json")["files"]
    files = [folder / "store" / name for name in stated]
    for path in files if all_files else (found := integrity.changed(folder, files)):
        if not path.is_file() or sha256(path) != stated[path.name]["sha256"]:
            raise integrity.damaged(path, f"Remove {folder} and run the same command again.")
    if all_files or found:
        integrity.note(folder, files)


def main(words: list[str] | None = None) -> int:
    """The command line: build the embedded cohort, or open the store of UK Biobank's files; say what it holds."""
    from eccl_lib import command as parameters

    parser = argparse.ArgumentParser(prog="python -m eccl_lib.data.cohort", description="Build or check a cohort.")
    parameters.add_parameters(parser, disease=False)
    parser.add_argument("--verify", action="store_true", help="read every file through and compare it with its sum")
    given = parser.parse_args(words)
    try:
        config = parameters.config(given)
        cohort = load(config, needs=())
        if given.verify:
            _verify_all(config, cohort)
    except (configuration.ConfigError, UnreadableError, DamagedError, LookupError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    sizes = ", ".join(f"{split} {len(cohort.index(split))}" for split in SPLITS)
    cases = ", ".join(f"{disease} {n}" for disease, n in zip(DISEASES, cohort.labels.sum(axis=0), strict=True))
    print(f"{cohort.folder}\n{sizes}; {cases}")
    return 0


def _verify_all(config: Config, cohort: Cohort) -> None:
    if config.cohort != "synthetic":
        from eccl_lib.data import shards

        shards.verify(cohort.folder, config.cohort, all_files=True)
    else:
        verify(cohort.folder, all_files=True)
    print("every file holds what was written")


if __name__ == "__main__":
    raise SystemExit(main())
