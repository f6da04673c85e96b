"""The stages on a tiny cohort: what is frozen, what is shared, what a run leaves behind."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from eccl_lib.config import load
from eccl_lib.config.errors import ConfigError, DamagedError, MissingError
from eccl_lib.config.method_schema import with_cmr
from eccl_lib.config.schema import RuntimeConfig
from eccl_lib.data import open_cohort
from eccl_lib.io.files import sha256
from eccl_lib.metrics import scores
from eccl_lib.models.build import new_cmr_model
from eccl_lib.pipeline import models, stages, trainer
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import expected
from eccl_lib.tasks import TASKS
from eccl_lib.training.datasets import CineDataset, EcgDataset
from tests.conftest import tiny_config

pytestmark = pytest.mark.usefixtures("shared_runs")


def quiet(line):
    pass


@pytest.mark.parametrize("disease", ["I48", "traits"])
@pytest.mark.parametrize("key", METHODS)
def test_every_row_runs_and_its_score_follows_from_its_predictions(key, disease):
    run = stages.train(tiny_config(disease), key, quiet)
    data = open_cohort.load(tiny_config(disease), quiet)
    found = run.predictions
    assert list(found["row"]) == list(data.index("test"))
    assert list(found["eid"]) == list(data.table["eid"].iloc[data.index("test")])
    names = [c.removeprefix("target_") for c in found if c.startswith("target_")]
    target, score = (found[[f"{kind}_{n}" for n in names]].to_numpy() for kind in ("target", "score"))
    if disease == "traits":
        assert scores.mean_r(score, target) == pytest.approx(run.metrics["test"], abs=1e-9)
    else:
        assert scores.auc(score[:, 0], target[:, 0] > 0.5) == pytest.approx(run.metrics["test"], abs=1e-9)


@pytest.mark.parametrize("disease", ["I48", "traits"])
def test_all_arms_get_the_same_number_of_updates(disease):
    arms = [key for key, method in METHODS.items() if method.arm]
    updates = {stages.train(tiny_config(disease), key, quiet).metrics["updates"] for key in arms}
    assert len(updates) == 1


def test_a_full_gpu_is_told_with_its_cure(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(trainer, "_train", full)
    with pytest.raises(ConfigError, match=r"memory is full; set runtime.recompute=true or runtime.accumulate=2.*2.00"):
        stages.train(tiny_config(seed=77), "pretrain_ecg", quiet)


def test_frozen_cmr_encoder_does_not_move_and_gives_one_feature_per_clip():
    config = tiny_config()
    teacher = stages.train(config, "pretrain_cmr", quiet)
    data = open_cohort.load(config, quiet)
    clip = CineDataset(data, config).of(np.arange(4))
    before = models.frozen_cmr(config, data).encoder(clip)
    aligned = stages.train(config, "eccl", quiet)
    model = models.frozen_cmr(config, data)
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


@pytest.mark.parametrize("key", ["resnet50", "vit"])
def test_other_cmr_encoders_really_carry_their_supervised_weights_and_are_frozen(key):
    config = tiny_config()
    data = open_cohort.load(config, quiet)
    cmr_config = with_cmr(config, key)
    supervised = stages.train(cmr_config, "pretrain_cmr", quiet)
    untrained = new_cmr_model(cmr_config, TASKS[cmr_config.disease].outputs).eval()
    teacher = models.frozen_cmr(cmr_config, data)
    weights = supervised.weights()
    assert all(torch.equal(value, weights[name]) for name, value in teacher.state_dict().items())
    assert any(not torch.equal(value, weights[name]) for name, value in untrained.state_dict().items())
    stamp = sha256(supervised.folder / "model.safetensors")
    stages.train(config, key, quiet)
    clip = CineDataset(data, config).of(np.arange(6))
    cached = stages.cmr_features(cmr_config, data, quiet)[:6]
    assert np.allclose(teacher.encoder(clip).numpy(), cached, atol=1e-4)
    with torch.no_grad():
        assert not np.allclose(untrained.encoder(clip).numpy(), cached, atol=1e-2)
    assert not any(p.requires_grad for p in teacher.parameters()) and not teacher.training
    assert sha256(supervised.folder / "model.safetensors") == stamp
    assert teacher.head.in_features == stages.train(config, key, quiet).weights("project_cmr")["weight"].shape[1]


def test_cmae_starts_each_step_from_the_one_before():
    tiny_steps = {f"{s}.{n}": v for s in ("align", "cmae") for n, v in (("epochs", 1), ("warmup_epochs", 0))}
    config = tiny_config(**tiny_steps, **{"align.lr": 1e-12})
    alone = stages.train(config, "autoencode_ecg", quiet).weights("encoder")
    pair = stages.train(config, "pretrain_pair", quiet).weights("ecg.encoder")
    tuned = stages.train(config, "cmae", quiet).weights("encoder")
    learned = [name for name in alone if name.endswith("weight") and alone[name].dim() > 1]
    assert all(torch.allclose(tuned[name], pair[name], atol=1e-6) for name in learned)
    assert any(not torch.equal(alone[name], pair[name]) for name in learned)
    assert all((alone[name] - pair[name]).abs().max() < 0.1 for name in learned)  # few steps away, not drawn anew


def test_the_aligned_encoder_starts_from_the_autoencoder_and_scratch_does_not():
    config = tiny_config(**{"align.epochs": 1, "align.warmup_epochs": 0, "align.lr": 1e-12})
    data = open_cohort.load(config, quiet)
    start = stages.train(config, "pretrain_ecg", quiet).weights("encoder")
    for key, same in (("eccl", True), ("ssl", True), ("scratch", False), ("cl", False)):
        weights = stages.train(config, key, quiet).weights("encoder")
        close = all(torch.allclose(weights[name], start[name], atol=1e-6) for name in start)
        assert close == same, key
    first = [stages.train(config, key, quiet).weights("encoder") for key in ("scratch", "cl")]
    assert all(torch.allclose(first[0][name], first[1][name], atol=1e-6) for name in start)
    assert len(data.index("train")) == 48


@pytest.mark.parametrize("disease", ["I48", "traits"])
def test_alignment_never_sees_validation_or_test_participants_in_training(disease, monkeypatch):
    config = tiny_config(disease, seed=7)
    data, seen = open_cohort.load(config, quiet), {"train": set(), "eval": set()}
    original = EcgDataset.of

    def watched(self, rows):
        seen["eval" if torch.is_inference_mode_enabled() or not torch.is_grad_enabled() else "train"] |= set(
            rows.tolist()
        )
        return original(self, rows)

    monkeypatch.setattr(EcgDataset, "of", watched)
    stages.train(config, "eccl", quiet)
    assert seen["train"] == set(data.index("train").tolist())
    assert seen["eval"] == set(data.index("val").tolist()) | set(data.index("test").tolist())


def test_a_finished_run_is_reused_and_says_so():
    config, said = tiny_config(), []
    first = stages.train(config, "pretrain_ecg", quiet)
    stamp = (first.folder / "manifest.json").stat().st_mtime_ns
    again = stages.train(config, "pretrain_ecg", said.append)
    assert again == first and (first.folder / "manifest.json").stat().st_mtime_ns == stamp
    assert any("reused" in line for line in said)


def test_fingerprints_hang_on_parents_and_not_on_what_they_do_not_read():
    data = open_cohort.load(tiny_config(), quiet)
    base, other_mae = tiny_config(), tiny_config(**{"mae.epochs": 2})
    assert expected(base, "pretrain_ecg", data) == expected(tiny_config("traits"), "pretrain_ecg", data)
    assert expected(base, "pretrain_cmr", data) == expected(other_mae, "pretrain_cmr", data)
    assert expected(base, "eccl", data) != expected(other_mae, "eccl", data)
    assert expected(base, "cl", data) == expected(other_mae, "cl", data)
    workers = tiny_config(**{"runtime.workers": 1})
    assert expected(base, "eccl", data) == expected(workers, "eccl", data)


def test_a_missing_parent_is_named_with_the_command_that_makes_it():
    config = tiny_config("I50", **{"runtime.build_missing": False, "align.epochs": 2})
    with pytest.raises(MissingError, match=r"eccl train pretrain_cmr --scale demo .*--disease I50"):
        stages.train(config, "eccl", quiet)


def test_a_damaged_weight_file_is_refused():
    run = stages.train(tiny_config(seed=5), "pretrain_ecg", quiet)
    path = run.folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="has changed"):
        run.weights()


def test_nothing_a_run_leaves_needs_pickle():
    run = stages.train(tiny_config(), "eccl", quiet)
    suffixes = {path.suffix for path in run.folder.iterdir() if not path.name.startswith(".")}
    assert suffixes <= {".json", ".csv", ".parquet", ".safetensors", ".npy"}
    assert isinstance(run.history, pd.DataFrame) and {"contrastive", "task"} <= set(run.history)


def test_the_cmr_encoder_of_a_disease_starts_from_that_of_the_traits_where_configured(tiny_runs):
    own = {"cmr_training.disease_steps_per_epoch": 1, "cmr_training.disease_lr": 1e-12, "cmr_training.epochs": 1}
    config = tiny_config("I48", **own)
    disease = stages.spec(config, "cmr_sup")
    (traits,) = disease.parents()
    assert traits.task == "traits" and not traits.parents()
    assert stages.waves([disease]) == [[traits], [disease]]
    run = stages.train(config, "cmr_sup", quiet)
    start = traits.run(open_cohort.load(config, quiet)).weights("encoder")
    weights = run.weights("encoder")
    assert run.metrics["updates"] == 1
    assert all(torch.allclose(weights[name], start[name], atol=1e-6) for name in start if "running" not in name)
    assert stages.spec(tiny_config("I48"), "cmr_sup").parents() == ()
    assert stages.spec(tiny_config("I48", **own, **{"cmr_training.start_from": "12345678"}), "cmr_sup").parents() == ()


def test_variants_of_the_ecg_encoder_share_the_runs_of_the_cmr_encoder():
    one, other = tiny_config("traits"), tiny_config("traits", **{"ecg.width": 16, "mae.decoder_width": 16})
    found = stages.waves([stages.spec(config, "eccl") for config in (one, other)])
    assert [len(wave) for wave in found] == [3, 1, 2]
    assert [own.stage for own in found[0]].count("pretrain_cmr") == 1
    assert stages.spec(one, "cmr_sup") == stages.spec(other, "cmr_sup") in found[0]


STAGE_ONE = ("pretrain_ecg", "pretrain_cmr", "cmr_features", "autoencode_ecg", "autoencode_cmr", "pretrain_pair")


@pytest.mark.parametrize(
    "change",
    [
        {"store.clip_size": 64, "view.clip_size": 64},  # the scale's 56 does not divide 64
        {"view.ecg_rate": 500, "ecg.patch_samples": 625},
    ],
)
@pytest.mark.parametrize("name", [*STAGE_ONE, "scratch", "eccl"])
def test_the_config_of_a_run_is_valid_by_itself(name, change):
    own = stages.spec(tiny_config("I48", **change), name)
    for each in (own, *own.parents()):
        assert load.of_run(load.as_dict(each.config)) == replace(each.config, runtime=RuntimeConfig())


@pytest.mark.parametrize(
    ("change", "not_read_by"),
    [
        ({"view.ecg_scaling": "lead"}, {"pretrain_cmr", "cmr_features", "cmr_sup", "autoencode_cmr"}),
        ({"view.clip_frames": 5}, {"pretrain_ecg", "autoencode_ecg", "scratch", "ssl"}),
    ],
)
def test_a_run_depends_on_the_view_of_those_modalities_alone_that_it_reads(change, not_read_by):
    plain, changed = tiny_config("I48"), tiny_config("I48", **change)
    names = {*STAGE_ONE, *METHODS}
    assert {name for name in names if stages.spec(changed, name) == stages.spec(plain, name)} == not_read_by
