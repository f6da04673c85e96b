"""Build the embedded cohort: draw hearts, write the files that UK Biobank would send, and make the store of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import Config
from eccl_lib.data import files
from eccl_lib.data.splits import split_of
from eccl_lib.data.store import fill, schemas
from eccl_lib.data.store.layout import BLOCK, Layout, keep_rows
from eccl_lib.data.ukb import tables
from eccl_lib.data.ukb.columns import IMAGING_VISIT
from eccl_lib.io import checksums
from eccl_lib.io.files import sha256, write_array, write_frame, write_json
from eccl_lib.io.progress import Counter, Log
from eccl_lib.io.workers import Workers, run_all

FORMAT = 1  # raise when the preprocessing changes what is stored; the generator has its own number


def build(config: Config, folder: Path, progress: Log = print) -> None:
    """Make the embedded cohort's files and store in ``folder``, going on where an earlier call was stopped."""
    progress(f"building the {config.cohort} cohort in {folder}")
    table, participants = _source(config, folder / "raw", progress)
    layout = Layout.whole(folder / "build", len(participants))
    records = fill.fill(participants, config, layout, Workers(jobs=config.runtime.workers), progress)
    kept = np.array([slot for slot, record in records.items() if "quarantine" not in record], dtype=int)
    if not len(kept):
        raise UnreadableError(f"no participant could be read; the first: {records[0]['quarantine']['reason']}")
    target = folder / "store"
    target.mkdir(exist_ok=True)
    for left in target.glob(".*"):  # half a file of a call that was killed
        left.unlink()
    for name in ("ecg", "clips"):
        keep_rows(folder / "build" / f"{name}.npy", target / f"{name}.npy", kept)
    rows = table.loc[[participants[k].eid for k in kept]]
    write_array(target / "traits.npy", tables.traits(rows))
    write_array(target / "labels.npy", tables.labels(rows, config.store.labels))
    people = facts(rows, [records[k] for k in kept], config.store.split_salt)
    schemas.check("table", people)
    write_frame(target / "table.parquet", people)
    left_out = [{"eid": r["eid"], **r["quarantine"]} for r in records.values() if "quarantine" in r]
    write_frame(target / "quarantine.parquet", fill.quarantine_frame(left_out))
    files = {p.name: {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in sorted(target.iterdir())}
    checksums.note(folder, target.iterdir())
    write_json(folder / "manifest.json", {"format": FORMAT, "files": files})
    shutil.rmtree(folder / "build", ignore_errors=True)
    progress(f"cohort of {len(kept)} participants is built, {len(left_out)} in quarantine")


def _source(config: Config, raw: Path, progress: Log):
    """The embedded cohort's table and its participants by slot; writes their files first where they are wanted."""
    from eccl_lib.data.synthetic import ukb_tree

    _write_tree(config, raw, progress)
    table = tables.read_table(raw / ukb_tree.TABLE)
    if not config.synthetic.write_tree:
        return table, {k: fill.Participant(eid, index=k) for k, eid in enumerate(table.index)}
    found = files.find(raw).participants
    return table, {k: fill.participant(eid, found.get(eid, {})) for k, eid in enumerate(table.index)}


def _write_tree(config: Config, raw: Path, progress: Log) -> None:
    from eccl_lib.data.synthetic import ukb_tree

    if (raw / ukb_tree.TABLE).is_file():
        return
    if config.synthetic.write_tree:
        count = config.synthetic.participants
        blocks = [range(k, min(k + BLOCK, count)) for k in range(0, count, BLOCK)]
        counter = Counter("write files", 0, count, progress)
        jobs = ((_write_block, block, config, raw) for block in blocks)
        run_all(jobs, Workers(jobs=config.runtime.workers), raw, counter.add)
    ukb_tree.write_table(config.synthetic, raw)  # last: its presence says that the tree is whole


def _write_block(block: range, config: Config, raw: Path) -> int:
    from eccl_lib.data.synthetic import ukb_tree

    for index in block:
        ukb_tree.write_participant(config.synthetic, index, raw)
    return len(block)


def facts(table: pd.DataFrame, records: list[dict], salt: str) -> pd.DataFrame:
    """What the stages know of each participant beside arrays: the table's rows and the records' facts, in one order."""
    measured = pd.DataFrame([fill.facts_of(record) for record in records])
    eids = pd.Series([record["eid"] for record in records]).astype(str)
    age = tables.as_number(table, tables.AGE, IMAGING_VISIT).to_numpy()
    split = [split_of(eid, salt) for eid in eids]
    first = {"eid": eids, "split": split, "sex": tables.sex(table).to_numpy(), "age": age}
    return pd.concat([pd.DataFrame(first), measured], axis=1)
