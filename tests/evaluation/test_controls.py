"""Controls are fitted on training participants only and find what is there."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.schema import DISEASES
from eccl_lib.data import ecg_measurements, open_cohort
from eccl_lib.data.synthetic import FIRST_EID, draw
from eccl_lib.evaluation import controls
from eccl_lib.metrics import scores
from eccl_lib.metrics.linear import correlation, ridge
from tests.conftest import tiny_config


def cohort(seed=0, n=900):
    generator = np.random.default_rng(seed)
    sex, age = np.where(generator.random(n) < 0.5, "male", "female"), generator.normal(64, 7.6, n)
    split = np.repeat(["train", "val", "test"], [500, 200, 200])
    traits = np.repeat(((sex == "male") * 2.0 + age / 10)[:, None], 82, axis=1) + generator.normal(0, 0.1, (n, 82))
    traits[:, 5] = generator.normal(size=n)
    labels = np.zeros((n, 4), bool)
    labels[:, 0] = age + generator.normal(0, 1, n) > 72
    labels[:, 1:] = generator.random((n, 3)) < 0.2
    table = pd.DataFrame({"sex": sex, "age": age, "split": split})
    index = {name: np.flatnonzero(split == name) for name in ("train", "val", "test")}
    return SimpleNamespace(
        table=table,
        traits=traits.astype(np.float32),
        labels=labels,
        label_of=lambda code: labels[:, DISEASES.index(code)],
        index=index.__getitem__,
    )


def test_only_targets_that_depend_on_sex_and_age_are_predicted():
    data = cohort()
    predicted, test = controls.predict(None, data, controls.demographics(None, data)), data.index("test")
    assert scores.auc(predicted["I21"][:, 0], data.labels[test, 0]) > 0.95
    assert abs(scores.auc(predicted["I42"][:, 0], data.labels[test, 1]) - 0.5) < 0.12
    r = correlation(predicted["traits"], data.traits[test])
    assert r[[0, 81]].min() > 0.95 and abs(r[5]) < 0.2


def test_a_weak_feature_never_predicts_the_opposite():
    """With few cases in the validation set, a calibration on it alone could have a negative slope."""
    for seed in range(12):
        data = cohort(seed)
        data.labels[:, 1] = np.random.default_rng(seed).random(900) < np.where(data.table["sex"] == "male", 0.1, 0.05)
        features = (data.table["sex"].to_numpy() == "male").astype(float)[:, None]
        predicted = controls.predict(None, data, features)["I42"][:, 0]
        male = features[data.index("test"), 0] > 0
        assert predicted[male].mean() > predicted[~male].mean(), seed


def test_the_calibration_keeps_the_order_of_the_ridge_scores():
    data = cohort()
    data.labels[:, 1] = np.random.default_rng(3).random(900) < 0.075
    x = controls.demographics(None, data)
    splits = [data.index(name) for name in ("train", "val", "test")]
    scores_of_ridge = ridge(x, data.labels[:, 1:2].astype(float), *splits[:2])[splits[2], 0]
    predicted = controls.predict(None, data, x)["I42"][:, 0]
    order = np.argsort(scores_of_ridge)
    assert np.array_equal(order, np.argsort(predicted)) or np.array_equal(order, np.argsort(predicted)[::-1])
    assert np.ptp(predicted) > 0.01  # a real slope, not the solver's first step


def test_one_outlier_does_not_move_a_prediction_beyond_the_cut():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1000, 4))
    y = x[:, :1] + 0.1 * generator.standard_normal((1000, 1))
    x[900, 0] = 1e6
    predicted = ridge(x, y, np.arange(600), np.arange(600, 800))
    assert abs(predicted[900, 0]) < 10


def test_test_participants_do_not_change_the_fit():
    data, other = cohort(), cohort()
    other.labels[700:] = ~other.labels[700:]
    other.traits[700:] *= -3
    first, second = (controls.predict(None, d, controls.demographics(None, d)) for d in (data, other))
    assert all(np.array_equal(first[task], second[task]) for task in first)


def test_ridge_finds_a_linear_relation_and_fills_missing_features():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1200, 30))
    y = x @ generator.standard_normal((30, 3)) + 0.1 * generator.standard_normal((1200, 3))
    y[:, 2] = generator.standard_normal(1200)  # noise
    x[::50, 3] = np.nan
    predicted = ridge(x, y, np.arange(600), np.arange(600, 800))
    r = correlation(predicted[800:], y[800:])
    assert r[:2].min() > 0.9 and abs(r[2]) < 0.15


def test_measurements_agree_with_the_generator_and_the_device(tiny_runs):
    config = tiny_config()
    data = open_cohort.load(config, lambda line: None)
    measured = pd.DataFrame(controls.measurements(config, data), columns=ecg_measurements.NAMES)
    hearts = draw(config.synthetic, data.table["eid"].to_numpy().astype(int) - FIRST_EID)
    assert np.corrcoef(measured["heart rate"], data.table["heart_rate"])[0, 1] > 0.98
    regular = ~hearts.af_rhythm & ~hearts.pvc & ~hearts.pac
    assert measured["RR SD"][hearts.af_rhythm].median() > 2 * measured["RR SD"][regular].median()
    assert np.corrcoef(measured["QRS duration"], hearts.lbbb + hearts.rbbb + 0.0)[0, 1] > 0.3


@pytest.mark.parametrize("rate", [100, 500])
def test_a_known_beat_has_its_known_measurements(rate):
    times = np.arange(10 * rate) / rate
    lead = sum(
        size * np.exp(-0.5 * ((times - beat - at) / width) ** 2)
        for beat in np.arange(0.5, 10, 0.8)
        for at, size, width in ((-0.16, 0.15, 0.02), (0, 1.2, 0.012), (0.25, 0.3, 0.04))
    )
    ecg = 1000 * np.outer(np.r_[1.0, 1.0, np.zeros(3), 0.5, np.ones(6)], lead)  # I, II and aVF = 0.5 in mV
    found = dict(zip(ecg_measurements.NAMES, ecg_measurements.measure(ecg[None], rate)[0], strict=True))
    assert found["heart rate"] == pytest.approx(75, rel=0.02)
    assert found["R II"] == pytest.approx(1.2, abs=0.06) and found["P II"] == pytest.approx(0.15, abs=0.02)
    assert found["T II"] == pytest.approx(0.3, abs=0.02) and found["PR"] == pytest.approx(160, abs=11)
    assert found["QT"] == pytest.approx(250, abs=11) and 30 <= found["QRS duration"] <= 90
    angle = np.degrees(np.arctan2(found["QRS axis, sine"], found["QRS axis, cosine"]))
    assert angle == pytest.approx(np.degrees(np.arctan2(0.5 * 2 / np.sqrt(3), 1)), abs=1)
    assert np.isnan(ecg_measurements.measure(np.zeros((1, 12, 10 * rate)), rate)).all()


def test_noise_free_r_of_the_traits_has_the_mean_of_the_table(tiny_runs):
    config = tiny_config("traits")
    data = open_cohort.load(config, lambda line: None)
    found = controls.noise_free_r(config, data)
    assert list(found) == ["noise-free ECG, ridge", "noise-free CMR, ridge"]
    table = {each.name: each.resampled.by_seed[0] for each in controls.evaluate(config, data, ["traits"], draws=20)}
    for name, r in found.items():
        assert r.shape == (82,)
        assert r.mean() == pytest.approx(table[name.removesuffix(", ridge")])
    assert controls.noise_free_r(replace(config, cohort="ukb"), data) == {}
