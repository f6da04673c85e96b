"""Real SIGKILLs, three points in each stage: the same call afterwards ends with byte-identical files."""

import multiprocessing
import os
import signal

import pytest

from eccl_lib.io.files import sha256
from eccl_lib.training.runs import FILES
from tests.conftest import link_cohort, tiny_config

OVERRIDES = {"runtime.checkpoint_seconds": 0.0}
# A job of each stage, and the folder of its run.
STAGES = {
    "pretrain_ecg": "pretrain_ecg",
    "cmr_sup": "pretrain_cmr",
    "pretrain_pair": "pretrain_pair",
    "eccl": "align",
    "ssl": "finetune",
}
POINTS = ("in the middle of an epoch", "between weights and manifest", "while the results are written")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["eccl_lib.pipeline.stages"])


def run_stage(stage, runs, point=None):
    """In a process of its own: one stage, its parents first, killed at a point of its own course."""
    os.environ["ECCL_RUNS"] = str(runs)
    from eccl_lib.pipeline.stages import spec, waves

    own = spec(tiny_config(**OVERRIDES), stage)
    for wave in waves([own])[:-1]:
        for parent in wave:
            parent.train(quiet)
    if point:
        arrange(point)
    own.train(quiet)


def arrange(point):
    """Let this process kill itself when it comes to the point."""
    from eccl_lib.training import job, runs, state

    if point == POINTS[0]:
        replace_counted(job, "learning_rate", at=7)
    elif point == POINTS[1]:
        replace_counted(state, "write_json", at=5)
    else:
        replace_counted(runs, "write_json", at=2)


def replace_counted(module, name, at):
    original, calls = getattr(module, name), []

    def counted(*arguments, **options):
        calls.append(name)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(module, name, counted)


def quiet(line):
    pass


def in_a_process(*arguments):
    process = CONTEXT.Process(target=run_stage, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


def results(runs, stage):
    (manifest,) = (runs / "demo-synthetic" / STAGES[stage]).glob("*/*/*/manifest.json")
    return {name: sha256(manifest.parent / name) for name in FILES}


@pytest.fixture(scope="module")
def undisturbed(tiny_store, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        runs = link_cohort(tiny_store, tmp_path_factory.mktemp("undisturbed") / "runs", patch)
    for stage in STAGES:
        assert in_a_process(stage, runs) == 0
    return runs


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_with_the_same_bytes(stage, point, undisturbed, tiny_runs):
    assert in_a_process(stage, tiny_runs, point) == -signal.SIGKILL
    folder = next((tiny_runs / "demo-synthetic" / STAGES[stage]).glob("*/*/*"))
    assert '"done"' not in (folder / "manifest.json").read_text()
    assert in_a_process(stage, tiny_runs) == 0
    assert results(tiny_runs, stage) == results(undisturbed, stage)
