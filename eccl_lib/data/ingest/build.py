"""Build a store and its report, for all kinds of inputs."""

import time

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.ingest import report
from eccl_lib.data.store import sharded
from eccl_lib.data.store.plan import Inputs
from eccl_lib.io.progress import Log, format_seconds
from eccl_lib.io.workers import Workers


def build(config: Config, source: Inputs, workers: Workers, retry: bool, log: Log = print) -> Cohort:
    """Build the store of a source and its report, and return the cohort. retry: read quarantined files again.

    An interrupted build resumes. Raises UnreadableError if a table or path cannot be used.
    """
    start = time.monotonic()
    folder, inventory = sharded.build(config, source, workers, log, retry)
    data = sharded.load(config, log)
    page = report.write(config, data, inventory)
    spent = format_seconds(time.monotonic() - start)
    log(f"{len(data):,} participants in the store, {len(data.quarantine):,} lines in quarantine, {spent}")
    if len(data.quarantine):
        log(f"most frequent in quarantine: {report.most_frequent(data.quarantine)}")
    for note in inventory.to_log if len(data) else ():
        log(note)
    if len(data) and inventory.patients:
        log(inventory.patients)
    log(f"report: {page}\nstore:  {folder}")
    return data
