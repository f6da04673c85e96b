"""Upper limit of prediction per modality: ridge on noise-free features; 3,000 training and 1,000 test participants.

``python -m bench.ceilings --scale demo`` prints mean Pearson r over the 82 measured traits and the
AUC of each disease: for the ECG and the cine as rendered, for both scaled and cropped as in a model's input, and
for age, sex and body size alone. It takes seconds. Use it to tune the generator: compare a network's score with these
limits.
"""

from __future__ import annotations

import argparse

import numpy as np

from eccl_lib.config.load import DELTAS, load
from eccl_lib.config.schema import DISEASES, SyntheticConfig
from eccl_lib.data.synthetic.measure import measured_traits
from eccl_lib.data.synthetic.population import Hearts, draw
from eccl_lib.data.synthetic.truth import cine_features, ecg_features
from eccl_lib.data.traits import TRAITS
from eccl_lib.metrics.linear import correlation, ridge

TRAIN, TEST = 3_000, 1_000
FOLDS = 4  # each of 4,000 participants is in one test set
FITTED = int(0.8 * TRAIN)  # the rest of the training rows chooses the penalty


def demographics(hearts: Hearts) -> np.ndarray:
    """(n, 4): facts about the person, not the heart, that an ECG model may infer."""
    return np.column_stack([hearts.male, hearts.age, hearts.height, hearts.bmi])


def auc(score: np.ndarray, label: np.ndarray) -> float:
    """Chance that a case scores above a control (rank sum; no ties expected)."""
    rank = np.empty(len(score))
    rank[np.argsort(score)] = np.arange(1, len(score) + 1)
    cases = int(label.sum())
    return float((rank[label].sum() - cases * (cases + 1) / 2) / (cases * (len(score) - cases)))


def ceilings(config: SyntheticConfig, folds: int = FOLDS) -> dict[str, dict[str, float]]:
    """Row (features) to column (r over the traits, AUC by disease, r by group) to its mean over the folds."""
    hearts = draw(config, range(TRAIN + TEST))
    traits = measured_traits(config, hearts)
    targets = np.column_stack([(traits - traits.mean(0)) / traits.std(0), hearts.disease])
    shown = {
        "ECG": ecg_features(config, hearts, voltage=True),
        "ECG, leads to [-1, 1]": ecg_features(config, hearts, voltage=False),
        "CMR": cine_features(config, hearts, cropped=False),
        "CMR, in the heart's box": cine_features(config, hearts, cropped=True),
        "age, sex, height, BMI": demographics(hearts),
    }
    rows = {}
    for name, features in shown.items():
        scores = [_scores(np.roll(features, k * TEST, 0), np.roll(targets, k * TEST, 0)) for k in range(folds)]
        rows[name] = {column: float(np.mean([score[column] for score in scores])) for column in scores[0]}
    return rows


def _scores(features: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    count = len(TRAITS)
    guess = ridge(features, targets, np.arange(FITTED), np.arange(FITTED, TRAIN))[TRAIN:]
    truth = targets[TRAIN:]
    r = correlation(guess[:, :count], truth[:, :count])
    row = {"traits": float(r.mean())}
    for k, disease in enumerate(DISEASES, start=count):
        row[disease] = auc(guess[:, k], truth[:, k] > 0.5)
    group = np.array([trait.group for trait in TRAITS])
    return row | {g: float(r[group == g].mean()) for g in dict.fromkeys(group)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=sorted(DELTAS), default="demo")
    config = load(parser.parse_args().scale).synthetic
    rows = ceilings(config)
    columns = list(next(iter(rows.values())))
    print(f"{'ridge, 3,000 / 1,000, 4 folds':30s}" + "".join(f"{c:>8s}" for c in columns))
    for name, row in rows.items():
        print(f"{name:30s}" + "".join(f"{row[c]:8.3f}" for c in columns))


if __name__ == "__main__":
    main()
