"""A store in shards: of UK Biobank's files, or unpaired, of other people's ECGs or cines alone.

It is readable while it grows and opened without a look at the raw files. One store serves every scale whose pixels are
the same; labels and the split are applied when it is opened.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from eccl_lib.config.errors import MissingError
from eccl_lib.config.load import as_dict, digest, essentials
from eccl_lib.config.schema import ARRAYS, DISEASES, Config, arrays_of
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.sharded_array import Rows
from eccl_lib.data.splits import split_of
from eccl_lib.data.store import fill, plan, schemas
from eccl_lib.data.store.layout import Layout
from eccl_lib.data.store.plan import Inventory
from eccl_lib.data.ukb import withdrawals
from eccl_lib.io import checksums, paths
from eccl_lib.io.files import exclusive_lock, read_json, write_array, write_frame, write_json
from eccl_lib.io.progress import Log
from eccl_lib.io.workers import Workers

FORMAT = 1  # raise when the preprocessing changes what is stored
PIXELS = ("slice_choice", "crop", "clip_frames", "clip_size")  # of StoreConfig: what the arrays hang on
SECONDS_BETWEEN_PUBLICATIONS = 600.0


class Source(Protocol):
    """What a command was pointed to, and how that is found, listed and said again."""

    def take(self, folder: Path) -> Inventory:
        """The plan of a build; slots are kept in ``folder``."""

    def write(self, folder: Path) -> None:
        """Keep it beside the store."""


def folder_of(config: Config) -> Path:
    """Where the store of these pixels lies; ECGs alone have none."""
    settings = as_dict(config)["store"] if "clips" in arrays_of(config.cohort) else {}
    pixels = {name: settings[name] for name in PIXELS if name in settings}
    return paths.store_root(config.cohort) / "cohort" / digest(FORMAT, pixels)[:8]


def build(
    config: Config, source: Source, workers: Workers, progress: Log, retry: bool = False
) -> tuple[Path, Inventory]:
    """Read what is new or changed under the source into the store; goes on where an earlier call was stopped.

    retry: try those in quarantine again. Returns the store's folder and what was found. Raises UnreadableError on a
    table or path that cannot be used; a damaged file goes to quarantine.
    """
    folder = folder_of(config)
    with exclusive_lock(folder, progress):
        for left in (
            *folder.glob(".*.partial"),
            *folder.glob("store/**/.*.partial"),
            *folder.glob("records/.*.partial"),
        ):  # of a call that was killed
            left.unlink()
        progress("listing files and reading tables")
        found = source.take(folder)
        source.write(folder)
        layout = layout_of(folder, config.cohort)
        growing = _Growing(folder, found, layout, config, progress)
        progress(f"building the store of {len(found.participants):,} participants in {folder}")
        try:
            records = fill.fill(found.participants, config, layout, workers, growing, retry)
        except BaseException:
            publish(folder, found, fill.read_records(layout), config, complete=False)
            raise
        publish(folder, found, records, config, complete=True)
    return folder, found


@dataclasses.dataclass
class _Growing:
    """A progress line, and now and then a publication of what is there."""

    folder: Path
    found: Inventory
    layout: Layout
    config: Config
    progress: Log
    last: float = dataclasses.field(default_factory=time.monotonic)

    def __call__(self, line: str) -> None:
        self.progress(line)
        if time.monotonic() - self.last > SECONDS_BETWEEN_PUBLICATIONS:
            publish(self.folder, self.found, fill.read_records(self.layout), self.config, complete=False)
            self.last = time.monotonic()


def layout_of(folder: Path, cohort: str = "ukb") -> Layout:
    """Where the rows of a store lie that has a list of slots."""
    slots = plan.read_slots(folder)["slot"]
    return Layout.sharded(folder, int(slots.max()) + 1 if len(slots) else 0, arrays_of(cohort))


def publish(folder: Path, found: Inventory, records: dict[int, dict], config: Config, complete: bool) -> None:
    """Write the tables of everyone whose record is there and good; the manifest with their sums comes last."""
    done = {slot: r for slot, r in records.items() if _true(found.participants.get(slot), r)}
    eid_row = {eid: k for k, eid in enumerate(found.people.index)}
    good = sorted((r["eid"], slot) for slot, r in done.items() if "quarantine" not in r)
    rows = np.array([eid_row[eid] for eid, _ in good], dtype=int)
    table = found.people.iloc[rows].reset_index(names="eid")
    table.insert(1, "split", _splits(table, config))
    known = schemas.FACTS if "ecg" in arrays_of(config.cohort) else ("notes",)
    measured = pd.DataFrame([fill.facts_of(done[slot]) for _, slot in good], columns=None if good else known)
    sums = {name: pd.Series([done[slot][name] for _, slot in good], dtype="str") for name in _sums_of(config.cohort)}
    keys = pd.DataFrame({"slot": pd.Series([slot for _, slot in good], dtype="int64"), **sums})
    left_out = [{"eid": r["eid"], **r["quarantine"]} for r in done.values() if "quarantine" in r] + found.left_out
    quarantine = fill.quarantine_frame(sorted(left_out, key=lambda row: (row["eid"], row["file"], row["reason"])))
    arrays = {"traits": found.traits[rows], **{f"labels-{rule}": values[rows] for rule, values in found.labels.items()}}
    facts = {"complete": complete, "participants": len(found.participants), "kept": len(good), "done": len(done)}
    write(folder, pd.concat([table, measured, keys], axis=1), quarantine, arrays, facts, config.cohort)


def _splits(table: pd.DataFrame, config: Config) -> pd.Series:
    """Of each row, by its id; where one patient may have several rows, by the patient's."""
    who = table["patient" if "patient" in table else "eid"]
    return pd.Series([split_of(number, config.store.split_salt) for number in who], dtype="str")


def _sums_of(cohort: str) -> list[str]:
    """The columns with the sums of a row, array by array."""
    return [fill.SUMS[name] for name in arrays_of(cohort)]


def _true(participant: fill.Participant | None, record: dict) -> bool:
    return participant is not None and (participant.eid, participant.state) == (record["eid"], record["state"])


def write(
    folder: Path,
    table: pd.DataFrame,
    quarantine: pd.DataFrame,
    arrays: dict[str, np.ndarray],
    facts: dict[str, Any],
    cohort: str = "ukb",
) -> None:
    """Put a store's tables in place, checked against their schemas; the manifest with their sums comes last."""
    target = folder / "store"
    target.mkdir(parents=True, exist_ok=True)
    write_frame(target / "table.parquet", schemas.check(f"{cohort.partition('-')[0]} table", table))
    write_frame(target / "quarantine.parquet", schemas.check("quarantine", quarantine))
    for name, array in arrays.items():
        write_array(target / f"{name}.npy", array)
    names = ["table.parquet", "quarantine.parquet", *(f"{name}.npy" for name in arrays)]
    files = {name: _sum((target / name).read_bytes()) for name in sorted(names)}
    layout = layout_of(folder, cohort)
    checksums.note(folder, [path for name in layout.names for path in layout.files(name) if path.is_file()])
    write_json(folder / "manifest.json", {"format": FORMAT, "files": files, **facts})


def load(config: Config, progress: Log = print, incomplete: bool = False) -> Cohort:
    """Open the store, without those who have withdrawn. Raises MissingError with the command where it is not whole."""
    folder = folder_of(config)
    if not (folder / "manifest.json").is_file():
        raise MissingError(_how_to_build(config))
    withdrawn = withdrawals.read() if config.cohort == "ukb" else frozenset()
    manifest, content = read(folder)
    if not (manifest["complete"] or incomplete):
        there = f"{manifest['done']:,} of {manifest['participants']:,} participants"
        raise MissingError(f"The store of {_whose(config)} has {there} so far. {_how_to_build(config)}")
    table, quarantine = (pd.read_parquet(io.BytesIO(content[f"{name}.parquet"])) for name in ("table", "quarantine"))
    stayed = ~table["eid"].isin(withdrawn).to_numpy()
    table = table[stayed].reset_index(drop=True)
    names = _sums_of(config.cohort)
    slots, sums = table.pop("slot").to_numpy(), pd.concat([table.pop(name) for name in names], axis=1)
    table["split"] = _splits(table, config)
    traits, labels = array(content, "traits")[stayed], _labels(content, config)[stayed]
    layout = layout_of(folder, config.cohort)
    _verify_shards(folder, layout, slots, sums, all_files=False)
    shapes = fill.row_shapes(config)
    arrays = dict.fromkeys(ARRAYS) | {
        name: Rows(layout.files(name), layout.shard, slots, *shapes[name]) for name in layout.names
    }
    return Cohort(
        folder=folder,
        fingerprint=_fingerprint(config, table, sums, traits, labels),
        table=table,
        traits=traits,
        labels=labels,
        quarantine=quarantine[~quarantine["eid"].isin(withdrawn)].reset_index(drop=True),
        progress=progress,
        complete=manifest["complete"],
        sums=sums,
        **arrays,
    )


def _fingerprint(
    config: Config, table: pd.DataFrame, sums: pd.DataFrame, traits: np.ndarray, labels: np.ndarray
) -> str:
    """What results hang on: settings, and who is there with which rows, values and labels; not where files lay."""
    content = hashlib.sha256(sums.to_csv(index=False).encode())
    content.update(table[["eid", "split", "sex", "age"]].to_csv(index=False).encode())
    content.update(traits.tobytes() + labels.tobytes())
    kind = config.cohort.partition("-")[0]  # an unpaired store's name is the user's: it changes no result
    return digest({"format": FORMAT, "cohort": kind, "store": essentials(config)["store"], "rows": content.hexdigest()})


def read(folder: Path, tries: int = 5) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the tables it vouches for; tried again where a build just puts others in their place."""
    for k in range(tries):
        manifest = read_json(folder / "manifest.json")
        files = [folder / "store" / name for name in manifest["files"]]
        content = {path.name: path.read_bytes() for path in files if path.is_file()}
        wrong = [path for path in files if _sum(content.get(path.name, b"")) != manifest["files"][path.name]]
        if not wrong:
            return manifest, content
        time.sleep(0.2 * k)
    raise checksums.damaged(wrong[0], "Run the same command again that built the store.")


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def array(content: dict[str, bytes], name: str) -> np.ndarray:
    """One of the published arrays."""
    return np.load(io.BytesIO(content[f"{name}.npy"]), allow_pickle=False)


def _labels(content: dict[str, bytes], config: Config) -> np.ndarray:
    """Of all rows; nobody's where ECGs alone came without a table."""
    rule = config.store.labels
    if config.cohort.startswith("ecg-") and not any(name.startswith("labels-") for name in content):
        return np.zeros((len(array(content, "traits")), len(DISEASES)), dtype=bool)
    if f"labels-{rule}.npy" not in content:
        raise MissingError(f"The store has no labels of the kind {rule}: the table had no imaging date (field 53-2.0).")
    return array(content, f"labels-{rule}")


def before_and_after(config: Config) -> tuple[np.ndarray, np.ndarray] | None:
    """Labels of all rows, prevalent and incident; None where the table had no imaging date."""
    content = read(folder_of(config))[1]
    known = {f"labels-{rule}.npy" for rule in ("prevalent", "incident")} <= content.keys()
    return (array(content, "labels-prevalent"), array(content, "labels-incident")) if known else None


def verify(folder: Path, cohort: str, all_files: bool = False) -> None:
    """Hold the store against its sums: shards that changed since they were last found right, or all of them."""
    _, content = read(folder)
    table = pd.read_parquet(io.BytesIO(content["table.parquet"]))
    _verify_shards(folder, layout_of(folder, cohort), table["slot"].to_numpy(), table[_sums_of(cohort)], all_files)


def _verify_shards(folder: Path, layout: Layout, slots: np.ndarray, sums: pd.DataFrame, all_files: bool) -> None:
    """Raises DamagedError where a row is not what its record says."""
    numbers = slots // layout.shard
    files = [layout.file(name, int(k) * layout.shard) for k in np.unique(numbers) for name in layout.names]
    suspects = files if all_files else checksums.changed(folder, files)
    for number in sorted({int(path.stem.rsplit("-", 1)[1]) for path in suspects}):
        pair = [layout.file(name, number * layout.shard) for name in layout.names]
        cure = "Remove it and run the same command again that built the store."
        try:
            rows = [np.load(path, mmap_mode="r", allow_pickle=False) for path in pair]
        except (OSError, ValueError) as error:
            raise checksums.damaged(next((p for p in pair if not p.is_file()), pair[0]), cure) from error
        for k in np.flatnonzero(numbers == number):
            for path, array, expected in zip(pair, rows, sums.iloc[k], strict=True):
                if fill.row_digest(array[int(slots[k]) % layout.shard]) != expected:
                    raise checksums.damaged(path, cure)
    if suspects:
        checksums.note(folder, files)


# What the command looks like where no source.json tells the last one.
EXAMPLES = {
    "ukb": "eccl ingest ukb FOLDER... --table TABLE... (--withdrawals FILE | --no-withdrawals)",
    "ecg": "eccl ingest ecg FOLDER... --name {}",
    "cmr": "eccl ingest cmr FOLDER... --labels FILE.csv --name {}",
}


def _how_to_build(config: Config) -> str:
    """The command that builds this store: the last one given, or an example."""
    kind, _, name = config.cohort.partition("-")
    source = folder_of(config) / plan.SOURCE
    content = read_json(source) if source.is_file() else {}
    command = content.get("command", EXAMPLES[kind].format(name))
    scale = "" if config.scale == "paper" else f" --scale {config.scale}"
    page = "docs/data.md" if config.cohort == "ukb" else "docs/formats.md"
    return f"Build the store of {_whose(config)} first ({page}):\n  {command}{scale}"


def _whose(config: Config) -> str:
    return "UK Biobank's files" if config.cohort == "ukb" else config.cohort
