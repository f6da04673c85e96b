"""A tiny embedded cohort that every test of the stages shares, built once."""

import os

from eccl_lib.data import open_cohort

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere

import pytest

from eccl_lib.config.load import load

HANG = 600.0  # seconds after which a process that a test waits for counts as hanging; only a hang may reach it
TINY = {
    "runtime.device": "cpu",  # on a machine with a GPU as well: there it would be bf16, and other bits
    "synthetic.participants": 80,
    "synthetic.prevalence_i21": 0.3,
    "synthetic.prevalence_i42": 0.25,
    "synthetic.prevalence_i48": 0.3,
    "synthetic.prevalence_i50": 0.3,
    "synthetic.file_participants": 0,
    "synthetic.split": [3, 1, 1],
    "store.clip_frames": 25,
    "store.clip_size": 56,
    "ecg.patch_leads": 12,
    "ecg.patch_samples": 20,
    "ecg.width": 32,
    "ecg.depth": 1,
    "ecg.dropout": 0.1,
    "cmr_training.disease_steps_per_epoch": 0,
    "cmr.width": 16,
    "cmr.depths": [1, 1],
    "cmr.dropout": 0.1,
    "cmr.drop_path": 0.2,
    "mae.decoder_width": 32,
    **{f"{section}.steps_per_epoch": 0 for section in ("mae", "cmr_training", "align", "third_stage", "cmae")},
    **{f"{section}.epochs": 3 for section in ("mae", "cmr_training", "align")},
    **{f"{section}.warmup_epochs": 1 for section in ("mae", "cmr_training", "align")},
    **{f"{section}.batch": 16 for section in ("mae", "cmr_training", "align")},
}


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory):
    """The tiny cohort's folder; link it into other run folders, do not write there."""

    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCL_RUNS", str(folder))
        open_cohort.load(tiny_config(), lambda line: None)
    return folder


@pytest.fixture
def tiny_runs(tiny_store, tmp_path, monkeypatch):
    """An empty runs folder that holds the tiny cohort and nothing else."""
    return link_cohort(tiny_store, tmp_path / "runs", monkeypatch)


@pytest.fixture(scope="module")
def shared_runs(tiny_store, tmp_path_factory):
    """As ``tiny_runs``, one for all tests of a module: what one trained the next finds done."""
    with pytest.MonkeyPatch.context() as patch:
        yield link_cohort(tiny_store, tmp_path_factory.mktemp("shared") / "runs", patch)


def link_cohort(store, runs, monkeypatch):
    (runs / "demo-synthetic").mkdir(parents=True)
    (runs / "demo-synthetic" / "cohort").symlink_to(store / "demo-synthetic" / "cohort")
    monkeypatch.setenv("ECCL_RUNS", str(runs))
    return runs


def tiny_config(disease="I48", seed=0, **overrides):
    return load("demo", disease=disease, seed=seed, overrides={**TINY, **overrides})


def eccl(*words):
    """Run the console script ``eccl`` in this process. Returns its exit status."""
    from eccl_lib.commands.cli import main

    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code or 0
