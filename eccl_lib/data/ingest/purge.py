"""Delete withdrawn participants from disk: stores, views, caches, predictions and figures."""

import hashlib
import io
import shutil
from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import DamagedError
from eccl_lib.config.schema import ARRAYS
from eccl_lib.data.store import fill, plan, sharded
from eccl_lib.data.store.layout import Layout
from eccl_lib.io import paths
from eccl_lib.io.files import (
    exclusive_lock,
    read_json,
    sha256,
    write_atomically,
    write_frame,
    write_json,
    write_sealed,
)
from eccl_lib.io.progress import Log

PURGED, PREDICTIONS = "purged.json", "predictions*.parquet"


def purge(withdrawn: Collection[str], progress: Log = print) -> dict[str, int]:
    """Delete withdrawn participants from all stores, views, caches and predictions under ``runs``.

    An interrupted purge resumes. A purge with the same list is repeated where a training that was in progress during
    the first one has written predictions of withdrawn participants. Weights are kept; the changed cohort has a new
    fingerprint, so every stage trains again. Returns the number of removed items by kind.
    """
    root = paths.ukb_root()
    mark = hashlib.sha256("\n".join(sorted(withdrawn)).encode()).hexdigest()
    done = root / PURGED
    if done.is_file() and read_json(done) == mark and not _are_predicted(withdrawn):
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
        progress("removed: " + ", ".join(f"{n:,} {kind}" for kind, n in counts.items()))
    return counts


def _are_predicted(withdrawn: Collection[str]) -> bool:
    """Whether a run has predictions of withdrawn participants."""
    predicted = (path for folder in paths.runs_root().glob("*-ukb") for path in folder.rglob(PREDICTIONS))
    return bool(withdrawn) and any(_of_withdrawn(path, withdrawn).any() for path in predicted)


def _of_withdrawn(path: Path, withdrawn: Collection[str]) -> np.ndarray:
    """Whether each row of a file of predictions is of a withdrawn participant, (rows,) bool."""
    return pd.read_parquet(path, columns=["eid"])["eid"].astype(str).isin(withdrawn).to_numpy()


def _purge_store(folder: Path, withdrawn: Collection[str]) -> int:
    """Zero rows of withdrawn participants and delete their records and table rows; returns their number."""
    slots = plan.read_slots(folder)
    removed = slots["eid"].isin(withdrawn)
    _purge_tables(folder, withdrawn)
    layout = Layout.sharded(folder, int(slots["slot"].max()) + 1 if len(slots) else 0)
    for slot in slots.loc[removed, "slot"].tolist():
        if layout.record(slot).is_file():
            records = fill.records_in(layout.record(slot))
            fill.write_records(layout.record(slot), (record for record in records if record["slot"] != slot))
        for name in ARRAYS:
            if (path := layout.file(name, slot)).is_file():
                rows = np.load(path, mmap_mode="r", allow_pickle=False)
                layout.write(name, slot, np.zeros(rows.shape[1:], rows.dtype))
        layout.flush(slot)
    if removed.any():  # last, because an interrupted purge needs the slots to resume
        write_frame(folder / plan.SLOTS, slots[~removed])
    return int(removed.sum())


def _purge_tables(folder: Path, withdrawn: Collection[str]) -> None:
    """Delete rows of the published tables.

    If an interrupted build or purge left inconsistent tables, all tables are deleted; the next
    ``eccl ingest ukb`` writes them again from the records.
    """
    store = folder / "store"
    try:
        manifest, content = sharded.read(folder)
    except (DamagedError, OSError):
        for path in (folder / "manifest.json", *store.glob("*.parquet"), *store.glob("*.npy")):
            path.unlink(missing_ok=True)
        return
    frames = {name: pd.read_parquet(io.BytesIO(content[f"{name}.parquet"])) for name in ("table", "quarantine")}
    kept = {name: ~frame["eid"].isin(withdrawn).to_numpy() for name, frame in frames.items()}
    if all(rows.all() for rows in kept.values()):
        return
    names = [name.removesuffix(".npy") for name in content if name.endswith(".npy")]
    arrays = {name: sharded.array(content, name)[kept["table"]] for name in names}
    facts = {name: value for name, value in manifest.items() if name not in ("format", "files")}
    facts["kept"] = int(kept["table"].sum())
    sharded.write(folder, *(frames[name][kept[name]] for name in frames), arrays, facts)


def _purge_results(results: Path, withdrawn: Collection[str], counts: dict[str, int]) -> None:
    """Delete rows of predictions, and delete caches, figures and notebooks whole, since runs write them again."""
    for path in sorted(results.rglob(PREDICTIONS)):
        kept = ~_of_withdrawn(path, withdrawn)
        if kept.all():
            continue
        write_atomically(path, partial(_write_kept, path, kept))
        counts["rows of predictions"] += int((~kept).sum())
    cached = [path for path in results.rglob("*.npy") if path.with_suffix(".json").is_file()]
    pairs = [file for path in cached for file in (path, path.with_suffix(".json"))]
    pairs += results.rglob("calibration-*.json")
    counts["caches and views"] += _remove(*pairs, results / "figures", results / "notebooks")


def _write_kept(path: Path, kept: np.ndarray, beside: Path) -> None:
    """Write the kept rows of a run's predictions to ``beside``, and their checksum to the run's manifest.

    The manifest comes first: after a kill before ``beside`` replaces ``path``, the next purge finds rows to remove and
    writes both again.
    """
    pd.read_parquet(path)[kept].to_parquet(beside, index=False)
    manifest = path.parent / "manifest.json"
    if manifest.is_file() and path.name in (content := read_json(manifest)).get("files", {}):
        content["files"][path.name] = sha256(beside)
        write_sealed(manifest, content)


def _remove(*candidates: Path) -> int:
    existing = [path for path in candidates if path.exists()]
    for path in existing:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(existing)
