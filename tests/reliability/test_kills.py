"""SIGKILL at chosen points of all work: the same call afterwards ends with byte-identical files.

``make test-long`` also kills ranks of two processes at all points of all stages; ``make test`` at one.
"""

import signal
import time
from pathlib import Path

import pytest

from eccl_lib.io.files import sha256
from eccl_lib.training.runs import FILES
from tests.conftest import HANG, link_cohort
from tests.reliability import LONG, kills
from tests.reliability.kills import COHORT, FEATURES, POINTS, SINGLE, STAGES, in_a_process
from tests.training.distributed.test_distributed import torchrun

PROGRAM = str(Path(kills.__file__))
# Stage, point and the rank that dies: the second one at work, the first one while it writes.
TEAMS = [(stage, point, int(k == 0)) for stage in STAGES for k, point in enumerate(POINTS)]
SHORT_TEAMS = TEAMS[1:2]


def results(runs, work):
    """SHA-256 of everything that the work leaves, by name; no temporary file may be among it."""
    root = runs / "demo-synthetic"
    if work == COHORT:
        files = [path for path in root.rglob("*") if path.is_file() and path.name not in (".lock", "verified.json")]
        return {str(path.relative_to(root)): sha256(path) for path in files}
    (manifest,) = (root / STAGES["cmr_sup" if work == FEATURES else work]).glob("*/*/*/manifest.json")
    names = [path.name for path in manifest.parent.glob("features*.npy")] if work == FEATURES else FILES
    assert names and not list(root.rglob("*.partial"))
    return {name: sha256(manifest.parent / name) for name in names}


@pytest.fixture(scope="module")
def undisturbed(tiny_store, tmp_path_factory):
    """All work by name, done without a kill."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        runs = link_cohort(tiny_store, tmp_path_factory.mktemp("undisturbed") / "runs", patch)
        for work in (FEATURES, *STAGES):
            assert in_a_process(work, runs) == 0
            found[work] = results(runs, work)
        alone = tmp_path_factory.mktemp("cohort")
        assert in_a_process(COHORT, alone) == 0
    return found | {COHORT: results(alone, COHORT)}


@pytest.mark.parametrize(("work", "point"), SINGLE)
def test_killed_work_ends_with_the_same_bytes(work, point, undisturbed, tiny_runs, tmp_path):
    runs = tmp_path / "empty" if work == COHORT else tiny_runs
    assert in_a_process(work, runs, point) == -signal.SIGKILL
    if work in STAGES:
        folder = next((tiny_runs / "demo-synthetic" / STAGES[work]).glob("*/*/*"))
        assert '"done"' not in (folder / "manifest.json").read_text()
    assert in_a_process(work, runs) == 0
    assert results(runs, work) == undisturbed[work]


@pytest.fixture(scope="module")
def teams(tiny_store, tmp_path_factory):
    """All stages, each trained by two processes without a kill."""
    with pytest.MonkeyPatch.context() as patch:
        runs = link_cohort(tiny_store, tmp_path_factory.mktemp("teams") / "runs", patch)
        for stage in STAGES if LONG else {stage for stage, *_ in SHORT_TEAMS}:
            assert run_team(stage, "", -1) == 0
    return runs


def run_team(stage, point, rank):
    return torchrun(PROGRAM, stage, point, rank).wait(HANG)


@pytest.mark.parametrize(("stage", "point", "rank"), TEAMS if LONG else SHORT_TEAMS)
def test_a_killed_rank_costs_no_byte_of_the_team_s_result(stage, point, rank, teams, tiny_runs):
    assert run_team(stage, point, rank) != 0
    assert run_team(stage, "", -1) == 0
    assert results(tiny_runs, stage) == results(teams, stage)


def test_workers_of_a_killed_build_end_with_it(tmp_path):
    build = kills.CONTEXT.Process(target=kills.build_on_two_workers, args=(tmp_path / "runs",))
    build.start()
    workers = wait_for(lambda: children(build.pid, "loky"), bool)
    build.kill()
    build.join()
    # They look for their parent twice a second; without that, loky's own limit is five minutes.
    wait_for(lambda: [pid for pid in workers if is_alive(pid)], lambda alive: not alive, seconds=60)


def children(pid, word):
    """Process ids of the children of ``pid`` whose command line holds a word."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in listed if word in Path(f"/proc/{child}/cmdline").read_text()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(look, enough, seconds=HANG):
    """What ``look`` finds as soon as it is enough. Fails after a time that only a hang reaches."""
    end = time.monotonic() + seconds
    while not enough(found := look()):
        assert time.monotonic() < end, f"still {found} after {seconds:g} s"
        time.sleep(0.05)
    return found
