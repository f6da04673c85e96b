"""Summary and sanity checks of a preprocessed cohort."""

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import limit_of
from eccl_lib.data.splits import SPLITS, in_order


def cohort_table(data: Cohort, config: Config) -> pd.DataFrame:
    """One row per split: participants, mean age in years, and number of cases of each disease, without small counts."""
    table = in_order(data.table.groupby("split").agg(participants=("eid", "size"), age=("age", "mean")))
    labels = data.labels_of(config.codes)
    cases = [labels[data.index(split)].sum(axis=0) for split in table.index]
    table = table.join(pd.DataFrame(cases, index=table.index, columns=list(config.codes))).round(1)
    limit = limit_of(config)
    if limit.least:
        hidden = table["participants"].map(limit.hides)
        table["age"] = table["age"].mask(hidden)
        for name in ("participants", *config.codes):
            table[name] = pd.Series(limit.parts(table[name].to_dict()), dtype=object)
    return table


def split_shares(data: Cohort) -> np.ndarray:
    """Share of participants in train, val and test, (3,)."""
    return np.array([len(data.index(split)) for split in SPLITS]) / len(data)


def einthoven_error(data: Cohort, participants: int = 600) -> int:
    """Largest deviation from I + III = II in uV among the first participants (0 for exact leads)."""
    lead_1, lead_2, lead_3 = np.moveaxis(data.ecg[:participants, :3].astype(int), 1, 0)
    return int(np.abs(lead_1 + lead_3 - lead_2).max())


def grey_value_range(data: Cohort, participants: int = 20) -> int:
    """Smallest range of grey values over time at the most variable pixel of a clip: 0 if a clip does not move."""
    clips = data.clips[:participants, ::8, ::8].astype(int)  # (n, h, w, F)
    return int(np.ptp(clips, axis=3).max(axis=(1, 2)).min())
