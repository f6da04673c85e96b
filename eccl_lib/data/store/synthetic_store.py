"""Build the synthetic cohort: generate participants, write files in UK Biobank's formats, and fill the store."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import DamagedError, UnreadableError
from eccl_lib.config.schema import Config
from eccl_lib.data.splits import parts_of, split_of
from eccl_lib.data.store import fill, schemas
from eccl_lib.data.store.layout import BLOCK, Layout, keep_rows
from eccl_lib.data.synthetic import ukb_tree
from eccl_lib.data.synthetic.population import FIRST_EID
from eccl_lib.data.ukb import file_names, tables
from eccl_lib.data.ukb.columns import IMAGING_VISIT
from eccl_lib.io import checksums
from eccl_lib.io.files import sha256, write_array, write_frame, write_sealed
from eccl_lib.io.progress import Counter, Log
from eccl_lib.io.workers import Workers, run_all

FORMAT = 1  # increase when the preprocessing changes the stored data; the generator has its own version number


def build(config: Config, folder: Path, progress: Log = print) -> None:
    """Build the synthetic cohort's files and store in ``folder``; interrupted builds resume."""
    progress(f"building the {config.cohort} cohort in {folder}")
    table, participants = _source(config, folder / "raw", progress)
    layout = Layout.whole(folder / "build", len(participants))
    records = fill.fill(participants, config, layout, Workers(jobs=config.runtime.workers), progress)
    kept = np.array([slot for slot, record in records.items() if "quarantine" not in record], dtype=int)
    if not len(kept):
        raise UnreadableError(f"no participant can be read; the first: {records[0]['quarantine']['reason']}")
    target = folder / "store"
    target.mkdir(exist_ok=True)
    for name in ("ecg", "clips"):
        keep_rows(folder / "build" / f"{name}.npy", target / f"{name}.npy", kept)
    rows = table.loc[[participants[k].eid for k in kept]]
    write_array(target / "traits.npy", tables.traits(rows))
    write_array(target / "labels.npy", tables.labels(rows, config.store.labels))
    salt, parts = config.store.split_salt, parts_of(config)
    people = facts(rows, [records[k] for k in kept], lambda eid: split_of(eid, salt, parts))
    schemas.check("table", people)
    write_frame(target / "table.parquet", people)
    excluded = [{"eid": r["eid"], **r["quarantine"]} for r in records.values() if "quarantine" in r]
    write_frame(target / "quarantine.parquet", fill.quarantine_frame(excluded))
    files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in sorted(target.iterdir())}
    checksums.note(folder, target.iterdir())
    write_sealed(folder / "manifest.json", {"format": FORMAT, "files": files})
    shutil.rmtree(folder / "build", ignore_errors=True)
    progress(f"built the cohort: {len(kept)} participants, {len(excluded)} in quarantine")


def _source(config: Config, raw: Path, progress: Log):
    """The synthetic cohort's table and its participants by slot; first writes the files of those that are read."""
    _write_files(config, raw, progress)
    table = tables.read_table(raw / ukb_tree.TABLE)
    written, listed = table.index[: config.synthetic.file_participants], file_names.find(raw).participants
    participants = {k: fill.Participant(eid, index=k) for k, eid in enumerate(table.index)}
    return table, participants | {k: fill.participant(eid, listed.get(eid, {})) for k, eid in enumerate(written)}


def _write_files(config: Config, raw: Path, progress: Log) -> None:
    if (raw / ukb_tree.TABLE).is_file():
        return
    count = min(config.synthetic.file_participants, config.synthetic.participants)
    if count:
        blocks = [range(k, min(k + BLOCK, count)) for k in range(0, count, BLOCK)]
        counter = Counter("write files", 0, count, progress)
        jobs = ((_write_block, block, config, raw) for block in blocks)
        run_all(jobs, Workers(jobs=config.runtime.workers), raw, counter.add)
        _check_files(raw, count)
    ukb_tree.write_table(config.synthetic, raw)  # written last: its presence marks a complete tree


def _check_files(raw: Path, count: int) -> None:
    """Raises DamagedError where files that have just been written are gone, so that no participant goes missing."""
    kinds = (ukb_tree.ecg_path, ukb_tree.cine_path, ukb_tree.segmentation_path)
    for path in (kind(raw, FIRST_EID + k) for k in range(count) for kind in kinds):
        if not path.is_file():
            raise DamagedError(path, "was deleted while the cohort was built", "Run the same command again.")


def _write_block(block: range, config: Config, raw: Path) -> int:
    for index in block:
        ukb_tree.write_participant(config.synthetic, index, raw)
    return len(block)


def facts(table: pd.DataFrame, records: list[dict], split: Callable[[str], str]) -> pd.DataFrame:
    """The cohort's table in the order of the records: eid, split, sex, age and the facts of each record.

    split: eid -> train, val or test.
    """
    measured = pd.DataFrame([fill.table_facts(record) for record in records])
    eids = pd.Series([record["eid"] for record in records]).astype(str)
    age = tables.as_number(table, tables.AGE, IMAGING_VISIT).to_numpy()
    first = {"eid": eids, "split": [split(eid) for eid in eids], "sex": tables.sex(table).to_numpy(), "age": age}
    return pd.concat([pd.DataFrame(first), measured], axis=1)
