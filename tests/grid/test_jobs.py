"""The runs of the grid: each knows its parents, its folder and its cost."""

from collections import Counter

import pytest

from eccl_lib.config.schema import TASKS
from eccl_lib.data import open_cohort
from eccl_lib.grid import scheduler as grid
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import names, spec, waves
from tests.conftest import tiny_config

pytestmark = pytest.mark.usefixtures("shared_runs")


def quiet(line):
    pass


@pytest.fixture(scope="module")
def data(shared_runs):
    return open_cohort.load(tiny_config(), quiet)


def test_the_paper_s_table_takes_these_runs_and_no_two_runs_share_a_folder(data):
    cells = [spec(tiny_config(task, seed=seed), key) for key in METHODS for task in TASKS for seed in range(2)]
    jobs = {job for wave in waves(cells) for job in wave}
    count = Counter((job.stage, job.variant) for job in jobs)
    assert count.pop(("pretrain_ecg", "vit")) == count.pop(("pretrain_pair", "cmae")) == 2  # one for each seed
    assert count.pop(("autoencode", "ecg")) == count.pop(("autoencode", "cmr")) == 2
    for architecture in ("swin", "resnet50", "vit"):  # a task and seed each
        assert count.pop(("pretrain_cmr", architecture)) == count.pop(("cmr_features", architecture)) == 5 * 2
    assert {variant for _, variant in count} == set(METHODS) - {"cmr_sup"} and set(count.values()) == {10}
    folders = [job.run(data).folder for job in jobs if not job.is_features]
    assert len(folders) == len(set(folders))
    assert len(grid.plan(tiny_config(), list(METHODS), TASKS, range(2))) > 1


@pytest.mark.parametrize("key", METHODS)
def test_after_its_parents_a_run_trains_nothing_but_itself(key, data):
    job = spec(tiny_config("I21"), key)
    for wave in waves([job])[:-1]:
        for parent in wave:
            parent.train(quiet)
            assert parent.done(data)
    lines = []
    run = job.train(lines.append)
    trained = {line.split(":")[0] for line in lines if line.endswith(": training")}
    assert trained <= {run.name} and not any("prerequisite" in line for line in lines)
    assert job.done(data) and job.seconds(data) > 0


@pytest.mark.parametrize("name", [*(name for name in names() if not name.startswith("probe")), "cmr_features"])
def test_an_estimate_needs_no_parent_and_leaves_nothing_behind(name, data, shared_runs):
    job = spec(tiny_config("I42", seed=9), name)
    before = sorted((shared_runs / "demo-synthetic").glob("*/*/*/*"))
    assert job.estimate(data) > 0
    assert sorted((shared_runs / "demo-synthetic").glob("*/*/*/*")) == before
    assert not job.run(data).folder.exists()


def test_runs_of_one_kind_differ_in_seed_or_disease_only():
    traits, disease = tiny_config("traits"), tiny_config("I21")
    assert spec(traits, "eccl").kind != spec(disease, "eccl").kind == spec(tiny_config("I50", seed=3), "eccl").kind
    swin = spec(disease, "cmr_sup")
    others = {spec(disease, "eccl").parents()[-1].kind, spec(disease, "resnet50").parents()[-1].kind}
    assert len(others) == 2 and swin.kind not in others
