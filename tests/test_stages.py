"""The stages on a tiny cohort: what is frozen, what is shared, what a run leaves behind."""

import numpy as np
import pandas as pd
import pytest
import torch

from eccl_lib import evaluate, methods, stages
from eccl_lib.data import cohort
from eccl_lib.inputs import Clips, Signals
from eccl_lib.methods import METHODS
from eccl_lib.storage import DamagedError, MissingError

from .conftest import tiny_config

pytestmark = pytest.mark.usefixtures("shared_runs")


def quiet(line):
    pass


@pytest.mark.parametrize("disease", ["I48", "traits"])
@pytest.mark.parametrize("key", METHODS)
def test_every_row_runs_and_its_score_follows_from_its_predictions(key, disease):
    run = methods.run(tiny_config(disease), key, quiet)
    data = cohort.load(tiny_config(disease), quiet)
    found = run.predictions
    assert list(found["row"]) == list(data.index("test"))
    assert list(found["eid"]) == list(data.table["eid"].iloc[data.index("test")])
    names = [c.removeprefix("target_") for c in found if c.startswith("target_")]
    target, score = (found[[f"{kind}_{n}" for n in names]].to_numpy() for kind in ("target", "score"))
    if disease == "traits":
        assert evaluate.mean_r(score, target) == pytest.approx(run.metrics["test"], abs=1e-9)
    else:
        assert evaluate.auc(score[:, 0], target[:, 0] > 0.5) == pytest.approx(run.metrics["test"], abs=1e-9)


@pytest.mark.parametrize("disease", ["I48", "traits"])
def test_all_arms_get_the_same_number_of_updates(disease):
    arms = [key for key, method in METHODS.items() if method.arm]
    updates = {methods.run(tiny_config(disease), key, quiet).metrics["updates"] for key in arms}
    assert len(updates) == 1


def test_frozen_cmr_encoder_does_not_move_and_gives_one_feature_per_clip():
    config = tiny_config()
    teacher = stages.pretrain_cmr(config, quiet)
    data = cohort.load(config, quiet)
    clip = Clips(data, config).of(np.arange(4))
    before = stages.frozen_cmr(config, data).encoder(clip)
    aligned = stages.align(config, log=quiet)
    model = stages.frozen_cmr(config, data)
    assert torch.equal(model.encoder(clip), before)
    assert not any(p.requires_grad for p in model.parameters())
    learned = aligned.weights()
    assert not any(
        w.shape == p.shape and torch.equal(w, p) for w in learned.values() for p in model.encoder.parameters()
    )
    assert teacher.done
    assert torch.equal(model.encoder(clip), model.encoder(clip))
    cached = stages.cmr_features(config, data, quiet)
    assert np.allclose(model.encoder(clip).numpy(), cached[:4], atol=1e-5)
    model.train()
    assert not torch.equal(model.encoder(clip), model.encoder(clip))  # what "frozen" alone would leave


def test_the_aligned_encoder_starts_from_the_autoencoder_and_scratch_does_not():
    config = tiny_config(**{"align.epochs": 1, "align.warmup_epochs": 0, "align.lr": 1e-12})
    data = cohort.load(config, quiet)
    start = stages.pretrain_ecg(config, quiet).weights("encoder")
    for key, same in (("eccl", True), ("ssl", True), ("scratch", False), ("cl", False)):
        weights = methods.run(config, key, quiet).weights("encoder")
        close = all(torch.allclose(weights[name], start[name], atol=1e-6) for name in start)
        assert close == same, key
    first = [methods.run(config, key, quiet).weights("encoder") for key in ("scratch", "cl")]
    assert all(torch.allclose(first[0][name], first[1][name], atol=1e-6) for name in start)
    assert len(data.index("train")) == 48


@pytest.mark.parametrize("disease", ["I48", "traits"])
def test_alignment_never_sees_validation_or_test_participants_in_training(disease, monkeypatch):
    config = tiny_config(disease, seed=7)
    data, seen = cohort.load(config, quiet), {"train": set(), "eval": set()}
    original = Signals.of

    def watched(self, rows):
        seen["eval" if torch.is_inference_mode_enabled() or not torch.is_grad_enabled() else "train"] |= set(
            rows.tolist()
        )
        return original(self, rows)

    monkeypatch.setattr(Signals, "of", watched)
    stages.align(config, log=quiet)
    assert seen["train"] == set(data.index("train").tolist())
    assert seen["eval"] == set(data.index("val").tolist()) | set(data.index("test").tolist())


def test_a_finished_run_is_reused_and_says_so():
    config, said = tiny_config(), []
    first = stages.pretrain_ecg(config, quiet)
    stamp = (first.folder / "manifest.json").stat().st_mtime_ns
    again = stages.pretrain_ecg(config, said.append)
    assert again == first and (first.folder / "manifest.json").stat().st_mtime_ns == stamp
    assert any("done before" in line for line in said)


def test_fingerprints_hang_on_parents_and_not_on_what_they_do_not_read():
    data = cohort.load(tiny_config(), quiet)
    base, other_mae = tiny_config(), tiny_config(**{"mae.epochs": 2})
    assert stages.ecg_run(base, data) == stages.ecg_run(tiny_config("traits"), data)
    assert stages.cmr_run(base, data) == stages.cmr_run(other_mae, data)
    assert stages.arm_run(base, stages.ECCL, data) != stages.arm_run(other_mae, stages.ECCL, data)
    assert stages.arm_run(base, METHODS["cl"].arm, data) == stages.arm_run(other_mae, METHODS["cl"].arm, data)
    workers = tiny_config(**{"runtime.workers": 1})
    assert stages.arm_run(base, stages.ECCL, data) == stages.arm_run(workers, stages.ECCL, data)


def test_a_missing_parent_is_named_with_the_command_that_makes_it():
    config = tiny_config("I50", **{"runtime.build_missing": False, "align.epochs": 2})
    with pytest.raises(MissingError, match=r"python -m eccl_lib.stages pretrain_cmr --scale demo .*--disease I50"):
        stages.align(config, log=quiet)


def test_a_damaged_weight_file_is_refused():
    run = stages.pretrain_ecg(tiny_config(seed=5), quiet)
    path = run.folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="has changed"):
        run.weights()


def test_nothing_a_run_leaves_needs_pickle():
    run = stages.align(tiny_config(), log=quiet)
    suffixes = {path.suffix for path in run.folder.iterdir() if not path.name.startswith(".")}
    assert suffixes <= {".json", ".csv", ".parquet", ".safetensors", ".npy"}
    assert isinstance(run.history, pd.DataFrame) and {"contrastive", "task"} <= set(run.history)
