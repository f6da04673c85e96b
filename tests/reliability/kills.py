"""Work that kills its own process at a chosen point: ``torchrun ... tests/reliability/kills.py WORK POINT RANK``."""

import multiprocessing
import os
import pkgutil
import signal
import sys

from tests.conftest import HANG, tiny_config

OVERRIDES = {"runtime.checkpoint_seconds": 0.0, "runtime.workers": 1}
COHORT, FEATURES = "cohort", "features"
# A job of each stage, and the folder of its run.
STAGES = {
    "pretrain_ecg": "pretrain_ecg",
    "cmr_sup": "pretrain_cmr",
    "pretrain_pair": "pretrain_pair",
    "eccl": "align",
    "ssl": "finetune",
}
# Points of a stage: module, function whose calls are counted, number of the fatal call.
POINTS = {
    "in the middle of an epoch": ("training.job", "learning_rate", 7),
    "between weights and manifest": ("training.state", "write_sealed", 5),
    "while the results are written": ("training.runs", "write_json", 2),
}
COHORT_POINTS = {
    "in the middle of a block": ("data.store.layout.Layout", "write", 37),
    "between rows and record": ("data.store.fill", "write_records", 3),
    "while the rows are moved": ("data.store.synthetic_store", "keep_rows", 2),
    "before the manifest": ("data.store.synthetic_store", "write_sealed", 1),
}
FEATURES_POINTS = {
    "in the middle of the cines": ("data.cohort.Cohort", "clip_view", 1),
    "before the array": ("training.runs", "write_array", 1),
    "between array and checksum": ("training.runs", "write_sealed", 1),
}
POINTS_OF = {COHORT: COHORT_POINTS, FEATURES: FEATURES_POINTS} | dict.fromkeys(STAGES, POINTS)
SINGLE = [(work, point) for work, points in POINTS_OF.items() for point in points]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["eccl_lib.pipeline.stages"])


def perform(work, point=None):
    """Do the work; its prerequisites first and undisturbed. point: where this process kills itself."""
    from eccl_lib.data import open_cohort
    from eccl_lib.io.progress import silent
    from eccl_lib.pipeline.stages import cmr_features, spec, waves

    config = tiny_config(**OVERRIDES)
    if work == COHORT:
        arrange(work, point)
        open_cohort.load(config, silent)
        return
    own = spec(config, "pretrain_cmr" if work == FEATURES else work)
    for wave in waves([own])[: None if work == FEATURES else -1]:
        for parent in wave:
            parent.train(silent)
    data = open_cohort.load(config, silent)
    arrange(work, point)
    cmr_features(config, data, silent) if work == FEATURES else own.train(silent)


def arrange(work, point):
    """Let this process kill itself when it comes to the point."""
    if not point:
        return
    place, name, at = POINTS_OF[work][point]
    target = pkgutil.resolve_name(f"eccl_lib.{place}")
    original, calls = getattr(target, name), []

    def counted(*arguments, **options):
        calls.append(name)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(target, name, counted)


def in_a_process(work, runs, point=None):
    """Do the work in a process of its own, with this folder of runs. Returns its exit status."""
    process = CONTEXT.Process(target=_enter, args=(work, runs, point))
    process.start()
    process.join(HANG)
    return process.exitcode


def _enter(work, runs, point):
    os.environ["ECCL_RUNS"] = str(runs)
    perform(work, point)


def build_on_two_workers(runs):
    """Build a cohort that takes minutes."""
    from eccl_lib.data import open_cohort
    from eccl_lib.io.progress import silent

    os.environ["ECCL_RUNS"] = str(runs)
    open_cohort.load(tiny_config(**{"runtime.workers": 2, "synthetic.participants": 20_000}), silent)


if __name__ == "__main__":
    from eccl_lib.training import distributed

    work, point, rank = sys.argv[1:]
    with distributed.process_group(30.0):
        perform(work, point if distributed.rank() == int(rank) else None)
