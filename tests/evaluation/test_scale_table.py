"""The scale table lists exactly the settings that differ from the paper, with their source."""

import pytest

from eccl_lib.config.load import load
from eccl_lib.evaluation.scale_table import model_sizes, scale_table


def test_the_papers_own_scale_differs_in_nothing():
    assert scale_table(load("paper"), "ecg.", "align.", "mae.", "view.").empty


def test_an_override_is_listed_with_the_papers_value_and_its_source():
    table = scale_table(load("paper", overrides={"align.epochs": 30, "align.batch": 16}), "align.")
    assert table.loc["align.epochs"].tolist() == ["200", "200", "30"]
    assert table.loc["align.batch"].tolist() == ["not stated", "32", "16"]  # Sec. 3.1 states no batch size
    assert table.loc["align.warmup_epochs"].tolist() == ["40", "40", "6"]
    assert len(table) == 3


def test_all_departures_are_listed_but_not_how_it_is_run():
    changed = {"align.epochs": 30, "runtime.workers": 7}
    assert set(scale_table(load("paper", overrides=changed)).index) == {"align.epochs", "align.warmup_epochs"}
    of_demo = scale_table(load("demo", disease="I48", seed=3)).index
    assert {"ecg.depth", "mae.epochs", "synthetic.participants"} <= set(of_demo)
    assert not {"scale", "disease", "seed"} & set(of_demo)


def test_diseases_of_a_user_are_listed_by_code():
    of_user = load("paper", cohort="ukb", overrides={"diseases": {"I25": "coronary disease"}})
    assert scale_table(of_user).loc["diseases", "here"] == "{'I25': 'coronary disease'}"


def test_a_value_that_only_we_state_is_marked_as_not_stated():
    table = scale_table(load("paper", overrides={"augment.ecg_crop_min": 0.5}), "augment.")
    assert table.loc["augment.ecg_crop_min"].tolist() == ["not stated", "not stated", "0.5"]


def test_settings_of_the_synthetic_cohort_are_left_out_for_real_data():
    assert "synthetic.participants" in scale_table(load("demo"), "synthetic.").index
    assert scale_table(load("demo", cohort="ukb"), "synthetic.").empty


def test_the_papers_models_have_the_published_sizes():
    sizes = model_sizes(load("demo"))["paper"]
    assert sizes["ECG tokens"] == "12 x 50 = 600"
    assert sizes["CMR input"] == "50 frames x 224 x 224 pixels"
    assert float(sizes["ECG encoder, million parameters"]) == pytest.approx(86, abs=2)  # ViT-B
