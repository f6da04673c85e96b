"""Speed of the import of full-size recordings: ``python bench/ingest.py --participants 500 --different 20``.

Generates a few full-size participants (10 slices of 208 x 187, 50 frames), links their files under many ids and builds
the store from them. Prints wall-clock and CPU time per participant, and the memory of a worker.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from eccl_lib.commands.cli import main as eccl
from eccl_lib.config.load import load
from eccl_lib.data.store import plan, sharded
from eccl_lib.data.synthetic import FIRST_EID, render_table, ukb_tree

PAPER = 41_519  # participants, Sec. 3.1


def tree(root: Path, different: int, participants: int) -> None:
    """Write files of a few participants, links to them under many ids, and the table of all participants."""
    config = load("paper").synthetic
    for index in range(different):
        ukb_tree.write_participant(config, index, root / "drawn")
    for index in range(participants):
        for place in (ukb_tree.ecg_path, ukb_tree.cine_path, ukb_tree.segmentation_path):
            path, source = place(root / "all", FIRST_EID + index), place(root / "drawn", FIRST_EID + index % different)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(source, path)
    render_table(config, range(participants)).to_csv(root / "participants.csv", index=False)


def main() -> None:
    """Build a store and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participants", type=int, default=500)
    parser.add_argument("--different", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["ECCL_RUNS"] = str(root / "runs")
        tree(root, given.different, given.participants)
        clock, busy = time.perf_counter(), _processor()
        words = [str(root / "all"), "--table", str(root / "participants.csv"), "--no-withdrawals"]
        try:
            eccl(["ingest", "ukb", *words, "--workers", str(given.workers)])
        except SystemExit as ended:
            if ended.code:
                sys.exit("the store was not built")
        clock, busy = time.perf_counter() - clock, _processor() - busy
        store = sharded.folder_of(load("paper", cohort="ukb"))
        size = sum(path.stat().st_size for path in (store / "store" / "shards").iterdir())
        people = len(plan.read_slots(store))
    peaks = [resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"{people} participants, {given.workers} workers, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    pace = f"{clock:.0f} s, {people / clock:.2f} participants a second"
    print(f"clock: {pace}, {PAPER * clock / people / 3600:.1f} h for {PAPER:,}")
    each = f"{busy:.0f} s, {busy / people:.2f} s each"
    print(f"processor: {each}, {PAPER * busy / people / 3600:.1f} core hours for {PAPER:,}")
    print(f"peak memory: {peaks[0]:.2f} GB here, {peaks[1]:.2f} GB in a worker; shards {size / 1e9:.2f} GB")


def _processor() -> float:
    """CPU seconds of this process and of the child processes that it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
