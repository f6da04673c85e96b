"""Separation scores: 1 for separated groups, chance level for mixed ones."""

from __future__ import annotations

import numpy as np
import pytest

from eccl_lib.metrics import embedding


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((200, 8))


def test_purity_is_one_for_separated_groups(points: np.ndarray):
    group = np.repeat([0, 1], 100)
    assert embedding.purity(points + 50 * group[:, None], group).min() == 1


def test_purity_is_near_chance_for_mixed_groups(points: np.ndarray):
    group = np.tile([0, 1], 100)
    mean, low, high = embedding.balanced_interval(embedding.purity(points, group), group)
    assert low < 0.5 < high
    assert abs(mean - 0.5) < 0.1


def test_purity_equals_a_literal_loop(points: np.ndarray):
    few, group = points[:20], np.arange(20) % 3
    literal = []
    for i in range(20):
        distance = [np.inf if i == j else np.linalg.norm(few[i] - few[j]) for j in range(20)]
        literal.append(np.mean([group[j] == group[i] for j in np.argsort(distance)[:4]]))
    np.testing.assert_allclose(embedding.purity(few, group, neighbours=4), literal)


def test_silhouette_is_high_for_separated_and_near_zero_for_mixed_groups(points: np.ndarray):
    group = np.repeat([0, 1], 100)
    assert embedding.silhouette(points + 50 * group[:, None], group).mean() > 0.9
    assert abs(embedding.silhouette(points, group).mean()) < 0.05


def test_groups_have_equal_weight():
    group = np.array([0] * 90 + [1] * 10)
    mean, low, high = embedding.balanced_interval(1.0 - group, group)
    assert (mean, low, high) == (0.5, 0.5, 0.5)


def test_interval_is_wider_if_two_points_are_resampled_together():
    values = np.repeat(np.random.default_rng(0).standard_normal(30), 2)
    group, person = np.tile([0, 1], 30), np.repeat(np.arange(30), 2)
    apart = embedding.balanced_interval(values, group)
    together = embedding.balanced_interval(values, group, person)
    assert together[2] - together[1] > 1.2 * (apart[2] - apart[1])


def test_tsne_is_reproducible_and_keeps_the_groups(points: np.ndarray):
    first = embedding.tsne(points[:30], points[30:50], seed=1)
    second = embedding.tsne(points[:30], points[30:50], seed=1)
    assert [len(part) for part in first] == [30, 20]
    np.testing.assert_array_equal(first[0], second[0])
