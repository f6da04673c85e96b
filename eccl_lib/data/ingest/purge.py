"""Take those who have withdrawn out of what is on disk: stores, views, caches, predictions, pictures."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import DamagedError
from eccl_lib.config.schema import ARRAYS
from eccl_lib.data.store import plan, sharded
from eccl_lib.data.store.layout import Layout
from eccl_lib.io import paths
from eccl_lib.io.files import exclusive_lock, read_json, sha256, write_frame, write_json, write_text
from eccl_lib.io.progress import Log

PURGED = "purged.json"


def purge(withdrawn: Collection[str], progress: Log = print) -> dict[str, int]:
    """Take them out of every store, view, cache and prediction under ``runs``; goes on where it was stopped.

    Weights stay: a cohort without them is another cohort, so every stage trains anew. Returns counts of what went.
    """
    root = paths.ukb_root()
    mark = hashlib.sha256("\n".join(sorted(withdrawn)).encode()).hexdigest()
    done = root / PURGED
    if done.is_file() and read_json(done) == mark:
        return {}
    counts = {"participants in stores": 0, "rows of predictions": 0, "caches and views": 0}
    for folder in sorted((root / "cohort").glob("*")):
        with exclusive_lock(folder, progress):
            counts["participants in stores"] += _purge_store(folder, withdrawn)
            counts["caches and views"] += _remove(folder / "views", folder / "report")
    for results in sorted(paths.runs_root().glob("*-ukb")):
        _purge_results(results, withdrawn, counts)
    write_json(done, mark)
    if any(counts.values()):
        progress("removed: " + ", ".join(f"{n:,} {what}" for what, n in counts.items()))
    return counts


def _purge_store(folder: Path, withdrawn: Collection[str]) -> int:
    """Rows become zeros, records and tables lose their lines; the slot, by which the rest is found, goes last."""
    slots = plan.read_slots(folder)
    gone = slots["eid"].isin(withdrawn)
    _purge_tables(folder, withdrawn)
    layout = Layout.sharded(folder, int(slots["slot"].max()) + 1 if len(slots) else 0)
    for slot in slots.loc[gone, "slot"].tolist():
        if layout.record(slot).is_file():
            left = [record for record in read_json(layout.record(slot)) if record["slot"] != slot]
            write_text(layout.record(slot), json.dumps(left))
        for path in (layout.file(name, slot) for name in ARRAYS):
            if path.is_file():
                rows = np.load(path, mmap_mode="r+", allow_pickle=False)
                rows[slot % layout.shard] = 0
                rows.flush()
    if gone.any():
        write_frame(folder / plan.SLOTS, slots[~gone])
    return int(gone.sum())


def _purge_tables(folder: Path, withdrawn: Collection[str]) -> None:
    """Drop rows of the published tables. Where these do not fit together, a stopped build or purge left them so: they
    go, and the next ``python -m eccl_lib.data.ukb`` writes them again from the records."""
    store = folder / "store"
    try:
        manifest, content = sharded.read(folder)
    except (DamagedError, OSError):
        for path in (folder / "manifest.json", *store.glob("*.parquet"), *store.glob("*.npy")):
            path.unlink(missing_ok=True)
        return
    frames = {name: pd.read_parquet(io.BytesIO(content[f"{name}.parquet"])) for name in ("table", "quarantine")}
    stays = {name: ~frame["eid"].isin(withdrawn).to_numpy() for name, frame in frames.items()}
    if all(rows.all() for rows in stays.values()):
        return
    names = [name.removesuffix(".npy") for name in content if name.endswith(".npy")]
    arrays = {name: sharded.array(content, name)[stays["table"]] for name in names}
    facts = {name: value for name, value in manifest.items() if name not in ("format", "files")}
    facts["kept"] = int(stays["table"].sum())
    sharded.write(folder, *(frames[name][stays[name]] for name in frames), arrays, facts)


def _purge_results(results: Path, withdrawn: Collection[str], counts: dict[str, int]) -> None:
    """Predictions lose rows; what is kept by row number, and pictures, goes whole, since it can be made again."""
    for path in sorted(results.rglob("predictions*.parquet")):
        frame = pd.read_parquet(path)
        stays = ~frame["eid"].astype(str).isin(withdrawn)
        if stays.all():
            continue
        write_frame(path, frame[stays])
        counts["rows of predictions"] += int((~stays).sum())
        _state_sum(path)
    cached = [path for path in results.rglob("*.npy") if path.with_suffix(".json").is_file()]
    pairs = [file for path in cached for file in (path, path.with_suffix(".json"))]
    counts["caches and views"] += _remove(*pairs, results / "figures", results / "notebooks")


def _state_sum(path: Path) -> None:
    """Let a run's manifest vouch for a file that has just been changed on purpose."""
    manifest = path.parent / "manifest.json"
    if manifest.is_file() and path.name in (content := read_json(manifest)).get("files", {}):
        content["files"][path.name] = sha256(path)
        write_json(manifest, content)


def _remove(*paths_to_go: Path) -> int:
    there = [path for path in paths_to_go if path.exists()]
    for path in there:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(there)
