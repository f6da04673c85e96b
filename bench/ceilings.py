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
from eccl_lib.data.synthetic.cine import turn
from eccl_lib.data.synthetic.dipole import beats, electrodes, trace
from eccl_lib.data.synthetic.geometry import ANGLES, contours, emptying
from eccl_lib.data.synthetic.measure import measured_traits
from eccl_lib.data.synthetic.population import Hearts, draw
from eccl_lib.data.traits import TRAITS

TRAIN, TEST = 3_000, 1_000
FOLDS = 4  # each of 4,000 participants is in one test set
_TIMES = np.arange(-264, 560, 12.0)  # ms around the R peak
_PHASES = np.array([0.0, 0.12, 0.24, 0.34, 0.5, 0.84, 0.92])
_STEP = 6  # every sixth of the contours' angles
RESIDUAL_MV = 0.008  # ours: noise left in an average of ten beats
PENALTIES = 10.0 ** np.arange(0, 5.5, 0.5)


def ecg_features(config: SyntheticConfig, hearts: Hearts, voltage: bool) -> np.ndarray:
    """(n, K): the beat in 12 leads, each scaled to [-1, 1], and the rhythm; ``voltage``: also each range."""
    beat = beats(config, hearts)
    volts = electrodes(beat.leads, trace(beat.waves, _TIMES))  # (n, 8, T)
    volts += RESIDUAL_MV * np.random.default_rng(config.seed).standard_normal(volts.shape)
    one, two = volts[:, :1], volts[:, 1:2]
    leads = np.concatenate([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, volts[:, 2:]], axis=1)
    low, high = leads.min(-1, keepdims=True), leads.max(-1, keepdims=True)
    scaled = 2 * (leads - low) / (high - low) - 1
    rhythm = np.column_stack([hearts.hr, hearts.af_rhythm, hearts.pvc, hearts.pac])
    size = [np.log(high - low)[:, :, 0]] if voltage else []
    return np.column_stack([scaled.reshape(len(hearts), -1), rhythm, *size])


def cine_features(config: SyntheticConfig, hearts: Hearts, cropped: bool) -> np.ndarray:
    """(n, K): contours of the middle slice over the cycle, aorta, fat; ``cropped``: relative to the heart's box."""
    found = []
    for start in range(0, len(hearts), 500):
        part = hearts[start : start + 500]
        shape = contours(part, 3, _PHASES)
        borders = [border[:, 1] for border in (shape.inner, shape.outer, shape.rv)]  # each (n, F, A)
        place = _in_box(borders, turn(config, part)) if cropped else np.stack([b[..., ::_STEP] for b in borders], 1)
        found.append(np.column_stack([place.reshape(len(part), -1), emptying(part, _PHASES)]))
    if cropped:
        return np.concatenate(found)
    low = hearts.dao_max / (1 + hearts.dao_stiff)
    return np.column_stack([np.concatenate(found), np.sqrt(hearts.dao_max), np.sqrt(low), hearts.dao_stiff, hearts.bmi])


def _in_box(borders: list[np.ndarray], turned: np.ndarray) -> np.ndarray:
    """Contour points (n, 3, F, A', 2) scaled to 0 to 1 in the smallest rectangle that contains the heart."""
    theta = (ANGLES - turned[:, None])[:, None, :]
    points = np.stack([np.stack([-np.cos(theta) * b, -np.sin(theta) * b], -1) for b in borders], 1)
    low, high = (f(points, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return ((points - low) / (high - low))[..., ::_STEP, :]


def demographics(hearts: Hearts) -> np.ndarray:
    """(n, 4): facts about the person, not the heart, that an ECG model may infer."""
    return np.column_stack([hearts.male, hearts.age, hearts.height, hearts.bmi])


def ridge(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Predictions (TEST, K') for the last rows; the penalty is chosen per target on a fifth of the training rows."""
    x = _expand(features)
    chosen = int(0.8 * TRAIN)
    best, score = np.zeros(targets.shape[1], int), np.full(targets.shape[1], -np.inf)
    for k, guess in enumerate(_solve(x[:chosen], targets[:chosen], x[chosen:TRAIN])):
        r = correlation(guess, targets[chosen:TRAIN])
        best, score = np.where(r > score, k, best), np.maximum(r, score)
    every = np.stack(_solve(x[:TRAIN], targets[:TRAIN], x[TRAIN:]))
    return every[best, :, np.arange(targets.shape[1])].T


def _expand(features: np.ndarray) -> np.ndarray:
    """Principal components of the standardised features, partly whitened, and the squares of the first ones."""
    mean, spread = features[:TRAIN].mean(0), features[:TRAIN].std(0)
    x = (features - mean) / np.where(spread > 1e-9, spread, 1)
    _, size, axes = np.linalg.svd(x[:TRAIN], full_matrices=False)
    keep = size > 1e-3 * size[0]
    parts = x @ axes[keep].T / (size[keep] / np.sqrt(TRAIN)) ** 0.8
    lead = parts[:, : min(25, parts.shape[1])]
    lead = lead / lead[:TRAIN].std(0)
    return np.column_stack([parts, lead**2 - 1])


def _solve(x, y, wanted) -> list[np.ndarray]:
    middle, level = x.mean(0), y.mean(0)
    values, vectors = np.linalg.eigh((x - middle).T @ (x - middle))
    left = vectors.T @ ((x - middle).T @ (y - level))
    right = (wanted - middle) @ vectors
    return [right @ (left / (values + penalty)[:, None]) + level for penalty in PENALTIES]


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson r of each column."""
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return (a * b).sum(0) / np.where(scale > 0, scale, np.inf)


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
    guess, truth = ridge(features, targets), targets[TRAIN:]
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
