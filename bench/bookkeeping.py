"""Cost of a store apart from its recordings: tables, slots, splits, records, manifest, opening.

``python bench/bookkeeping.py 41519 500000`` prints seconds and peak memory of each step for these numbers of
participants. No recording is read: the listed files do not exist, and the records are those of a finished build.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

FIRST = 9_000_001
ROWS = 500  # distinct rows of the table; all other rows repeat them with other ids


def table(path: Path, count: int) -> None:
    """A table of that many participants in the style of the Research Analysis Platform."""
    from eccl_lib.config.load import load
    from eccl_lib.data.synthetic import render_table

    frame = render_table(load("demo").synthetic, range(ROWS)).drop(columns="eid")
    lines = frame.to_csv(index=False, header=False, lineterminator="\n").splitlines()
    with path.open("w") as file:
        file.write("eid," + ",".join(frame.columns) + "\n")
        file.writelines(f"{FIRST + k},{lines[k % ROWS]}\n" for k in range(count))


def listed(count: int):
    """The file listing that a search of the folders would return."""
    from eccl_lib.data.listing import FileListing

    names = {"ecg": "{0}_20205_2_0.xml", "cine": "{0}_20209_2_0.zip", "segmentation": "{0}/seg_sa.nii.gz"}
    people = (str(FIRST + k) for k in range(count))
    return FileListing(
        {eid: {kind: (Path("/bulk") / name.format(eid),) for kind, name in names.items()} for eid in people}
    )


def write_records(folder: Path, found) -> None:
    """Write the records of a finished build, with one participant in a hundred in quarantine."""
    from eccl_lib.data.store import sharded
    from eccl_lib.data.store.layout import BLOCK

    facts = {"heart_rate": 60.0, "missing_leads": "", "flat_leads": "", "gaps": 0.0, "clipped": 0.0, "baseline_mv": 0.4}
    facts |= {"einthoven_uv": 5.0, "heart_rate_from": "device", "notes": ""}
    damaged = {"quarantine": {"file": "x", "reason": "the zip is damaged", "cure": "Download it again."}}
    layout = sharded.layout_of(folder)
    layout.records.mkdir(parents=True)
    slots = sorted(found.participants)
    for first in range(0, len(slots), BLOCK):
        block = []
        for slot in slots[first : first + BLOCK]:
            who = found.participants[slot]
            sums = {"ecg_sha256": f"{slot:064x}", "clip_sha256": f"{slot + 10**9:064x}"}
            head = {"slot": slot, "eid": who.eid, "state": who.state, **sums}
            block.append(head | (damaged if slot % 100 == 99 else facts))
        layout.record(first).write_text(json.dumps(block))


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Print time and peak memory of a step."""
    wall, busy = time.perf_counter(), time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    spent = f"{time.process_time() - busy:7.1f} s processor {time.perf_counter() - wall:7.1f} s clock"
    print(f"  {name:42}{spent}   peak {peak:5.2f} GB so far", flush=True)


def measure(count: int) -> None:
    """Run all steps once for this number of participants."""
    from eccl_lib.config.load import load
    from eccl_lib.data import splits
    from eccl_lib.data.store import fill, plan, sharded
    from eccl_lib.data.store.plan import Source
    from eccl_lib.data.ukb import file_names, withdrawals

    print(f"{count:,} participants")
    config, root = load("paper", cohort="ukb"), Path(os.environ["ECCL_RUNS"])
    table(root / "participants.csv", count)
    withdrawn = withdrawals.add({str(FIRST + 5)})
    folder = sharded.folder_of(config)
    folder.mkdir(parents=True)
    source = Source(("/bulk",), (str(root / "participants.csv"),))
    patched = (
        mock.patch.object(file_names, "find", lambda *_: listed(count)),
        mock.patch.object(sharded, "_verify_shards"),
    )
    with patched[0], patched[1], mock.patch.object(plan, "_size_and_time", lambda path: (1, 1)):
        with step("list files, read tables, labels, slots"):
            found = plan.make_inventory(source, folder, withdrawn)
        write_records(folder, found)
        with step("read all records"):
            records = fill.read_records(sharded.layout_of(folder))
        with step("splits, tables, manifest"):
            sharded.publish(folder, found, records, config, complete=True)
        with step("open the store"):
            data = sharded.load(config)
    with step("check the strata of the splits"):
        even = splits.balance(data.table, data.labels)["even"].all()
    sizes = [len(data.index(name)) for name in splits.SPLITS]
    print(f"  {len(data):,} in the store, splits {sizes}, within binomial error: {even}")
    assert np.isfinite(data.traits).any()


def main() -> None:
    """Measure each size in its own process, because the peak memory is that of the whole process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="+", type=int)
    given = parser.parse_args()
    if len(given.counts) > 1:
        for count in given.counts:
            subprocess.run([sys.executable, __file__, str(count)], check=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ECCL_RUNS"] = folder
        measure(given.counts[0])


if __name__ == "__main__":
    main()
