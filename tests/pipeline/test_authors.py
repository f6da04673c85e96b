"""Where the authors' code departs from the paper: each is a field, and each field changes what it says."""

import numpy as np
import pytest
import torch

from eccl_lib.config.load import as_dict, load
from eccl_lib.config.method_schema import ECCL
from eccl_lib.config.presets import AUTHORS
from eccl_lib.data import cmr, ecg, open_cohort, synthetic
from eccl_lib.models.build import new_ecg_model
from eccl_lib.models.heads import Aligned
from eccl_lib.pipeline import stages
from eccl_lib.tasks import TASKS, build_targets
from eccl_lib.training.optim import build_optimizer
from eccl_lib.training.sampling import task_batches
from tests.conftest import TINY, tiny_config

pytestmark = pytest.mark.usefixtures("shared_runs")

# The issue of each: crop, slice, chunks, flip, optimiser, temperature, third stage, autoencoder's loss, latent size.
FIELDS = {
    "store.crop": "fixed_80px",
    "store.slice_choice": "rv_max",
    "augment.cmr_flip_probability": 0.5,
    "align.chunks": "fixed",
    "cmr_training.chunks": "fixed",
    "align.weight_decay": 0.05,
    "mae.weight_decay": 0.05,
    "mae.loss_on": "all",
    "third_stage.enabled": True,
}


def draws(modality, count, seed):
    """Random numbers of ``modality.augment`` for so many samples."""
    return torch.rand(modality.AUGMENT_DRAWS, count, generator=torch.Generator().manual_seed(seed))


def quiet(line):
    pass


def test_authors_is_a_delta_beside_the_scales_at_the_papers_sizes():
    paper, authors = load("paper"), load("authors")
    assert all(AUTHORS[name] == value for name, value in FIELDS.items())
    assert (authors.ecg, authors.cmr, authors.view) == (paper.ecg, paper.cmr, paper.view)
    assert as_dict(authors) != as_dict(paper) | {"scale": "authors"}


def test_fixed_crop_is_80_pixels_around_the_same_centre():
    config = load("demo")
    record = synthetic.render_cine(config.synthetic, 3)
    box = cmr.heart_box(record.labels[1])
    top, left, bottom, right = cmr.fixed_box(box)
    assert (bottom - top, right - left) == (80, 80)
    assert abs((top + bottom) - (box[0] + box[2])) <= 1 and abs((left + right) - (box[1] + box[3])) <= 1
    fixed = load("demo", overrides={"store.crop": "fixed_80px"})
    assert not np.array_equal(cmr.crop(record, fixed.store), cmr.crop(record, config.store))


def test_fixed_chunks_hold_the_same_negatives_in_every_epoch_and_drawn_ones_do_not():
    data = open_cohort.load(tiny_config(), quiet)
    goal = build_targets(TASKS["I21"], data.labels, data.traits, data.index("train"))

    def first_chunk(config, epoch):
        return set(task_batches(goal, data.index("train"), config.align, 0)(epoch)[0].tolist())

    small = {"align.batch": 1000, "align.negatives_per_positive": 1}
    drawn, fixed = tiny_config(**small), tiny_config(**small, **{"align.chunks": "fixed"})
    assert first_chunk(fixed, 0) == first_chunk(fixed, 1)
    assert first_chunk(drawn, 0) != first_chunk(drawn, 1)


def test_flip_mirrors_half_of_the_clips():
    still = {"augment.cmr_rotation_degrees": 0.0, "augment.cmr_scale_min": 1.0}
    config = tiny_config(**still, **{"augment.cmr_flip_probability": 0.5})
    clip = torch.randn(1, 5, 8, 8).expand(400, -1, -1, -1)
    moved = cmr.augment(clip, config.augment, draws(cmr, len(clip), 0))
    mirrored = sum(torch.allclose(one, clip[0].flip(-1), atol=1e-5) for one in moved)
    kept = sum(torch.allclose(one, clip[0], atol=1e-5) for one in moved)
    assert mirrored + kept == 400 and 160 < mirrored < 240


def test_weight_decay_makes_adam_decoupled():
    parameter = [torch.nn.Parameter(torch.ones(1))]
    config = tiny_config(**{"align.weight_decay": 0.05})
    assert type(build_optimizer(parameter, config.align)) is torch.optim.AdamW
    assert type(build_optimizer(parameter, config.mae)) is torch.optim.Adam
    parameter[0].grad = torch.zeros(1)
    build_optimizer(parameter, config.align).step()
    assert float(parameter[0]) == pytest.approx(1 - config.align.lr * 0.05)


def test_learned_temperature_moves_and_a_fixed_one_stays():
    moved = stages.train(tiny_config(**{"align.learn_temperature": True}), "eccl", quiet).weights("temperature")
    fixed = stages.train(tiny_config(), "eccl", quiet).weights("temperature")
    assert float(fixed["log"].exp()) == pytest.approx(0.1)
    assert float(moved["log"].exp()) != pytest.approx(0.1, rel=1e-5)


def test_third_stage_goes_on_from_the_alignment_and_is_what_then_counts():
    config = tiny_config("traits", **{"third_stage.enabled": True, "third_stage.epochs": 2, "third_stage.lr": 1e-3})
    data = open_cohort.load(config, quiet)
    plain, third = stages.train(tiny_config("traits"), "eccl", quiet), stages.train(config, "eccl", quiet)
    assert third.stage == "third_stage" and stages.RunSpec("align", "eccl", config).run(data) == plain
    before, after = plain.weights("encoder"), third.weights("encoder")
    assert any(not torch.equal(before[name], after[name]) for name in before)
    (parent,) = stages.spec(config, "eccl").parents()
    assert parent.run(data) == plain and "third_stage.enabled" not in parent.command  # the demo's value is False
    assert stages.spec(parent.own_config, "eccl").run(data) == plain
    parameters = stages.spec(config, "eccl").job(data).model.named_parameters()
    trained = {name.partition(".")[0] for name, parameter in parameters if parameter.requires_grad}
    assert trained == {"encoder", "head"}
    projections = [run.weights("project_ecg")["weight"] for run in (plain, third)]
    assert torch.equal(*projections)  # no contrast, so nothing moves them
    slow = tiny_config("traits", **{"third_stage.enabled": True, "third_stage.epochs": 1, "third_stage.lr": 1e-12})
    same = stages.train(slow, "eccl", quiet).weights("encoder")
    assert all(torch.allclose(before[name], same[name], atol=1e-6) for name in before)


@pytest.mark.parametrize(("disease", "key"), [("I48", "eccl"), ("traits", "ssl")])
def test_third_stage_is_for_aligned_models_of_the_traits_alone(disease, key):
    config = tiny_config(disease, **{"third_stage.enabled": True})
    assert stages.expected(config, key, open_cohort.load(config, quiet)).stage != "third_stage"


def test_loss_over_all_patches_is_another_training():
    runs = [stages.train(tiny_config(**{"mae.loss_on": choice}), "pretrain_ecg", quiet) for choice in ("masked", "all")]
    assert not torch.equal(*(run.weights("encoder")["patch_embed.proj.weight"] for run in runs))


def test_latent_size_is_the_width_of_the_shared_space():
    config = tiny_config(**{"align.shared_width": 48})
    model = new_ecg_model(config, 1, ECCL)
    assert isinstance(model, Aligned)
    assert model.project_ecg.out_features == model.project_cmr.out_features == 48


def test_fixed_scaling_keeps_the_voltage_and_per_lead_scaling_does_not():
    signal = torch.zeros(1, 12, 100)
    signal[0, 0, :50], signal[0, 1, :50] = 500, 1000  # uV
    lead, fixed = (ecg.scale(signal, tiny_config(**{"view.ecg_scaling": s}).view) for s in ("lead", "fixed"))
    assert torch.equal(lead[0, 0], lead[0, 1])
    assert torch.equal(2 * fixed[0, 0], fixed[0, 1])


def test_the_authors_settings_train_together():
    changes = {**TINY, **{name: value for name, value in AUTHORS.items() if not name.endswith("epochs")}}
    changes |= {"third_stage.epochs": 2, "third_stage.warmup_epochs": 0}
    del changes["store.slice_choice"], changes["store.crop"]  # another cohort; tested by itself
    config = load("demo", disease="traits", overrides=changes)
    assert stages.train(config, "eccl", quiet).stage == "third_stage"
