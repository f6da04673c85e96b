"""The report of notebook 09: attribution, similar hearts, measured values, and files that do not overwrite figures."""

from dataclasses import replace

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data import open_cohort
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import attribution, ecg_prediction, ecg_report
from eccl_lib.evaluation import features as latent
from eccl_lib.evaluation.ecg_files import NotRead
from eccl_lib.evaluation.predictor import of_config
from tests.conftest import tiny_config
from tests.evaluation.trained import write_csv


def quiet(line):
    pass


@pytest.fixture(scope="module")
def opened(shared_runs):
    """Config, cohort and predictor of the tiny runs."""
    config = tiny_config()
    return config, open_cohort.load(config, quiet), of_config(config, quiet)


@pytest.fixture(scope="module")
def example(opened):
    config, data, _ = opened
    return ecg_report.first(ecg_report.read(config, data, "", quiet))


@pytest.mark.parametrize("task", ["I21", "traits"])
def test_attributions_sum_to_the_change_of_the_output(opened, example, task):
    model = opened[2].models[task][0]
    found = attribution.integrated_gradients(model, example.stored, 0)
    ends = [model.outputs(model.scale(ecg[None]))[0, 0].item() for ecg in (example.stored, 0 * example.stored)]
    assert found.shape == (12, 10 * model.config.view.ecg_rate)
    assert found.sum() == pytest.approx(ends[0] - ends[1], rel=0.02, abs=1e-3)


@pytest.mark.parametrize("samples", [1000, 1250])
def test_attribution_in_parts_of_the_time_has_the_same_sum(samples):
    whole = np.random.default_rng(0).normal(size=(12, samples))
    parts = attribution.binned(whole)
    assert parts.shape == (12, attribution.BINS)
    assert parts.sum(axis=1) == pytest.approx(whole.sum(axis=1))
    assert parts[:, 0] == pytest.approx(whole[:, : -(-samples // attribution.BINS)].sum(axis=1))


def test_a_silent_lead_has_no_attribution_and_random_weights_give_another_map(opened, example):
    model = opened[2].models["I21"][0]
    stored = example.stored.copy()
    stored[3] = 0
    maps = attribution.maps(model, stored)
    assert list(maps) == ["trained", "random weights"]
    assert all(values.shape == (12, attribution.BINS) and not values[3].any() for values in maps.values())
    assert not np.allclose(maps["trained"], maps["random weights"])
    assert maps["trained"].sum() == pytest.approx(attribution.integrated_gradients(model, stored).sum(), rel=1e-3)


def test_an_ecg_of_the_cohort_is_found_and_another_is_not(opened, example):
    data = opened[1]
    row = ecg_report.cohort_row(data, example)
    assert row == data.index("test")[0]
    other = replace(example, stored=example.stored + 1)
    assert ecg_report.cohort_row(data, other) is None


def test_measured_values_and_diagnoses_stand_beside_the_predictions_of_a_participant(opened, example):
    _, data, predictor = opened
    prediction, row = ecg_prediction.report(predictor, example), ecg_report.cohort_row(data, example)
    traits = ecg_report.traits(prediction, data, row)
    assert traits["measured"].to_numpy() == pytest.approx(data.traits[row][traits.index], nan_ok=True)
    assert not traits["name"].str.contains(r"\b(?:LV|RV|LA|RA)\b").any()
    diseases = ecg_report.diseases(prediction, data, row).set_index("code")["diagnosed"]
    assert [value == "yes" for value in diseases] == data.labels[row].tolist()
    assert ecg_report.traits(prediction, data, None)["measured"].isna().all()
    assert set(ecg_report.diseases(prediction, data, None)["diagnosed"]) == {""}
    assert (
        ecg_report.most_unusual(prediction)
        == prediction.diseases.loc[prediction.diseases["percentile"].idxmax(), "code"]
    )


def test_similar_hearts_are_the_nearest_of_the_shared_space_and_the_own_heart_is_among_them(opened, example):
    config, data, predictor = opened
    rows, row = data.index("test"), ecg_report.cohort_row(data, example)
    found = ecg_report.similar_hearts(config, data, predictor, example, row)
    spaces = latent.after_alignment(tiny_config("traits"), data, rows)
    similarity = spaces.z_cmr @ spaces.z_ecg[0]
    order = np.argsort(-similarity)
    assert found.rank == 1 + int(np.flatnonzero(rows[order] == row)[0])
    assert found.searched == len(rows)
    assert found.own.sum() == 1
    assert found.similarity[:3] == pytest.approx(similarity[order[:3]], abs=1e-3)
    assert np.array_equal(found.clips[int(np.flatnonzero(found.own)[0])], data.clips[row])
    stranger = ecg_report.similar_hearts(config, data, predictor, example, None)
    assert stranger.rank is None and not stranger.own.any() and len(stranger.clips) == ecg_report.HEARTS


def test_a_folder_is_read_and_the_first_ecg_is_reported(opened, tmp_path):
    config, data, _ = opened
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "ecg.csv")
    said = []
    entries = ecg_report.read(config, data, str(tmp_path), said.append)
    assert isinstance(entries[0], NotRead) and "the file is a PDF" in said[0]
    assert ecg_report.first(entries).file.endswith("one/ecg.csv")
    labels = {ecg_report.label(entry) for entry in entries[1:]}
    assert len(labels) == 2 and all(label.startswith("ecg_") for label in labels)
    with pytest.raises(UnreadableError, match=r"a\.pdf: the file is a PDF"):
        ecg_report.read(config, data, str(tmp_path / "a.pdf"), quiet)


def test_full_names_have_no_abbreviation_of_a_chamber():
    names = {trait.short_name: trait.full_name for trait in TRAITS}
    assert names["LVEDV"] == "left ventricular end diastolic volume"
    assert names["WT_AHA_3"] == "left ventricular mean myocardial wall thickness AHA segment 3"
    assert len(set(names.values())) == 82
