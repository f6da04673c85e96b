"""Random reads of stored clips from shards in the page cache, compared with reads in stored order."""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least, at_most, compare

ROWS, SHARD, BATCH, SHAPE = 192, 64, 32, (224, 224, 50)


def prepare(folder: Path) -> dict:
    """CPU seconds per clip. Also checks that every batch is correct and that its bytes are copied only once."""
    import tracemalloc

    import numpy as np

    from eccl_lib.data.sharded_array import Rows

    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (ROWS, *SHAPE), np.uint8)
    files = [folder / f"{k}.npy" for k in range(ROWS // SHARD)]
    for k, file in enumerate(files):
        np.save(file, stored[k * SHARD : (k + 1) * SHARD])
    rows = Rows(files, SHARD, np.arange(ROWS), SHAPE, np.uint8)
    batches = np.split(rng.permutation(ROWS), ROWS // BATCH)
    if not all(np.array_equal(rows[batch], stored[batch]) for batch in batches):
        raise AssertionError("a batch does not contain the requested rows")
    del stored
    in_order = np.split(np.arange(ROWS), ROWS // BATCH)

    def read(some):
        for batch in some:
            rows[batch]

    found = compare(Pair(lambda: read(batches), lambda: read(in_order), lambda one, other: None, ROWS))
    tracemalloc.start()
    rows[batches[0]]
    return found | {"copies": tracemalloc.get_traced_memory()[1] / (BATCH * int(np.prod(SHAPE)))}


CASE = Case(
    "random reads from a warm page cache, per clip",
    "the same clips, read in stored order",
    prepare,
    (at_least("ratio", 0.8), at_most("copies", 1.01, "{:.2f} copies")),
    place=10,
)
