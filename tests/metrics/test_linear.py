"""Ridge regression on fixed features against closed forms."""

import numpy as np
import pytest

from eccl_lib.metrics import linear

RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, size=(300, 6))
TRAIN, VAL = np.arange(200), np.arange(200, 250)


def test_correlation_equals_numpy_and_is_zero_for_a_constant():
    a, b = RNG.normal(size=(2, 50, 3))
    a[:, 2] = 4.0
    expected = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(2)]
    np.testing.assert_allclose(linear.correlation(a, b), [*expected, 0.0], atol=1e-12)
    np.testing.assert_allclose(linear.correlation(b, a), [*expected, 0.0], atol=1e-12)


def test_each_penalty_gives_the_closed_form():
    y = RNG.normal(5, 1, size=(200, 2))
    found = linear._solve(X[TRAIN], y, X)
    centred = X[TRAIN] - X[TRAIN].mean(axis=0)
    assert len(found) == len(linear.PENALTIES) == 11
    assert (linear.PENALTIES[0], linear.PENALTIES[-1]) == (1.0, 1e5)
    for penalty, one in zip(linear.PENALTIES, found, strict=True):
        weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(6), centred.T @ (y - y.mean(axis=0)))
        np.testing.assert_allclose(one, (X - X[TRAIN].mean(axis=0)) @ weights + y.mean(axis=0), atol=1e-9)


def test_features_become_components_of_the_training_rows_and_their_squares():
    found = linear.expand(X, TRAIN)
    assert found.shape == (300, 12)
    parts, squares = found[:, :6], found[:, 6:]
    covariance = parts[TRAIN].T @ parts[TRAIN] / len(TRAIN)
    _, size, _ = np.linalg.svd((X[TRAIN] - X[TRAIN].mean(0)) / X[TRAIN].std(0), full_matrices=False)
    scale = size / np.sqrt(len(TRAIN))
    np.testing.assert_allclose(covariance, np.diag((scale / scale**0.8) ** 2), atol=1e-9)
    np.testing.assert_allclose(squares, (parts / parts[TRAIN].std(axis=0)) ** 2 - 1, atol=1e-9)


def test_constant_and_repeated_features_add_nothing_and_outliers_are_cut():
    more = np.column_stack([X, np.full(300, 7.0), X[:, 0]])
    assert linear.expand(more, TRAIN).shape == (300, 12)
    far = X.copy()
    far[299, 0] = 1e9
    cut = X.copy()
    cut[299, 0] = X[TRAIN, 0].mean() + linear.LARGEST * X[TRAIN, 0].std()
    np.testing.assert_allclose(linear.expand(far, TRAIN), linear.expand(cut, TRAIN), atol=1e-9)


def test_at_most_25_components_enter_as_squares():
    wide = np.random.default_rng(1).normal(size=(300, 40))
    assert linear.expand(wide, TRAIN).shape == (300, 65)


def test_linear_and_quadratic_relations_are_found_and_chosen_for_each_target():
    noise = np.random.default_rng(2).normal(size=(300, 3))
    first = linear.expand(X, TRAIN)[:, 0]
    y = np.column_stack([2 * X[:, 0] - X[:, 3], first**2, np.zeros(300)]) + 0.1 * noise
    y[:, 2] = noise[:, 2]
    found = linear.ridge(X, y, TRAIN, VAL)
    assert found.shape == y.shape
    r = linear.correlation(found[250:], y[250:])
    assert r[0] > 0.99 and r[1] > 0.9 and abs(r[2]) < 0.5
    candidates = np.stack(linear._solve(linear.expand(X, TRAIN)[TRAIN], y[TRAIN], linear.expand(X, TRAIN)))
    for k in range(3):
        scores = [linear.correlation(one[VAL], y[VAL])[k] for one in candidates]
        np.testing.assert_array_equal(found[:, k], candidates[int(np.argmax(scores))][:, k])


@pytest.mark.parametrize("row", [10, 280])
def test_a_missing_feature_counts_as_the_training_mean(row):
    y = X[:, :1] * 3 + 1
    gap, filled = X.copy(), X.copy()
    gap[row, 0] = np.nan
    filled[row, 0] = np.nanmean(gap[TRAIN, 0])
    np.testing.assert_allclose(linear.ridge(gap, y, TRAIN, VAL), linear.ridge(filled, y, TRAIN, VAL), atol=1e-9)


def test_a_missing_target_is_left_out_of_the_ridge():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(400, 5))
    targets = np.column_stack([features[:, 0], features[:, 1]]) + 0.1 * generator.normal(size=(400, 2))
    train, val, test = np.split(np.arange(400), [250, 320])
    hidden = targets.copy()
    hidden[train[features[train, 1] > 0.3], 1] = np.nan  # missing in dependence on the value itself
    found = linear.ridge_on_known(features, hidden, train, val)
    rows = train[~np.isnan(hidden[train, 1])]
    np.testing.assert_allclose(found[:, [1]], linear.ridge(features, targets[:, [1]], rows, val))
    np.testing.assert_allclose(found[:, [0]], linear.ridge(features, targets[:, [0]], train, val))
    assert np.corrcoef(found[test, 1], targets[test, 1])[0, 1] > 0.95


def test_a_target_that_hardly_anyone_has_is_predicted_as_zero():
    targets = np.full((400, 2), np.nan)
    targets[:, 0] = np.arange(400)
    targets[3, 1] = 1.0
    found = linear.ridge_on_known(np.arange(400.0)[:, None], targets, np.arange(250), np.arange(250, 320))
    assert (found[:, 1] == 0).all() and np.corrcoef(found[:, 0], targets[:, 0])[0, 1] > 0.95
