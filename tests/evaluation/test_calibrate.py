"""Intervals and probabilities of predictions, against known distributions and a second calculation."""

import errno
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from eccl_lib.config.errors import DamagedError
from eccl_lib.config.schema import LEADS
from eccl_lib.data import open_cohort, original
from eccl_lib.data.records import EcgRecord
from eccl_lib.data.small_counts import ALL_SHOWN, Limit
from eccl_lib.evaluation import calibrate, predict
from eccl_lib.evaluation.ecg_files import reading_of
from eccl_lib.evaluation.predictor import Predictor, of_config, of_folders
from eccl_lib.metrics import scores
from eccl_lib.metrics.calibration import log_odds, risk
from eccl_lib.pipeline import stages
from eccl_lib.training.run_scores import measured_and_predicted
from tests.conftest import tiny_config
from tests.evaluation.trained import train_all


def drawn(n, slope, intercept, seed):
    """Logits of n participants and outcomes with probability sigmoid(slope * logit + intercept)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, n)
    return logits, generator.random(n) < risk(slope * logits + intercept)


def test_probabilities_of_an_overconfident_model_become_those_of_the_truth():
    pairs = {split: drawn(20_000, 0.5, -2.0, seed) for seed, split in enumerate(("val", "test"))}
    logits, cases = ({split: pair[k] for split, pair in pairs.items()} for k in (0, 1))
    found = calibrate.of_disease(logits, cases, shift=-9.0)
    assert found.method == calibrate.PLATT
    assert (found.slope, found.intercept) == pytest.approx((0.5, -2.0), abs=0.06)
    grid = np.linspace(-4, 4, 9)
    assert found.probability(grid) == pytest.approx(risk(0.5 * grid - 2.0), abs=0.02)
    assert found.predicted == pytest.approx(found.observed, abs=0.01)
    assert found.test_slope == pytest.approx(1.0, abs=0.06)
    truth = risk(0.5 * logits["test"] - 2.0)
    assert found.brier == pytest.approx(float(np.mean(truth * (1 - truth))), abs=0.005)  # of the true probabilities
    assert found.brier < np.mean((risk(logits["test"]) - cases["test"]) ** 2)


def test_few_cases_are_calibrated_by_the_prior_shift():
    shift = log_odds(0.01) - log_odds(1 / 3)
    logits, cases = drawn(2_000, 1.0, shift, 3)
    few = np.flatnonzero(cases)[calibrate.LEAST_CASES - 1 :]
    kept = np.setdiff1d(np.arange(2_000), few)
    split = {"val": (logits[kept], cases[kept]), "test": (logits, cases)}
    found = calibrate.of_disease(*({name: pair[k] for name, pair in split.items()} for k in (0, 1)), shift)
    assert (found.method, found.slope, found.intercept) == (calibrate.PRIOR, 1.0, shift)
    assert found.cases_val == calibrate.LEAST_CASES - 1


def test_a_score_that_points_the_wrong_way_is_not_reversed():
    logits, cases = drawn(5_000, -1.0, -1.0, 4)
    found = calibrate.of_disease(dict(val=logits, test=logits), dict(val=cases, test=cases), -0.5)
    assert (found.method, found.slope) == (calibrate.PRIOR, 1.0)


def test_the_percentile_is_the_share_of_test_participants_below():
    logits, cases = drawn(4_000, 1.0, -1.0, 5)
    found = calibrate.of_disease(dict(val=logits, test=logits), dict(val=cases, test=cases), 0.0)
    for x in (-3.0, -0.2, 1.5, 50.0, -50.0):
        assert found.percentile(np.array([x]))[0] == pytest.approx(100 * np.mean(logits < x), abs=0.3)


def traits(n_val=400, n_test=2_000, few=()):
    generator = np.random.default_rng(0)
    measured = {split: generator.normal(10, 2, (n, 3)) for split, n in (("val", n_val), ("test", n_test))}
    predicted = {split: values + generator.normal(0, 1, values.shape) for split, values in measured.items()}
    for split, column, n in few:
        measured[split][n:, column] = np.nan
    return calibrate.of_traits(measured, predicted, generator.normal(10, 2, (1_000, 3)))


def test_intervals_of_normal_residuals_have_the_width_and_the_coverage_of_the_theory():
    found = traits()
    assert found.radius == pytest.approx(1.96, abs=0.15)
    assert found.coverage == pytest.approx(0.95, abs=0.025)
    assert found.r == pytest.approx(2 / math.sqrt(5), abs=0.02)
    assert found.score == pytest.approx(found.r.mean())


def test_numbers_of_few_participants_are_withheld():
    found = traits(few=[("val", 0, 9), ("test", 1, 9)]).shown(Limit())
    assert np.isnan(found.radius).tolist() == [True, False, False]
    assert np.isnan(found.coverage).tolist() == [True, True, False]  # without an interval there is no coverage
    assert np.isnan(found.r).tolist() == [False, True, False]
    assert np.isfinite(found.mean).all()
    assert (found.n_val.tolist(), found.n_test.tolist()) == ([9, 400, 400], [2_000, 9, 2_000])
    other = traits(few=[("val", 0, 3), ("test", 1, 4)]).shown(Limit())
    assert (other.n_val.tolist(), other.n_test.tolist()) == (found.n_val.tolist(), found.n_test.tolist())
    logits, cases = drawn(2_000, 1.0, -1.0, 3)
    few = cases & (np.cumsum(cases) <= 5)
    disease = calibrate.of_disease(dict(val=logits, test=logits), dict(val=cases, test=few), 0.0)
    hidden = disease.shown(Limit())
    assert (disease.cases_test, hidden.cases_test, hidden.cases_val) == (5, 9, int(cases.sum()))
    most = calibrate.of_disease(dict(val=logits, test=logits), dict(val=cases, test=~few), 0.0).shown(Limit())
    assert (most.n_test, most.cases_test) == (2_000, 1_991)
    assert np.isfinite(hidden.slope) and np.isnan([hidden.auc, hidden.observed, hidden.brier]).all()
    disease = calibrate.of_disease(dict(val=logits, test=logits), dict(val=few, test=cases), 0.0)
    assert np.isnan(disease.shown(Limit()).probability(logits)).all()
    assert np.isfinite(disease.shown(ALL_SHOWN).probability(logits)).all()


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.071, "of 100 participants of the training cohort with this score, about 7 have the diagnosis"),
        (0.0097, "of 100 participants of the training cohort with this score, about 1 has the diagnosis"),
        (0.004, "of 1,000 participants of the training cohort with this score, about 4 have the diagnosis"),
        (
            0.00001,
            "of 10,000 participants of the training cohort with this score, fewer than 1 has the diagnosis",
        ),
        (float("nan"), "the calibration is withheld or not available"),
    ],
)
def test_a_probability_is_said_in_words(probability, words):
    assert calibrate.in_words(probability) == words


THIRDS = {"synthetic.split": [1, 1, 1]}  # enough validation participants for an interval


@pytest.fixture(scope="module")
def one_seed(tmp_path_factory):
    """A predictor of the first of two seeds of every task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCL_RUNS", str(tmp_path_factory.mktemp("runs")))
        first = of_config(tiny_config(**THIRDS))
        train_all(seeds=(1,), **THIRDS)
        yield first


def file_of(models):
    """The file of a calibration of these models with all leads."""
    return models[0].run.folder / calibrate.file_name(models, LEADS)


def test_the_mean_of_all_finished_seeds_is_calibrated_and_the_result_is_kept(one_seed):
    both = of_config(tiny_config(**THIRDS))
    assert [model.run.seed for model in both.models["traits"]] == [0, 1]
    assert [model.run.seed for model in one_seed.models["traits"]] == [0]
    alone = one_seed.calibration("traits")
    found = both.calibration("traits")
    pairs = [measured_and_predicted(model.run) for model in both.models["traits"]]
    mean = np.mean([predicted for _, predicted in pairs], axis=0)
    inside = np.abs(mean - pairs[0][0]) <= found.radius
    assert found.coverage == pytest.approx(inside.mean(axis=0))
    assert np.isfinite(found.radius).all()
    assert found.radius.tolist() != alone.radius.tolist()
    one, two = file_of(one_seed.models["traits"]), file_of(both.models["traits"])
    assert one != two and one.is_file() and two.is_file()
    again = calibrate.of(both.models["traits"], LEADS, None)  # without the cohort
    assert again.radius.tolist() == found.radius.tolist()


def test_an_ecg_of_the_cohort_gets_the_scores_of_the_run(one_seed):
    data = open_cohort.load(tiny_config(**THIRDS), lambda line: None)
    rows = data.index("test")
    outputs = one_seed.outputs(np.asarray(data.ecg[rows]))
    for task, values in outputs.items():
        predicted = measured_and_predicted(one_seed.models[task][0].run)[1]
        assert values == pytest.approx(predicted, rel=1e-3, abs=1e-3)


def test_a_calibration_that_cannot_be_kept_is_given_all_the_same(tmp_path, monkeypatch):
    def refuse(path, content):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    model = SimpleNamespace(binary=(False,), run=SimpleNamespace(folder=tmp_path, fingerprint="1a2b", seed=0))
    monkeypatch.setattr(calibrate, "_compute", lambda *arguments: traits())
    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert calibrate.of([model], LEADS, lambda: None).radius == pytest.approx(traits().radius)
    assert not list(tmp_path.iterdir())


def test_calibrations_are_sealed(one_seed):
    models = one_seed.models["I48"]
    one_seed.calibration("I48")
    path = file_of(models)
    path.write_text(path.read_text().replace('"slope": ', '"slope": 1'))
    with pytest.raises(DamagedError):
        calibrate.of(models, LEADS, None)
    path.unlink()
    assert calibrate.of(models, LEADS, None) is None


def test_what_intervals_and_probabilities_are_worth_is_said(one_seed):
    sentences = predict.reliability(one_seed)
    covered = one_seed.calibration("traits").coverage
    assert len(sentences) == 5
    assert f"95 % intervals contain {covered.mean():.1%} of the measured values" in sentences[-1]
    assert "myocardial infarction (I21): probabilities by" in sentences[0] and "Brier score" in sentences[0]


def test_fewer_leads_are_scored_and_calibrated_as_those_leads_removed_from_the_cohort(one_seed, tmp_path):
    data = open_cohort.load(tiny_config(**THIRDS), lambda line: None)
    row = data.index("test")[0]
    signal = original.ecg_of(tiny_config(**THIRDS), data, row).signal.copy()
    signal[6:] = np.nan
    signal[8] = 0.0  # flat, which counts as missing
    reading = reading_of(EcgRecord(signal, 500.0, heart_rate=float(data.table["heart_rate"][row])), "x")
    assert reading.leads == LEADS[:6]
    (scored,) = predict.score(one_seed, [reading])
    expected = calibrate.mean_outputs(one_seed.models["traits"], data, np.array([row]), range(6, 12))[0]
    assert scored.traits[:, 0] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    known = one_seed.calibration("traits", LEADS[:6])
    finite = np.isfinite(scored.traits[:, 2])
    assert (scored.traits[:, 2] - scored.traits[:, 0])[finite] == pytest.approx(known.radius[finite])
    test = data.index("test")
    fewer = calibrate.mean_outputs(one_seed.models["traits"], data, test, range(6, 12))
    assert known.r == pytest.approx(scores.pearson(fewer, data.traits[test]), nan_ok=True)
    assert known.whole == pytest.approx(one_seed.calibration("traits").whole)
    (remark,) = scored.remarks
    assert remark.startswith("scored without V1 V2 V3 V4 V5 V6: AUC of myocardial infarction ")
    assert (
        f"mean r of the traits {known.score:.2f} instead of {known.whole:.2f}, measured on {len(test)} test" in remark
    )


def test_what_fewer_leads_cost_is_said_to_be_unknown_without_the_cohort(one_seed):
    elsewhere = Predictor({"I21": one_seed.models["I21"]}, None, ALL_SHOWN)
    assert elsewhere.lost(LEADS) == ""
    assert "how much is lost is not known here" in elsewhere.lost(("V3",))


def test_leads_that_the_models_do_not_read_make_no_difference_and_without_the_others_nothing_is_scored(one_seed):
    config = tiny_config("I48", **THIRDS, **{"view.ecg_leads": ["I", "V1"]})
    models = of_folders([stages.train(config, "scratch", lambda line: None).folder])
    data = open_cohort.load(config, lambda line: None)
    signal = original.ecg_of(config, data, data.index("test")[0]).signal
    present = {"all": LEADS, "those that are read": ("I", "II", "V1"), "one of them": ("I", "II"), "none": ("V2", "V3")}
    found = {}
    for name, leads in present.items():
        kept = np.where(np.isin(LEADS, leads)[:, None], signal, np.nan)
        (found[name],) = predict.score(models, [reading_of(EcgRecord(kept, 500.0), "x")])
    assert found["those that are read"].diseases == found["all"].diseases
    assert found["those that are read"].remarks == () == found["all"].remarks
    assert found["one of them"].remarks[0].startswith("scored without V1: ")
    assert np.isnan(found["none"].diseases["I48"]).all()
    assert found["none"].remarks == ("not scored: the models read I V1 alone",)
    assert len(list(models.models["I48"][0].run.folder.glob("calibration-*.json"))) == 2
