"""Cross-modal retrieval: intervals equal literal resampling; unrelated embeddings score at chance level."""

import numpy as np
import pytest

from eccl_lib.metrics import bootstrap, comparison, retrieval, scores


def unit(generator, shape):
    z = generator.standard_normal(shape)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def hearts(seeds=2, n=60, noise=1.5):
    """Weakly correlated pairs of embeddings."""
    generator = np.random.default_rng(0)
    z_ecg = unit(generator, (seeds, n, 8))
    z_cmr = z_ecg + noise * unit(generator, (seeds, n, 8))
    return list(zip(z_ecg, z_cmr / np.linalg.norm(z_cmr, axis=-1, keepdims=True), strict=True))


def table(pairs, draws):
    return retrieval.table([retrieval.ranked(*pair) for pair in pairs], draws)


@pytest.mark.parametrize("n", [7, 8])
def test_weighted_median_equals_numpy_on_repeated_values(n):
    generator = np.random.default_rng(n)
    values = np.round(generator.random(n), 1)
    weights = np.concatenate(list(bootstrap.draws(n, 300)), axis=1)
    expected = [np.median(np.repeat(values, column.astype(int))) for column in weights.T]
    np.testing.assert_allclose(retrieval.weighted_median(values, weights), expected)


def test_the_table_is_the_mean_over_seeds_in_both_directions():
    pairs = hearts()
    found = table(pairs, draws=50).set_index(["direction", "metric"])
    for direction, order in (("ECG to CMR", 1), ("CMR to ECG", -1)):
        seeds = [scores.retrieval(*pair[::order]) for pair in pairs]
        for name in seeds[0]:
            row = found.loc[(direction, name.replace("_", " "))]
            assert row["mean"] == pytest.approx(np.mean([one[name] for one in seeds]))
            assert row["std"] == pytest.approx(np.std([one[name] for one in seeds], ddof=1))


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_is_over_the_same_queries_of_all_seeds_and_over_seeds(seeds):
    pairs, draws = hearts(seeds), 200
    found = table(pairs, draws).set_index(["direction", "metric"])
    weights = np.concatenate(list(bootstrap.draws(60, draws)), axis=1)
    ranks = [scores.matching_ranks(*pair)[0] for pair in pairs]
    people = [np.repeat(np.arange(60), column.astype(int)) for column in weights.T]
    literal = {
        "recall at 5": lambda rank: (rank <= 5).mean(),
        "median rank": np.median,
    }
    for name, metric in literal.items():
        row = found.loc[("ECG to CMR", name)]
        values = np.array([[metric(rank[drawn]) for drawn in people] for rank in ranks])
        both = comparison.over_participants_and_seeds(np.array([metric(rank) for rank in ranks]), values)
        expected = (both.low, both.high) if seeds > 1 else tuple(np.quantile(values, (0.025, 0.975)))
        assert (row["low"], row["high"]) == pytest.approx(expected)


def test_unrelated_embeddings_score_at_chance_level():
    generator = np.random.default_rng(1)
    found = table([tuple(unit(generator, (2, 400, 16))) for _ in range(3)], draws=500)
    assert ((found["low"] <= found["chance"]) & (found["chance"] <= found["high"])).all()
    assert found.set_index("metric").loc["recall at 10", "chance"].iloc[0] == 10 / 400


def test_one_seed_has_no_standard_deviation():
    assert table(hearts(seeds=1), draws=20)["std"].isna().all()
    assert table(hearts(seeds=1), draws=20)["std"].dtype == np.float64
