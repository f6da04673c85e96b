"""Open a cohort by its config, build the synthetic cohort if it is missing, and verify a cohort's files."""

import shlex
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config import load as configuration
from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import digest
from eccl_lib.config.schema import ARRAYS, Config, arrays_of
from eccl_lib.data import synthetic
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.store import sharded, synthetic_store
from eccl_lib.io import checksums, paths
from eccl_lib.io.files import exclusive_lock, read_json, sha256
from eccl_lib.io.progress import Log, silent


def fingerprint(config: Config) -> str:
    """Hash of everything that results depend on: format, store settings, and the generator or the user's data."""
    if config.cohort != "synthetic":
        return sharded.load(config, silent).fingerprint
    content = configuration.essentials(config)
    source = [synthetic.GENERATOR, content["synthetic"]]
    facts = {"cohort": config.cohort, "store": content["store"], "source": source}
    return digest({"format": synthetic_store.FORMAT, **facts})


def load(config: Config, progress: Log = print, incomplete: bool = False, needs: Collection[str] = ARRAYS) -> Cohort:
    """Open the config's cohort; with ``runtime.build_missing``, build a missing synthetic cohort first.

    incomplete: also open a store to which participants are still being added. needs: arrays that the caller requires,
    by default ``ecg`` and ``clips``. Raises MissingError if the cohort is not built and ConfigError if the cohort has
    not all required arrays.
    """
    require_arrays(config.cohort, needs)
    if config.cohort != "synthetic":
        return sharded.load(config, progress, incomplete)
    mark = fingerprint(config)
    folder = paths.cohort_dir(config.scale, config.cohort, mark)
    if not (folder / "manifest.json").is_file():
        if not config.runtime.build_missing:
            raise MissingError(f"The cohort is not built yet. Build it first:\n  {command(config)}")
        with exclusive_lock(folder, progress):
            if not (folder / "manifest.json").is_file():
                synthetic_store.build(config, folder, progress)
    return _open(folder, mark, progress)


def require_arrays(cohort: str, needs: Collection[str] = ARRAYS) -> None:
    """Raise ConfigError, with the stages that need less, where a cohort has not all of these arrays."""
    has = arrays_of(cohort)
    if set(needs) <= set(has):
        return
    plural = {"ecg": "ECGs", "clips": "cines"}
    required = "ECGs and cines of the same participants" if len(needs) > 1 else plural[next(iter(needs))]
    stages = {"ecg": "pretrain_ecg, scratch, ssl and probe", "clips": "pretrain_cmr and probe_cmr"}[has[0]]
    option = {"ecg": "mae.start_from", "clips": "cmr_training.start_from"}[has[0]]
    raise ConfigError(
        f"the cohort {cohort} contains only {plural[has[0]]}, but this needs {required}. Use the cohort with "
        f"{stages}; a training on another cohort can start from its weights ({option}, docs/formats.md)."
    )


def command(config: Config) -> str:
    """The shell command that builds this config's synthetic cohort."""
    from eccl_lib.config.command_line import line

    words = shlex.split(line(config))
    options = [f"--scale {config.scale}", f"--cohort {config.cohort}"]
    options += [f"--set {shlex.quote(word)}" for word in words if word.startswith(("synthetic.", "store."))]
    return " ".join(["eccl cohort", *options])


def _open(folder: Path, mark: str, progress: Log) -> Cohort:
    store = folder / "store"
    verify(folder)
    table, quarantine = (pd.read_parquet(store / f"{name}.parquet") for name in ("table", "quarantine"))
    ecg, clips = (np.load(store / f"{name}.npy", mmap_mode="r") for name in ("ecg", "clips"))
    traits, labels = (np.load(store / f"{name}.npy") for name in ("traits", "labels"))
    return Cohort(folder, mark, table, ecg, clips, traits, labels, quarantine, progress)


def verify(folder: Path, all_files: bool = False) -> None:
    """Check all files, or those modified since the last check. Raises DamagedError if one is missing or differs."""
    expected = read_json(folder / "manifest.json")["files"]
    files = [folder / "store" / name for name in expected]
    to_check = files if all_files else checksums.changed(folder, files)
    for path in to_check:
        if not path.is_file() or sha256(path) != expected[path.name]["sha256"]:
            raise checksums.damaged(path, f"Remove {folder} and run the same command again.")
    if all_files or to_check:
        checksums.note(folder, files)


def verify_all(config: Config, cohort: Cohort) -> None:
    """Read every file of a cohort's store and compare its checksum. Raises DamagedError."""
    if config.cohort != "synthetic":
        sharded.verify(cohort.folder)
    else:
        verify(cohort.folder, all_files=True)
