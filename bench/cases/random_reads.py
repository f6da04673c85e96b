"""Random reads of stored clips from shards in the page cache, beside the same rows in their order."""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least, peak_mb

ROWS, SHARD, BATCH, SHAPE = 192, 64, 32, (224, 224, 50)


def prepare(folder: Path) -> dict:
    """Clips a second of CPU; every batch must be right and cost one copy: its own bytes and no more."""
    import numpy as np

    from bench.harness import compare
    from eccl_lib.data.rows import Rows

    rng = np.random.default_rng(0)
    files = [folder / f"{k}.npy" for k in range(ROWS // SHARD)]
    for file in files:
        np.save(file, rng.integers(0, 256, (SHARD, *SHAPE), np.uint8))
    rows = Rows(files, SHARD, np.arange(ROWS), SHAPE, np.uint8)
    order = rng.permutation(ROWS)

    def read(which):
        return [int(rows[which[k : k + BATCH]].sum(dtype=np.int64)) for k in range(0, ROWS, BATCH)]

    def same(random, in_order):
        assert sum(random) == sum(in_order)

    found = compare(Pair(lambda: read(order), lambda: read(np.arange(ROWS)), same, ROWS))
    batch_mb = BATCH * np.prod(SHAPE) / 2**20
    return found | {"copies": peak_mb(lambda: rows[order[:BATCH]]) / batch_mb}


CASE = Case(
    "random reads of clips, warm page cache, a clip",
    "the same clips in their order",
    prepare,
    (at_least("ratio", 0.8), at_least("copies", 0, "{:.2f} copies")),
    place=9,
)
