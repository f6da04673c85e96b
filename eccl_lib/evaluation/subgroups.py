"""Performance of one row of Table 1 by sex and age."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data import small_counts, splits
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import Limit
from eccl_lib.evaluation import table1
from eccl_lib.evaluation.predictions import Scores

DRAWS = 500  # bootstrap draws of mean r in each subgroup


def table(config: Config, data: Cohort, scores_by_task: Mapping[str, Scores], key: str = "eccl") -> pd.DataFrame:
    """Score of a row by sex and thirds of age: task, group, mean, low, high, n, positives. The first group is all.

    key: of METHODS. Where a group has few participants, cases or controls and the cohort requires it, all groups of
    this task are withheld, since a difference would reveal the small count. Groups without a case or a control are left
    out.
    """
    parts, few, limit = [], [], small_counts.limit_of(config)
    for task, scores in scores_by_task.items():
        rows = scores.runs[0][0].predictions["row"].to_numpy()
        few += [task] if _has_few(scores, data.table.iloc[rows], limit) else []
        for group, chosen in _groups(data, rows):
            part = _restricted(scores, key, chosen)
            if scores.task.is_disease and part.positive.min() == part.positive.max():
                continue
            cells = table1.cells({task: table1.column(config, data, part, DRAWS)})
            found = cells.reindex(columns=["task", "mean", "low", "high", "n", "positives"])
            found.insert(1, "group", group)
            parts.append(found)
    frame = pd.concat(parts, ignore_index=True).astype({"positives": "Int64"})
    hidden = frame["task"].isin(few).to_numpy() & (frame["group"] != "all").to_numpy()
    shown = small_counts.withhold(frame, config, hidden)
    return shown.drop(columns=small_counts.NOTE, errors="ignore")


def _has_few(scores: Scores, table: pd.DataFrame, limit: Limit) -> bool:
    """Whether a group, or those without sex or age, has few participants, or few cases or controls of a disease.

    table: sex and age of the test participants.
    """
    groups = [chosen for partition in splits.partitions(table) for chosen in partition.values()]
    counts = [(int(chosen.sum()),) for chosen in groups]
    if scores.task.is_disease:
        cases = scores.positive.astype(int)
        counts += [(int(cases[chosen].sum()), int((1 - cases[chosen]).sum())) for chosen in groups]
    return any(limit.hides(*each) for each in counts)


def _groups(data: Cohort, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Name and (n,) mask of each group with participants. rows: of the cohort, (n,)."""
    found = splits.demographic_strata(data.table.iloc[rows])
    return [(name, chosen) for name, chosen in found if chosen.any()]


def _restricted(scores: Scores, key: str, chosen: np.ndarray) -> Scores:
    """The predictions of one row for some participants. chosen: (n,) bool."""
    k = scores.rows.index(key)
    predicted = scores.predicted[k : k + 1][:, :, chosen]
    return replace(
        scores, rows=(key,), measured=scores.measured[chosen], predicted=predicted, runs=scores.runs[k : k + 1]
    )
