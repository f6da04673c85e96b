"""TODO."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config import load as configuration
from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import digest
from eccl_lib.config.schema import ARRAYS, Config, arrays_of
from eccl_lib.data.cohort import Cohort
from eccl_lib.io import checksums, paths
from eccl_lib.io.files import exclusive_lock, read_json, sha256
from eccl_lib.io.progress import Log, silent


def fingerprint(config: Config) -> str:
    """What results hang on: the format, the store's parameters, and the generator's or the user's data."""
    if config.cohort != "synthetic":
        from eccl_lib.data.store import sharded

        return sharded.load(config, silent).fingerprint
    from eccl_lib.data.store.synthetic_store import FORMAT
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
        from eccl_lib.data.store import sharded

        return sharded.load(config, progress, incomplete)
    mark = fingerprint(config)
    folder = paths.cohort_dir(config.scale, config.cohort, mark)
    if not (folder / "manifest.json").is_file():
        if not config.runtime.build_missing:
            raise MissingError(f"The cohort is not built yet. Build it first:\n  {command(config)}")
        with exclusive_lock(folder, progress):
            if not (folder / "manifest.json").is_file():
                from eccl_lib.data.store.synthetic_store import build

                build(config, folder, progress)
    return _open(folder, mark, progress)


def _refuse_without(cohort: str, needs: Collection[str]) -> None:
    has = arrays_of(cohort)
    if set(needs) <= set(has):
        return
    called = {"ecg": "ECGs", "clips": "cines"}
    wanted = "ECGs and cines of the same participants" if len(needs) > 1 else called[next(iter(needs))]
    stage = {"ecg": "pretrain_ecg", "clips": "pretrain_cmr"}[has[0]]
    raise ConfigError(
        f"the cohort {cohort} has {called[has[0]]} alone; this needs {wanted}. Of the stages {stage} can use it; "
        f"another cohort's training can start from the weights ({_START[has[0]]}, docs/formats.md)."
    )


_START = {"ecg": "mae.start_from", "clips": "cmr_training.start_from"}


def command(config: Config) -> str:
    """The shell command that builds this config's embedded cohort."""
    from eccl_lib.config.command_line import line

    words = shlex.split(line(config))
    wanted = [f"--scale {config.scale}", f"--cohort {config.cohort}"]
    settings = [word for word in words if word.startswith(("synthetic.", "store."))]
    return " ".join(["eccl cohort", *wanted, *(f"--set {shlex.quote(word)}" for word in settings)])


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
    for path in files if all_files else (found := checksums.changed(folder, files)):
        if not path.is_file() or sha256(path) != stated[path.name]["sha256"]:
            raise checksums.damaged(path, f"Remove {folder} and run the same command again.")
    if all_files or found:
        checksums.note(folder, files)


def verify_all(config: Config, cohort: Cohort) -> None:
    """Read every file of a cohort's store and compare its checksum. Raises DamagedError."""
    if config.cohort != "synthetic":
        from eccl_lib.data.store import sharded

        sharded.verify(cohort.folder, config.cohort, all_files=True)
    else:
        verify(cohort.folder, all_files=True)
