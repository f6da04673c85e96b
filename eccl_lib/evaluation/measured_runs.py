"""Scores of runs with their bootstrap draws, small enough to keep, so that the seeds of an experiment can be trained
on different days and machines."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from eccl_lib.metrics import comparison
from eccl_lib.metrics.comparison import Difference

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class MeasuredRuns:
    """Scores of runs.

    frame: one row per run: the columns that name its place, seed, score, and facts about the run. drawn: (rows, B),
    the score of each run in B bootstrap draws of participants, which all runs share.
    """

    frame: pd.DataFrame
    drawn: np.ndarray

    @classmethod
    def of(
        cls,
        places: Iterable[tuple[Mapping[str, object], Key]],
        score: Callable[[Key], tuple[Mapping[str, object], np.ndarray] | None],
        draws: int,
    ) -> MeasuredRuns:
        """Score the run of each place. places: columns of the place, and the run, which several places may share.

        score: facts and draws (B,) of a run, None if it is not finished. draws: B.
        """
        rows, drawn, known = [], [], {}
        for names, run in places:
            if run not in known:
                known[run] = score(run)
            if known[run] is not None:
                facts, draw = known[run]
                rows.append({**names, **facts})
                drawn.append(draw)
        return cls(pd.DataFrame(rows), np.array(drawn).reshape(len(rows), draws))

    def merged(self, older: MeasuredRuns, naming: Sequence[str]) -> MeasuredRuns:
        """These runs, and those of ``older`` with another place or seed. naming: columns of the place and seed.

        Raises ValueError if both have different numbers of draws.
        """
        if not len(older.frame) or not len(self.frame):
            return self if len(self.frame) else older
        if self.drawn.shape[1] != older.drawn.shape[1]:
            raise ValueError(f"{self.drawn.shape[1]} and {older.drawn.shape[1]} draws cannot be compared")
        both = pd.concat([self.frame, older.frame], ignore_index=True)
        kept = (~both.duplicated(list(naming))).to_numpy()
        return MeasuredRuns(both[kept].reset_index(drop=True), np.concatenate([self.drawn, older.drawn])[kept])

    def of_complete_seeds(self, runs: int) -> MeasuredRuns:
        """The runs of the seeds of which all are there. runs: number of runs of one seed."""
        counts = self.frame["seed"].map(self.frame["seed"].value_counts())
        return self.rows((counts == runs).to_numpy())

    def rows(self, chosen: np.ndarray) -> MeasuredRuns:
        """Some of the runs. chosen: (rows,) bool, or row numbers in the order wanted."""
        wanted = np.arange(len(self.frame))[chosen]
        return MeasuredRuns(self.frame.iloc[wanted].reset_index(drop=True), self.drawn[wanted])

    def by_place(self, naming: Sequence[str]) -> dict[tuple, MeasuredRuns]:
        """The runs of each place, sorted by seed, by the values of the columns naming."""
        order = self.frame.sort_values("seed", kind="stable").index.to_numpy()
        names = list(self.frame[list(naming)].itertuples(index=False, name=None))
        places: dict[tuple, list[int]] = {name: [] for name in names}  # in the order of the frame
        for row in order:
            places[names[row]].append(row)
        return {
            name: MeasuredRuns(self.frame.loc[rows].reset_index(drop=True), self.drawn[rows])
            for name, rows in places.items()
        }

    def mean(self) -> Difference:
        """The mean score of the runs of one place, with its interval over participants and seeds."""
        return comparison.over_participants_and_seeds(self.frame["score"].to_numpy(float), self.drawn)

    def minus(self, other: MeasuredRuns) -> Difference:
        """The mean difference of two places of the same seeds, in the same order."""
        gained = self.frame["score"].to_numpy(float) - other.frame["score"].to_numpy(float)
        return comparison.over_participants_and_seeds(gained, self.drawn - other.drawn)
