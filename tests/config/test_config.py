"""Parameters: the paper by default, and no wrong name, type or value gets through."""

import dataclasses
import shlex

import pytest

from eccl_lib.commands import train
from eccl_lib.commands.cli import config_of
from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import DELTAS, as_dict, fingerprint, load, names
from eccl_lib.config.method_schema import with_cmr
from eccl_lib.config.schema import (
    AugmentConfig,
    CmrEncoderConfig,
    Config,
    EcgEncoderConfig,
    MaeConfig,
    TrainingConfig,
    option,
)


def test_defaults_are_the_papers_numbers():
    config = load("paper")
    assert (config.ecg.patch_leads, config.ecg.patch_samples) == (1, 100)
    assert (config.ecg.width, config.ecg.depth, config.ecg.heads) == (768, 12, 12)
    assert (config.cmr.patch, config.cmr.window) == (4, 7)
    assert config.mae.mask_ratio == 0.8 and config.mae.lr == 8e-4
    assert config.cmr_training.lr == config.align.lr == 8e-5
    assert all(t.epochs == 200 and t.warmup_epochs == 40 for t in (config.mae, config.cmr_training, config.align))
    assert config.align.shared_width == 256 and config.align.task_weight == 1
    assert config.synthetic.participants == 41_519


@pytest.mark.parametrize("scale", DELTAS)
def test_every_scale_loads_and_its_delta_names_real_fields(scale):
    assert load(scale).scale == scale
    assert set(DELTAS[scale]) <= set(names())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scale": "papre"}, "demo, study, paper"),
        ({"disease": "I99"}, "I21, I42, I48, I50, traits"),
        ({"cohort": "mimic"}, "synthetic, ukb"),
        ({"seed": "abc"}, "an int"),
        ({"seed": True}, "an int"),
        ({"seed": -1}, "0 or more"),
        ({"overrides": {"align.epoch": 3}}, "align.epochs"),
        ({"overrides": {"align.epochs": "3"}}, "an int"),
        ({"overrides": {"align.epochs": 3.0}}, "an int"),
        ({"overrides": {"align": 3}}, "align.epochs"),
        ({"overrides": {"align.lr": 0}}, "above 0"),
        ({"overrides": {"mae.mask_ratio": 1.0}}, "between 0 and 1"),
        ({"overrides": {"cmr.depths": "2,2"}}, "a list"),
        ({"overrides": {"cmr.depths": [2, 2, 2]}}, "as many as cmr.depths"),
        ({"overrides": {"ecg.patch_samples": 33}}, "a divisor of"),
        ({"overrides": "align.epochs=3"}, "fields and values"),
        ({"overrides": {"scale": "paper"}}, "a parameter, not an override"),
        ({"overrides": {"ecg.width": 66}}, "a multiple of"),
        ({"overrides": {"view.ecg_rate": 0}}, "1 or more"),
        ({"overrides": {"view.ecg_leads": ["I", "V7"]}}, "a list of leads from I, II, III"),
        ({"overrides": {"view.ecg_leads": ["I", "I"]}}, "each once"),
        ({"overrides": {"align.trait_noise": -1.0}}, "0 or more"),
        ({"overrides": {"ecg.dropout": 2.0}}, "between 0 and 1"),
        ({"overrides": {"runtime.build_missing": "true"}}, "a bool"),
    ],
)
def test_wrong_parameters_are_refused_with_the_right_choices(arguments, said):
    with pytest.raises(ConfigError, match=said):
        load(**{"scale": "demo", **arguments})


def test_overrides_may_be_dotted_or_nested():
    dotted = load(overrides={"align.epochs": 6, "cmr.depths": [1, 1], "align.lr": 1})
    nested = load(overrides={"align": {"epochs": 6, "lr": 1.0}, "cmr": {"depths": (1, 1)}})
    assert dotted == nested


def test_fewer_epochs_bring_a_shorter_warm_up_unless_it_is_given():
    assert load("paper", overrides={"align.epochs": 3}).align.warmup_epochs == 0
    assert load("paper", overrides={"align.epochs": 30}).align.warmup_epochs == 6
    assert load("paper", overrides={"align.epochs": 400}).align.warmup_epochs == 40
    with pytest.raises(ConfigError, match="warmup_epochs is 5"):
        load("paper", overrides={"align.epochs": 3, "align.warmup_epochs": 5})


def test_config_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().seed = 3


def test_an_option_enters_the_fingerprint_only_where_it_is_switched_on():
    @dataclasses.dataclass(frozen=True)
    class WithOption(MaeConfig):
        views: int = option(0)

    base = load("demo")
    off = dataclasses.replace(base, mae=WithOption(**vars(base.mae)))
    on = dataclasses.replace(base, mae=WithOption(**vars(base.mae), views=2))
    assert fingerprint(off, "mae") == fingerprint(base, "mae") != fingerprint(on, "mae")
    assert as_dict(off)["mae"]["views"] == 0  # it is a parameter all the same


def test_fingerprint_moves_with_its_sections_and_parents_alone():
    base, other = load(), load(overrides={"align.epochs": 7})
    assert fingerprint(base, "mae", "seed") == fingerprint(other, "mae", "seed")
    assert fingerprint(base, "align") != fingerprint(other, "align")
    assert fingerprint(base, "mae", parents=("a",)) != fingerprint(base, "mae", parents=("b",))


def test_every_field_is_named_once_and_every_default_has_a_source():
    import inspect

    assert len(names()) == len(set(names()))
    for cls in (AugmentConfig, EcgEncoderConfig, CmrEncoderConfig, TrainingConfig):
        for line in inspect.getsource(cls).splitlines():
            if ": " in line and "=" in line and '"""' not in line:
                assert "#" in line, f"no source: {line.strip()}"


def test_a_command_line_gives_the_config_again():
    kept = {"mae.epochs": 8, "mae.warmup_epochs": load("study").mae.warmup_epochs}  # 8 epochs alone: a shorter warm-up
    config = load("study", disease="I42", seed=3, overrides={"align.epochs": 7, "cmr.depths": [1, 1], **kept})
    options = train.command.make_context("train", ["eccl", *shlex.split(command_line.line(config))]).params
    del options["name"], options["no_summary"]
    again = config_of(**options)
    ours, theirs = as_dict(config), as_dict(again)
    assert {**ours, "runtime": None} == {**theirs, "runtime": None}


def test_default_config_equals_paper_scale_but_for_the_generated_files():
    config = Config()
    untold = dataclasses.replace(config, synthetic=dataclasses.replace(config.synthetic, file_participants=0))
    assert dataclasses.replace(load("paper"), disease="I21") == untold


def test_patches_of_an_encoder_have_to_fit_only_where_that_encoder_is_trained():
    config = load("demo", overrides={"view.clip_size": 28, "cmr.patch": 7})
    assert with_cmr(config, "resnet50").cmr.architecture == "resnet50"
    with pytest.raises(ConfigError, match=r"view.clip_size is 28.*cmr_vit.patch \(8\)"):
        with_cmr(config, "vit")


def test_one_store_of_a_users_files_serves_demo_study_and_paper():
    stores = {
        load(scale, cohort=cohort).store for scale in ("demo", "study", "paper") for cohort in ("ukb", "cmr-mine")
    }
    assert stores == {load("paper").store}
    assert load("demo").store.clip_size == 56
    assert load("authors", cohort="ukb").store.slice_choice == "rv_max"


@pytest.mark.parametrize(
    "name", ["cmr_training.disease_steps_per_epoch", "mae.steps_per_epoch", "align.views", "align.patience"]
)
def test_a_number_that_may_be_zero_is_not_negative(name):
    assert load("demo", overrides={name: 0})
    with pytest.raises(ConfigError, match=f"{name} is -1; it must be 0 or more"):
        load("demo", overrides={name: -1})
