"""The paper's claims about Table 1 as differences between rows, each with an interval and a verdict (docs/study.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES
from eccl_lib.evaluation.table1_text import published, stem_of
from eccl_lib.metrics.comparison import Difference, holm, over_participants_and_seeds
from eccl_lib.pipeline.methods import METHODS

RELEVANT = 0.005  # AUC or r; a smaller difference is of no practical importance; fixed in docs/study.md
HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
TRAITS = ("traits",)


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper: the score of ``row`` minus that of ``other``, averaged over the tasks.

    kind: ``higher`` states a positive difference, ``equal`` one that is smaller than RELEVANT.
    """

    text: str
    row: str
    other: str
    tasks: tuple[str, ...]
    kind: Literal["higher", "equal"] = "higher"


CLAIMS = (
    Claim("ECCL has a higher MI AUC than an ECG encoder trained from scratch", "eccl", "scratch", ("I21",)),
    Claim("ECCL has a higher CM AUC than an ECG encoder trained from scratch", "eccl", "scratch", ("I42",)),
    Claim("ECCL has a higher CM AUC than supervised CMR", "eccl", "cmr_sup", ("I42",)),
    Claim("traits from ECG lag behind supervised CMR", "cmr_sup", "eccl", TRAITS),
    Claim("pre-training alone helps: traits", "ssl", "scratch", TRAITS),
    Claim("pre-training alone helps: diseases", "ssl", "scratch", DISEASES),
    Claim("alignment alone helps: traits", "cl", "scratch", TRAITS),
    Claim("alignment alone helps: diseases", "cl", "scratch", DISEASES),
    Claim("alignment adds to pre-training: traits", "eccl", "ssl", TRAITS),
    Claim("alignment adds to pre-training: diseases", "eccl", "ssl", DISEASES),
    Claim("pre-training adds to alignment: traits", "eccl", "cl", TRAITS),
    Claim("pre-training adds to alignment: diseases", "eccl", "cl", DISEASES),
    *(
        Claim(f"ECCL surpasses {METHODS[key].row}: {name}", "eccl", key, tasks)
        for key in ("cmae", "resnet50", "vit", "triplet")
        for name, tasks in (("traits", TRAITS), ("diseases", DISEASES))
    ),
    Claim("Triplet has a higher MI AUC than ECCL", "triplet", "eccl", ("I21",)),
    Claim("CMAE has a higher HF AUC than ECCL", "cmae", "eccl", ("I50",)),
    Claim("CMAE and ECCL have the same AF AUC", "cmae", "eccl", ("I48",), kind="equal"),
)


@dataclass(frozen=True)
class Resampled:
    """A row's score on one task: of each seed (S,), and of each seed and draw of test participants (S, B)."""

    by_seed: np.ndarray
    drawn: np.ndarray


def table(scores: Mapping[tuple[str, str], Resampled], claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """One row per claim: claim, paper, here, other, difference, low, high, p, p_holm, seeds, verdict.

    scores: by row key and task, with the same draws of participants. Claims about other rows or tasks are left out.
    paper: the published difference; here, other: our scores of both rows.
    """
    records, found = [], []
    for claim in claims:
        if all((row, task) in scores for row in (claim.row, claim.other) for task in claim.tasks):
            row, other = (_mean([scores[key, task] for task in claim.tasks]) for key in (claim.row, claim.other))
            difference = over_participants_and_seeds(row.by_seed - other.by_seed, row.drawn - other.drawn)
            found.append((claim, difference))
            values = {"here": row.by_seed.mean(), "other": other.by_seed.mean(), "difference": difference.value}
            limits = {"low": difference.low, "high": difference.high, "p": difference.p}
            records.append({"claim": claim.text, "paper": _published(claim)} | values | limits)
    frame = pd.DataFrame(records, columns=["claim", "paper", "here", "other", "difference", "low", "high", "p"])
    frame["p_holm"] = holm(frame["p"].to_numpy())
    frame["seeds"] = [len(scores[claim.row, claim.tasks[0]].by_seed) for claim, _ in found]
    pairs = zip(found, frame["p_holm"], strict=True)
    return frame.assign(verdict=[verdict(difference, p, claim.kind) for (claim, difference), p in pairs])


def verdict(difference: Difference, p_holm: float, kind: str = "higher") -> str:
    """Whether a claim holds, by the rule of docs/study.md.

    ``higher``: holds if the difference is positive with p_holm < .05; does not hold if its interval lies below
    RELEVANT. ``equal``: holds if the interval lies within +-RELEVANT; does not hold if it lies outside.
    """
    if kind == "equal":
        inside = difference.low > -RELEVANT and difference.high < RELEVANT
        return HOLDS if inside else FAILS if difference.low > RELEVANT or difference.high < -RELEVANT else OPEN
    if difference.value > 0 and p_holm < 0.05:
        return HOLDS
    return FAILS if difference.high < RELEVANT else OPEN


def _mean(parts: Sequence[Resampled]) -> Resampled:
    return Resampled(np.mean([part.by_seed for part in parts], axis=0), np.mean([part.drawn for part in parts], axis=0))


def _published(claim: Claim) -> float:
    """The difference in the published Table 1."""
    table, columns = published().set_index("row"), [f"{stem_of(task)}_mean" for task in claim.tasks]
    row, other = (table.loc[METHODS[key].row, columns].mean() for key in (claim.row, claim.other))
    return float(row - other)
