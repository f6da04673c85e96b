"""The demographic baseline uses sex and age of training participants only."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from eccl_lib.evaluation import demographic_baseline


def cohort(seed=0, n=600):
    generator = np.random.default_rng(seed)
    sex, age = np.where(generator.random(n) < 0.5, "male", "female"), generator.normal(64, 7.6, n)
    split = np.repeat(["train", "test"], [400, 200])
    traits = np.repeat(((sex == "male") * 2.0 + age / 10)[:, None], 82, axis=1) + generator.normal(0, 0.1, (n, 82))
    traits[:, 5] = generator.normal(size=n)
    labels = np.zeros((n, 4), bool)
    labels[:, 0] = age + generator.normal(0, 1, n) > 72
    labels[:, 1:] = generator.random((n, 3)) < 0.2
    table = pd.DataFrame({"sex": sex, "age": age, "split": split})
    index = {name: np.flatnonzero(split == name) for name in ("train", "test")}
    return SimpleNamespace(table=table, traits=traits.astype(np.float32), labels=labels, index=index.__getitem__)


def test_only_targets_that_depend_on_sex_and_age_are_predicted():
    scores = demographic_baseline.table(cohort()).set_index("task")["mean"]
    assert scores["I21"] > 0.95 and abs(scores["I42"] - 0.5) < 0.12
    assert 0.95 < scores["traits"] < 1


def test_test_participants_do_not_change_the_fit():
    data, other = cohort(), cohort()
    other.labels[400:] = ~other.labels[400:]
    other.traits[400:] *= -3
    from eccl_lib.tasks import TASKS, build_targets

    for key in ("I21", "traits"):
        first, second = (
            demographic_baseline.predict(d, build_targets(TASKS[key], d.labels, d.traits, d.index("train")))
            for d in (data, other)
        )
        assert np.array_equal(first, second)
