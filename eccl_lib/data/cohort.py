"""The on-disk store of a cohort: ECGs, clips, traits, labels and the split, as memory maps.

``python -m eccl_lib.data.cohort --scale demo`` builds it; ``load`` opens it, and builds it first where it may.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib import config as configuration
from eccl_lib import paths
from eccl_lib.config import DISEASES, Config, ViewConfig, digest
from eccl_lib.data import cmr, ecg
from eccl_lib.data.records import UnreadableError
from eccl_lib.storage import DamagedError, MissingError, only_one, sha256, write_array, write_atomically, write_json

FORMAT = 1  # raise when the preprocessing changes what is stored; the generator has its own number
SPLITS = ("train", "val", "test")
BLOCK = ("train", "train", "train", "val", "test")  # 60/20/20, Sec. 3.1
NO_ROW = {"reason": "the table has no row for this participant", "cure": "Export the table again with all ids."}
TABLES = ("participants.csv", "participants.tsv", "participants.txt", "participants.tab")

Progress = Callable[[str], None]


@dataclass
class Cohort:
    """One cohort. Rows of all arrays and of ``table`` are the same participants, N of them, sorted by eid.

    table: eid (str), split, sex (female, male), age (years), heart_rate (beats/min) and the ECG's quality flags.
    ecg: (N, 12, 5000) int16 uV, baseline removed. clips: (N, H, W, F) uint8. traits: (N, 82) float32, NaN missing.
    labels: (N, 4) bool in the order of DISEASES. quarantine: eid, file, reason, cure of those left out.
    """

    folder: Path
    fingerprint: str
    table: pd.DataFrame
    ecg: np.ndarray
    clips: np.ndarray
    traits: np.ndarray
    labels: np.ndarray
    quarantine: pd.DataFrame
    progress: Progress = field(default=print, repr=False)

    def __len__(self) -> int:
        return len(self.table)

    def index(self, split: str) -> np.ndarray:
        """Rows of one split: train, val or test."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; choose one of {', '.join(SPLITS)}")
        return np.flatnonzero(self.table["split"].to_numpy() == split)

    def ecg_view(self, view: ViewConfig) -> np.ndarray:
        """(N, 12, 10 * ecg_rate) int16 uV; made once and kept beside the store."""
        if view.ecg_rate == ecg.RATE:
            return self.ecg
        shape = (len(self), 12, ecg.SAMPLES * view.ecg_rate // ecg.RATE)
        return self._view(f"ecg-{view.ecg_rate}hz", self.ecg, shape, lambda row: ecg.to_view(row, view.ecg_rate))

    def clip_view(self, view: ViewConfig) -> np.ndarray:
        """(N, clip_size, clip_size, clip_frames) uint8; made once and kept beside the store."""
        shape = (len(self), view.clip_size, view.clip_size, view.clip_frames)
        if shape == self.clips.shape:
            return self.clips
        name = f"clips-{view.clip_size}px-{view.clip_frames}frames"
        return self._view(name, self.clips, shape, lambda row: cmr.to_view(row, view))

    def _view(self, name: str, source: np.ndarray, shape: tuple[int, ...], coarser: Callable) -> np.ndarray:
        path = self.folder / "views" / f"{name}.npy"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            self.progress(f"making the models' view {name} of {len(self)} participants, once")

            def write(beside: Path) -> None:
                out = np.lib.format.open_memmap(beside, mode="w+", dtype=source.dtype, shape=shape)
                for k, row in enumerate(source):
                    out[k] = coarser(row)
                out.flush()

            write_atomically(path, write)
        return np.load(path, mmap_mode="r")


def split_of(eid: str, salt: str) -> str:
    """train, val or test, by the id and the salt alone: it never changes when participants come or go.

    Five neighbouring ids share a block and take the places of BLOCK in an order drawn by hash: exactly 3:1:1 on every
    complete block, about 60/20/20 on any other set of ids.
    """
    block, place = divmod(int(eid) - 1, len(BLOCK))
    keys = [hashlib.sha256(f"{salt}:{block}:{k}".encode()).digest() for k in range(len(BLOCK))]
    return BLOCK[sorted(range(len(BLOCK)), key=keys.__getitem__).index(place)]


def fingerprint(config: Config) -> str:
    """What the store hangs on: the format, the store's parameters, and the generator's or the user's files."""
    content = configuration.as_dict(config)
    if config.cohort == "synthetic":
        from eccl_lib.data.synthetic import GENERATOR

        source: object = [GENERATOR, content["synthetic"]]
    else:
        source = _manifest_of_files(paths.data_root())
    return digest({"format": FORMAT, "cohort": config.cohort, "store": content["store"], "source": source})


def _manifest_of_files(root: Path) -> str:
    """Digest of names, sizes and times of the table and of every file that is read; others do not count."""
    from eccl_lib.data import ukb

    used = [_find_table(root), *(path for files in ukb.find_files(root).values() for path in files.values())]
    facts = ((path.relative_to(root).as_posix(), path.stat()) for path in used)
    lines = sorted(f"{name}\t{fact.st_size}\t{fact.st_mtime_ns}" for name, fact in facts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def load(config: Config, progress: Progress = print) -> Cohort:
    """Open the config's cohort; build it first where ``runtime.build_missing`` says so, else raise MissingError."""
    mark = fingerprint(config)
    folder = paths.cohort_dir(config.scale, config.cohort, mark)
    if not (folder / "manifest.json").is_file():
        if not config.runtime.build_missing:
            raise MissingError(f"The cohort is not built yet. Build it first:\n  {command(config)}")
        with only_one(folder, progress):
            if not (folder / "manifest.json").is_file():
                build(config, progress)
    return _open(folder, mark, progress)


def command(config: Config) -> str:
    """The shell command that builds this config's cohort."""
    usual = configuration.as_dict(configuration.load(config.scale))
    wanted = configuration.as_dict(config)
    words = ["python -m eccl_lib.data.cohort", f"--scale {config.scale}", f"--cohort {config.cohort}"]
    for section in ("synthetic", "store"):
        changed = {k: v for k, v in wanted[section].items() if v != usual[section][k]}
        words += [f"--set {section}.{name}={value}" for name, value in changed.items()]
    return " ".join(words)


def _open(folder: Path, mark: str, progress: Progress) -> Cohort:
    store = folder / "store"
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, facts in manifest["files"].items():
        if not (store / name).is_file() or (store / name).stat().st_size != facts["bytes"]:
            raise DamagedError(
                f"{store / name} is not as it was built. Remove {folder} and run the same command again."
            )
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


def build(config: Config, progress: Progress = print) -> Path:
    """Make the cohort's files (synthetic) and its store, going on where an earlier call was stopped; its folder."""
    from eccl_lib.data import store, tables

    folder = paths.cohort_dir(config.scale, config.cohort, fingerprint(config))
    progress(f"building the {config.cohort} cohort in {folder}")
    table, participants, strangers = _source(config, folder / "raw", progress)
    if not participants:
        raise UnreadableError("there is no participant with an entry in the table and files")
    records = store.fill(participants, config, folder / "build", progress)
    kept = np.array([k for k, record in enumerate(records) if "quarantine" not in record], dtype=int)
    if not len(kept):
        raise UnreadableError(f"no participant could be read; the first: {records[0]['quarantine']['reason']}")
    target = folder / "store"
    target.mkdir(exist_ok=True)
    for left in target.glob(".*"):  # half a file of a call that was killed
        left.unlink()
    for name in ("ecg", "clips"):
        store.keep_rows(folder / "build" / f"{name}.npy", target / f"{name}.npy", kept)
    rows = table.loc[[records[k]["eid"] for k in kept]]
    write_array(target / "traits.npy", tables.traits(rows))
    write_array(target / "labels.npy", tables.labels(rows, config.store.labels))
    _save_frame(target / "table.parquet", _facts(rows, [records[k] for k in kept], config))
    left_out = [{"eid": record["eid"], **record["quarantine"]} for record in records if "quarantine" in record]
    left_out += [{"eid": eid, "file": "", **NO_ROW} for eid in strangers]
    _save_frame(
        target / "quarantine.parquet", pd.DataFrame(left_out, columns=["eid", "file", "reason", "cure"], dtype=str)
    )
    files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in sorted(target.iterdir())}
    write_json(folder / "manifest.json", {"format": FORMAT, "files": files})
    shutil.rmtree(folder / "build", ignore_errors=True)
    progress(f"cohort of {len(kept)} participants is built, {len(left_out)} in quarantine")
    return folder


def _source(config: Config, raw: Path, progress: Progress):
    """The table, the participants in the order of their rows, and ids that have files but no row in the table.

    Writes the synthetic files first where they are wanted.
    """
    from eccl_lib.data import store, tables, ukb

    if config.cohort == "synthetic":
        _write_tree(config, raw, progress)
    root = raw if config.cohort == "synthetic" else paths.data_root()
    table = tables.read_table(_find_table(root))
    if config.cohort == "synthetic" and not config.synthetic.write_tree:
        return table, [store.Participant(eid, index=k) for k, eid in enumerate(table.index)], []
    found = ukb.find_files(root)
    found = {eid: kinds for eid, kinds in found.items() if {"ecg", "cine"} & kinds.keys()}
    known = sorted(found.keys() & set(table.index))
    files = {eid: tuple((kind, str(path)) for kind, path in sorted(found[eid].items())) for eid in known}
    return table, [store.Participant(eid, files[eid]) for eid in known], sorted(found.keys() - set(table.index))


def _find_table(root: Path) -> Path:
    for name in TABLES:
        if (root / name).is_file():
            return root / name
    raise UnreadableError(f"there is no table in {root}", f"Put your tabular export there as {TABLES[0]}.")


def _write_tree(config: Config, raw: Path, progress: Progress) -> None:
    from eccl_lib.data import store
    from eccl_lib.data.synthetic import ukb_tree

    if (raw / TABLES[0]).is_file():
        return
    if config.synthetic.write_tree:
        count = config.synthetic.participants
        blocks = [range(k, min(k + store.BLOCK, count)) for k in range(0, count, store.BLOCK)]
        jobs = ((_write_block, block, config, raw) for block in blocks)
        store.run_all(jobs, len(blocks), config.runtime.workers, progress, "write files", 0, count)
    ukb_tree.write_table(config.synthetic, raw)  # last: its presence says that the tree is whole


def _write_block(block: range, config: Config, raw: Path) -> int:
    from eccl_lib.data.synthetic import ukb_tree

    for index in block:
        ukb_tree.write_participant(config.synthetic, index, raw)
    return len(block)


def _facts(table: pd.DataFrame, records: list[dict], config: Config) -> pd.DataFrame:
    from eccl_lib.data import tables

    facts = pd.DataFrame(records)
    eids = facts.pop("eid").astype(str)
    age = tables.as_number(table, tables.AGE, tables.IMAGING_VISIT).to_numpy()
    split = [split_of(eid, config.store.split_salt) for eid in eids]
    first = {"eid": eids, "split": split, "sex": tables.sex(table).to_numpy(), "age": age}
    return pd.concat([pd.DataFrame(first), facts], axis=1)


def _save_frame(path: Path, frame: pd.DataFrame) -> None:
    write_atomically(path, lambda beside: frame.to_parquet(beside, index=False))


def main(words: list[str] | None = None) -> int:
    """The command line: build one cohort and print what it holds."""
    parser = argparse.ArgumentParser(prog="python -m eccl_lib.data.cohort", description="Build a cohort's store.")
    parser.add_argument("--scale", default="demo", choices=configuration.SCALES)
    parser.add_argument("--cohort", default="synthetic", choices=configuration.COHORTS)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="e.g. synthetic.participants=60"
    )
    given = parser.parse_args(words)
    overrides: dict[str, object] = {"runtime.build_missing": True}
    for item in given.set:
        name, _, value = item.partition("=")
        overrides[name] = _literal(value)
    try:
        cohort = load(configuration.load(given.scale, cohort=given.cohort, overrides=overrides))
    except (configuration.ConfigError, UnreadableError, DamagedError, LookupError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    sizes = ", ".join(f"{split} {len(cohort.index(split))}" for split in SPLITS)
    cases = ", ".join(f"{disease} {n}" for disease, n in zip(DISEASES, cohort.labels.sum(axis=0), strict=True))
    print(f"{cohort.folder}\n{sizes}; {cases}")
    return 0


def _literal(value: str) -> object:
    words = {"True": True, "False": False}
    try:
        return words[value] if value in words else json.loads(value)
    except json.JSONDecodeError:
        return value


if __name__ == "__main__":
    raise SystemExit(main())
