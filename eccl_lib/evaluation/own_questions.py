"""Results beside the paper's table: separation of cases (Fig. 2d) with a verdict, and ECCL against the controls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import claims, features
from eccl_lib.evaluation.claims import Resampled
from eccl_lib.metrics import bootstrap, comparison, embedding

SEPARATION = ["task", "before", "after", "difference", "low", "high", "p", "p_holm", "verdict"]
AGAINST_CONTROLS = ["other", "task", "here", "there", "difference", "low", "high", "p"]


def separation(config: Config, data: Cohort, tasks: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Whether ECCL's ECG features separate cases from controls better after alignment; one row per disease.

    before, after: purity, the share of the five nearest neighbours with the same label, mean of cases and controls.
    difference, low, high: with 95 % interval over test participants and seeds; Holm's correction over the diseases.
    """
    rows, records = data.index("test"), []
    whole, weights = np.ones((len(rows), 1)), np.concatenate(list(bootstrap.draws(len(rows))), axis=1)
    for task in (code for code in config.codes if code in tasks):
        positive = data.label_of(task)[rows]
        of_seeds = [_purities(replace(config, disease=task, seed=seed), data, rows, positive) for seed in seeds]
        before, after = (np.array([seed[k] for seed in of_seeds]) for k in range(2))  # (S, n)
        by_seed, drawn = (_balanced(after - before, positive, each) for each in (whole, weights))
        found = comparison.over_participants_and_seeds(by_seed[:, 0], drawn)
        means = [float(_balanced(part, positive, whole).mean()) for part in (before, after)]
        records.append((task, *means, found.value, found.low, found.high, found.p))
    frame = pd.DataFrame(records, columns=SEPARATION[:7])
    frame["p_holm"] = comparison.holm(frame["p"].to_numpy())
    verdicts = [claims.verdict(row, row.p_holm) for row in frame.rename(columns={"difference": "value"}).itertuples()]
    return frame.assign(verdict=verdicts)


def _purities(config: Config, data: Cohort, rows: np.ndarray, positive: np.ndarray) -> list[np.ndarray]:
    """Purity of each participant before and after alignment, each (n,)."""
    latents = (features.before_alignment(config, data, rows), features.after_alignment(config, data, rows))
    return [embedding.purity(latent.ecg, positive) for latent in latents]


def _balanced(values: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the means of cases and controls in each draw; NaN where a draw has no case.

    values: (S, n); weights: (n, B). Returns (S, B).
    """
    groups = [weights * member[:, None] for member in (positive, ~positive)]
    with np.errstate(invalid="ignore"):
        return np.mean([values @ group / group.sum(axis=0) for group in groups], axis=0)


def against_controls(eccl: Mapping[str, Resampled], controls: Mapping[tuple[str, str], Resampled]) -> pd.DataFrame:
    """ECCL minus each control on each task, with 95 % interval over test participants and ECCL's seeds; no verdicts.

    eccl: by task. controls: by name and task, of one seed and the same draws of participants.
    """
    records = []
    for (name, task), other in controls.items():
        if task in eccl:
            own = eccl[task]
            found = comparison.over_participants_and_seeds(own.by_seed - other.by_seed, own.drawn - other.drawn)
            scores = {"here": own.by_seed.mean(), "there": other.by_seed.mean()}
            interval = {"difference": found.value, "low": found.low, "high": found.high, "p": found.p}
            records.append({"other": name, "task": task} | scores | interval)
    return pd.DataFrame(records, columns=AGAINST_CONTROLS)
