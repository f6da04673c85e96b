"""A sharded store of UK Biobank's files, or an unpaired store of ECGs or cines from another source.

The store can be read while it is being built, and opening it reads no raw files. Scales with equal pixel settings
share one store; labels and split are applied when it is opened.
"""

import hashlib
import io
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config import command_line
from eccl_lib.config.diseases import setting
from eccl_lib.config.errors import DamagedError, MissingError
from eccl_lib.config.load import digest, essentials
from eccl_lib.config.schema import ARRAYS, DISEASES, Config, arrays_of
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.own_labels import OwnLabels, tasks_from_json
from eccl_lib.data.sharded_array import Rows
from eccl_lib.data.splits import splits_of
from eccl_lib.data.store import fill, plan, schemas
from eccl_lib.data.store.layout import Layout
from eccl_lib.data.store.plan import Inputs, Inventory
from eccl_lib.data.ukb import withdrawals
from eccl_lib.io import checksums, paths
from eccl_lib.io.files import exclusive_lock, read_json, sha256, write_array, write_frame, write_sealed
from eccl_lib.io.progress import Log
from eccl_lib.io.workers import Workers

FORMAT = 1  # increase when the preprocessing changes the stored data
# Fields of StoreConfig that the arrays depend on.
PIXELS = ("slice_choice", "crop", "clip_frames", "clip_size", "margin_mm")
SECONDS_BETWEEN_PUBLICATIONS = 600.0


def folder_of(config: Config) -> Path:
    """Folder of the store for a config; stores of ECGs alone do not depend on the pixel settings."""
    settings = essentials(config)["store"] if "clips" in arrays_of(config.cohort) else {}
    pixels = {name: settings[name] for name in PIXELS if name in settings}
    return paths.store_root(config.cohort) / "cohort" / digest(FORMAT, pixels)[:8]


def build(
    config: Config, source: Inputs, workers: Workers, progress: Log, retry: bool = False
) -> tuple[Path, Inventory]:
    """Read new and changed files of the source into the store; interrupted builds resume.

    retry: read quarantined participants again. Returns the store's folder and the inventory. Raises UnreadableError if
    a table or path cannot be used; participants with damaged files go to quarantine.
    """
    folder = folder_of(config)
    with exclusive_lock(folder, progress):
        progress("listing files and reading tables")
        inventory = source.make_inventory(folder)
        source.write(folder)
        layout = layout_of(folder, arrays_of(config.cohort))
        progress(f"building the store of {len(inventory.participants):,} participants in {folder}")
        last = time.monotonic()

        def log(line: str) -> None:
            """Log a line, and publish the incomplete store every SECONDS_BETWEEN_PUBLICATIONS."""
            nonlocal last
            progress(line)
            if time.monotonic() - last > SECONDS_BETWEEN_PUBLICATIONS:
                publish(folder, inventory, fill.read_records(layout), config, complete=False)
                last = time.monotonic()

        try:
            records = fill.fill(inventory.participants, config, layout, workers, log, retry)
        except BaseException:
            publish(folder, inventory, fill.read_records(layout), config, complete=False)
            raise
        publish(folder, inventory, records, config, complete=True)
    return folder, inventory


def layout_of(folder: Path, arrays: Sequence[str] = ARRAYS) -> Layout:
    """The Layout of a store of these arrays whose slots have been written."""
    slots = plan.read_slots(folder)["slot"]
    return Layout.sharded(folder, int(slots.max()) + 1 if len(slots) else 0, tuple(arrays))


def publish(folder: Path, inventory: Inventory, records: dict[int, dict], config: Config, complete: bool) -> None:
    """Write the tables of all participants with a current record; the manifest with their checksums is written last.

    Raises DamagedError if a row of a complete store differs from the checksum in its record.
    """
    participants = inventory.participants
    done = {s: r for s, r in records.items() if s in participants and fill.is_current(participants[s], r)}
    eid_row = {eid: k for k, eid in enumerate(inventory.demographics.index)}
    kept = sorted((r["eid"], slot) for slot, r in done.items() if "quarantine" not in r)
    rows = np.array([eid_row[eid] for eid, _ in kept], dtype=int)
    table = inventory.demographics.iloc[rows].reset_index(names="eid")
    table.insert(1, "split", splits_of(table, config))
    columns = schemas.FACTS if "ecg" in arrays_of(config.cohort) else ("notes",)
    measured = pd.DataFrame([fill.table_facts(done[slot]) for _, slot in kept], columns=None if kept else columns)
    names = _checksum_columns(config.cohort)
    checksums = {name: pd.Series([done[slot][name] for _, slot in kept], dtype="str") for name in names}
    keys = pd.DataFrame({"slot": pd.Series([slot for _, slot in kept], dtype="int64"), **checksums})
    excluded = [{"eid": r["eid"], **r["quarantine"]} for r in done.values() if "quarantine" in r] + inventory.excluded
    quarantine = fill.quarantine_frame(sorted(excluded, key=lambda row: (row["eid"], row["file"], row["reason"])))
    labels = {f"labels-{rule}": values[rows] for rule, values in inventory.labels.items()}
    arrays = {"traits": inventory.traits[rows], **labels}
    facts = {"complete": complete, "participants": len(participants), "kept": len(kept), "done": len(done)}
    if inventory.own is not None:
        arrays["own"] = inventory.own.rows(rows).values.to_numpy(np.float32)
        facts["tasks"] = inventory.own.tasks_as_json()
    if inventory.codes:
        arrays |= {f"diagnoses-{rule}": values[rows] for rule, values in inventory.diagnoses.items()}
        facts["codes"] = list(inventory.codes)
    write(folder, pd.concat([table, measured, keys], axis=1), quarantine, arrays, facts, config.cohort)
    if complete:  # an unfinished store is verified when it is opened
        layout = layout_of(folder, arrays_of(config.cohort))
        _verify_shards(folder, layout, keys["slot"].to_numpy(), keys[names])


def _checksum_columns(cohort: str) -> list[str]:
    """Names of the columns with row checksums, one per array of the cohort."""
    return [fill.CHECKSUM_COLUMNS[name] for name in arrays_of(cohort)]


def write(
    folder: Path,
    table: pd.DataFrame,
    quarantine: pd.DataFrame,
    arrays: dict[str, np.ndarray],
    facts: dict[str, Any],
    cohort: str = "ukb",
) -> None:
    """Check a store's tables against their schemas and write them; the manifest with their checksums comes last."""
    target = folder / "store"
    target.mkdir(parents=True, exist_ok=True)
    write_frame(target / "table.parquet", schemas.check(f"{cohort.partition('-')[0]} table", table))
    write_frame(target / "quarantine.parquet", schemas.check("quarantine", quarantine))
    for name, array in arrays.items():
        write_array(target / f"{name}.npy", array)
    names = ["table.parquet", "quarantine.parquet", *(f"{name}.npy" for name in arrays)]
    files = {name: sha256(target / name) for name in sorted(names)}
    write_sealed(folder / "manifest.json", {"format": FORMAT, "files": files, **facts})


def load(config: Config, progress: Log = print, incomplete: bool = False) -> Cohort:
    """Open the store without withdrawn participants.

    incomplete: also open a store that is still being built. Raises MissingError, with the command that builds the
    store, if it is missing or incomplete, and DamagedError if a file differs from its checksum.
    """
    folder = folder_of(config)
    if not (folder / "manifest.json").is_file():
        raise MissingError(_how_to_build(config))
    withdrawn = withdrawals.read() if config.cohort == "ukb" else frozenset()
    manifest, content = read(folder)
    if not (manifest["complete"] or incomplete):
        count = f"{manifest['done']:,} of {manifest['participants']:,} participants"
        raise MissingError(f"The store of {_store_name(config)} has only {count} so far. {_how_to_build(config)}")
    table, quarantine = (pd.read_parquet(io.BytesIO(content[f"{name}.parquet"])) for name in ("table", "quarantine"))
    kept = ~table["eid"].isin(withdrawn).to_numpy()
    table = table[kept].reset_index(drop=True)
    names = _checksum_columns(config.cohort)
    slots, row_checksums = table.pop("slot").to_numpy(), pd.concat([table.pop(name) for name in names], axis=1)
    table["split"] = splits_of(table, config)
    traits, labels = array(content, "traits")[kept], _labels(content, config)[kept]
    own = _own_labels(manifest, content, kept)
    diagnoses = {code: values[kept] for code, values in _diagnoses(manifest, content, config.store.labels).items()}
    layout = layout_of(folder, arrays_of(config.cohort))
    _verify_shards(folder, layout, slots, row_checksums)
    shapes = fill.row_shapes(config)
    stored = {name: Rows(layout.files(name), layout.shard, slots, *shapes[name]) for name in layout.names}
    ecg, clips = (stored.get(name) for name in ("ecg", "clips"))
    mark = _fingerprint(config, table, row_checksums, traits, labels, own)
    quarantine, complete = quarantine[~quarantine["eid"].isin(withdrawn)].reset_index(drop=True), manifest["complete"]
    facts = {"complete": complete, "row_checksums": row_checksums, "own": own, "diagnoses": diagnoses}
    data = Cohort(folder, mark, table, ecg, clips, traits, labels, quarantine, progress, **facts)
    has_labels = diagnoses.__contains__ if config.cohort == "ukb" else data.has_label  # own labels have no dates
    if missing := [code for code, _ in config.diseases if not has_labels(code)]:
        raise MissingError(_how_to_label(config, missing))
    return data


def _diagnoses(manifest: dict[str, Any], content: dict[str, bytes], rule: str) -> dict[str, np.ndarray]:
    """Labels of the further diseases of all rows, (N,) bool by code. Raises MissingError where the rule has none."""
    if "codes" not in manifest:
        return {}
    if f"diagnoses-{rule}.npy" not in content:
        raise MissingError(_no_labels(rule))
    return dict(zip(manifest["codes"], array(content, f"diagnoses-{rule}").T, strict=True))


def _own_labels(manifest: dict[str, Any], content: dict[str, bytes], kept: np.ndarray) -> OwnLabels | None:
    """The user's own labels of the kept rows, if the store has any."""
    if "tasks" not in manifest:
        return None
    tasks = tasks_from_json(manifest["tasks"])
    columns = list(dict.fromkeys(column for task in tasks.values() for column in task.columns))
    return OwnLabels(tasks, pd.DataFrame(array(content, "own")[kept], columns=columns))


def _fingerprint(
    config: Config,
    table: pd.DataFrame,
    row_checksums: pd.DataFrame,
    traits: np.ndarray,
    labels: np.ndarray,
    own: OwnLabels | None,
) -> str:
    """Hash of everything that results depend on: settings, participants, rows, traits and labels; no file paths."""
    content = hashlib.sha256(row_checksums.to_csv(index=False).encode())
    content.update(table[["eid", "split", "sex", "age"]].to_csv(index=False).encode())
    content.update(traits.tobytes() + labels.tobytes())
    if own is not None:
        content.update(json.dumps(own.tasks_as_json()).encode() + own.values.to_numpy(np.float32).tobytes())
    kind = config.cohort.partition("-")[0]  # the user's name of an unpaired store does not affect results
    return digest({"format": FORMAT, "cohort": kind, "store": essentials(config)["store"], "rows": content.hexdigest()})


def read(folder: Path, tries: int = 5) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and content of its files, retried while a build replaces them. Raises DamagedError after ``tries``."""
    for k in range(tries):
        manifest = read_json(folder / "manifest.json")
        files = [folder / "store" / name for name in manifest["files"]]
        content = {path.name: path.read_bytes() for path in files if path.is_file()}
        found = {path: hashlib.sha256(content.get(path.name, b"")).hexdigest() for path in files}
        wrong = [path for path in files if found[path] != manifest["files"][path.name]]
        if not wrong:
            return manifest, content
        time.sleep(0.2 * k)
    raise checksums.damaged(wrong[0], "Run the command that built the store again.")


def array(content: dict[str, bytes], name: str) -> np.ndarray:
    """One array from the content that ``read`` returns."""
    return np.load(io.BytesIO(content[f"{name}.npy"]), allow_pickle=False)


def _labels(content: dict[str, bytes], config: Config) -> np.ndarray:
    """Labels of all rows, (N, 4) bool; False for ECGs without a table. Raises MissingError without labels."""
    rule = config.store.labels
    if config.cohort.startswith("ecg-") and not any(name.startswith("labels-") for name in content):
        return np.zeros((len(array(content, "traits")), len(DISEASES)), dtype=bool)
    if f"labels-{rule}.npy" not in content:
        raise MissingError(_no_labels(rule))
    return array(content, f"labels-{rule}")


def _no_labels(rule: str) -> str:
    return f"The store has no labels `{rule}`: the table has no imaging date (field 53-2.0)."


def before_and_after(config: Config) -> tuple[np.ndarray, np.ndarray] | None:
    """Prevalent and incident labels of all rows, (N, diseases) bool each; None if the table has no imaging date.

    The diseases are the paper's four, then those of the config of which the store has dates.
    """
    manifest, content = read(folder_of(config))
    if not {f"labels-{rule}.npy" for rule in ("prevalent", "incident")} <= content.keys():
        return None
    found = []
    for rule in ("prevalent", "incident"):
        dated = _diagnoses(manifest, content, rule)
        own = [dated[code][:, None] for code, _ in config.diseases if code in dated]
        found.append(np.hstack([array(content, f"labels-{rule}"), *own]))
    return found[0], found[1]


def verify(folder: Path) -> None:
    """Check the rows of all shards of a store, also of a copy elsewhere. Raises DamagedError if a row differs."""
    for damage in damages(folder):
        raise damage


def damages(folder: Path) -> Iterator[DamagedError]:
    """``verify`` for all shards: the damage of each. Raises DamagedError if the table itself is damaged."""
    _, content = read(folder)
    table = pd.read_parquet(io.BytesIO(content["table.parquet"]))
    arrays = [name for name, column in fill.CHECKSUM_COLUMNS.items() if column in table]
    layout, columns = layout_of(folder, arrays), [fill.CHECKSUM_COLUMNS[name] for name in arrays]
    yield from _damages(folder, layout, table["slot"].to_numpy(), table[columns], all_files=True)


def _verify_shards(folder: Path, layout: Layout, slots: np.ndarray, row_checksums: pd.DataFrame) -> None:
    """Raises DamagedError if a row of a changed shard differs from its checksum or a shard cannot be opened."""
    for damage in _damages(folder, layout, slots, row_checksums, all_files=False):
        raise damage


def _damages(
    folder: Path, layout: Layout, slots: np.ndarray, row_checksums: pd.DataFrame, all_files: bool
) -> Iterator[DamagedError]:
    """One error per shard with a row that differs from its checksum, and per shard that cannot be opened."""
    bad = 0
    numbers = slots // layout.shard
    files = [layout.file(name, int(k) * layout.shard) for k in np.unique(numbers) for name in layout.names]
    to_check = files if all_files else checksums.changed(folder, files)
    cure = "Remove it and run the command that built the store again."
    for number in sorted({int(path.stem.rsplit("-", 1)[1]) for path in to_check}):
        rows = np.flatnonzero(numbers == number)
        for k, name in enumerate(layout.names):
            path = layout.file(name, number * layout.shard)
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                good = all(
                    fill.row_checksum(array[int(slots[row]) % layout.shard]) == row_checksums.iloc[row, k]
                    for row in rows
                )
            except Exception:  # of a damaged header, numpy raises a dozen types
                good = False
            if not good:
                bad += 1
                yield checksums.damaged(path, cure)
    if to_check and not bad:
        checksums.note(folder, files)


# Build commands shown if a store has no source.json with its last command.
EXAMPLES = {
    "ukb": "eccl ingest ukb FOLDER... --table TABLE... (--withdrawals FILE | --no-withdrawals)",
    "ecg": "eccl ingest ecg FOLDER... --name {}",
    "cmr": "eccl ingest cmr FOLDER... --labels FILE.csv --name {}",
}


def _how_to_build(config: Config) -> str:
    """Message with the command that builds this store: the last command with the config's diseases, or an example."""
    kind, _, name = config.cohort.partition("-")
    source = folder_of(config) / plan.SOURCE
    content = read_json(source) if source.is_file() else {}
    command = content.get("command", EXAMPLES[kind].format(name))
    if set(dict(config.diseases)) - set(content.get("names", {})):
        command += f" --set {shlex.quote(setting(content.get('names', {}) | dict(config.diseases)))}"
    if config.scale != "paper":
        command += f" --scale {config.scale}"
    for name, value in command_line.changes(config).items():
        command += f" {command_line.setting(name, value)}" if name.removeprefix("store.") in PIXELS else ""
    page = "docs/data.md" if config.cohort == "ukb" else "docs/formats.md"
    return f"Build the store of {_store_name(config)} first ({page}):\n  {command}"


def _how_to_label(config: Config, missing: Sequence[str]) -> str:
    """Message with the command that adds the labels of diseases to this store."""
    fault = f"The store of {_store_name(config)} has no labels of {', '.join(missing)}."
    if config.cohort == "ukb":
        return f"{fault} {_how_to_build(config)}"
    kind, _, name = config.cohort.partition("-")
    tasks = " ".join(f"{code}:binary" for code in missing)
    command = f"eccl ingest {kind} FOLDER... --name {name} --labels FILE.csv --tasks {tasks}"
    return f"{fault} Build it from a table with these columns (docs/formats.md):\n  {command}"


def _store_name(config: Config) -> str:
    return "UK Biobank's files" if config.cohort == "ukb" else config.cohort
