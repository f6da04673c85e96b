"""Withholding of small counts of participants in tables and figures that may leave the place of the data.

Counts of UK Biobank participants below SMALL are withheld, with every number computed from so few of them, unless
``runtime.show_small_counts`` gives a reason; the reason is then written into each output.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.io.files import write_atomically

SMALL = 10  # participants; UK Biobank's likely limit for small numbers; not confirmed
WITHHELD = "withheld"  # instead of a number that is not small itself, or of a result of few participants
NOTE = "small_counts"  # column of a table with ``Limit.note``
# Numeric columns that name a row and are no results.
NAMING = {"seed", "seeds", "bin", "field_id", "draws", "share", "updates", "x", "panel", "tokens", "width", "depth"}


@dataclass(frozen=True)
class Limit:
    """Smallest count of participants that is shown. least: 0 if all are. reason: why all are, for UK Biobank's data."""

    least: int = SMALL
    reason: str = ""

    @property
    def note(self) -> str:
        """What an output says about its small counts; empty where there is nothing to say."""
        if self.least:
            return f"counts below {self.least} withheld"
        return f"small counts shown: {self.reason}" if self.reason else ""

    @property
    def withheld(self) -> str:
        return f"under {self.least}"

    def hides(self, *counts: float) -> bool:
        """Whether one of the counts is small; 0 is not small."""
        return any(0 < count < self.least for count in counts)

    def hides_class(self, positive: np.ndarray) -> bool:
        """Whether the cases or the controls are few. positive: (n,) bool."""
        cases = int(np.sum(positive))
        return self.hides(cases, len(positive) - cases)

    def count(self, n: float) -> int | str:
        """A count, or that it is small."""
        return self.withheld if self.hides(n) else int(n)

    def of(self, n: int, whole: int) -> int | str:
        """A count of a known total; withheld if the count or the remainder is small."""
        if self.hides(whole):
            return self.withheld
        return f"all but {self.withheld}" if self.hides(whole - n) else self.count(n)

    def counts(self, counts: Mapping[str, int]) -> dict[str, int | str]:
        """Independent counts (not parts of a total), small ones withheld."""
        return {name: self.count(n) for name, n in counts.items()}

    def parts(self, counts: Mapping[str, int]) -> dict[str, int | str]:
        """Counts of the parts of a total, in their order; small ones and their sum cannot be found by subtraction."""
        shown = self.counts(counts)
        large = {name: n for name, n in counts.items() if n >= self.least}
        if self.hides(*counts.values()) and large:
            shown[min(large, key=lambda name: (large[name], -list(counts).index(name)))] = WITHHELD
        return shown

    def steps(self, counts: Mapping[str, int]) -> dict[str, int | str]:
        """Counts of successive selection steps, such that no small difference between two steps can be computed."""
        shown, later = self.counts(counts), []  # later: the next step, and the next one that is shown
        for name, count in reversed(counts.items()):
            if any(self.hides(count - other) for other in later):
                shown[name] = WITHHELD
            later = [count, *([count] if shown[name] == count else later[1:])]
        return shown


ALL_SHOWN = Limit(0)


def limit_of(config: Config) -> Limit:
    """The limit of tables and figures of the config's cohort: small counts of synthetic and open data are shown."""
    return report_limit(config) if config.cohort == "ukb" else ALL_SHOWN


def report_limit(config: Config) -> Limit:
    """The limit of the report on a store, of any cohort."""
    return Limit(0, config.runtime.show_small_counts) if config.runtime.show_small_counts else Limit()


def hidden_diseases(config: Config, data: Cohort, split: str = "test") -> list[str]:
    """The diseases with so few cases or controls in a split that their results are withheld."""
    limit, rows = limit_of(config), data.index(split)
    return [code for code in config.codes if limit.hides_class(data.label_of(code)[rows])]


def withhold(frame: pd.DataFrame, config: Config, hidden: np.ndarray | None = None) -> pd.DataFrame:
    """A table of results whose rows with small counts are empty, apart from the columns that name a row.

    A row's counts are ``n`` and, of these, the cases: ``positives``, or the share ``observed`` of a bin. hidden:
    further rows to empty, (rows,) bool. A table of UK Biobank's data gets the column NOTE.
    """
    limit = limit_of(config)
    if not limit.note:
        return frame
    hidden = np.zeros(len(frame), bool) if hidden is None else np.array(hidden, bool)
    if "n" in frame:
        hidden |= _are_few(frame, limit)
    results = [name for name in frame.select_dtypes("number") if name not in NAMING]
    whole = [name for name in results if pd.api.types.is_integer_dtype(frame[name])]
    shown = frame.astype(dict.fromkeys(whole, "Int64"))
    shown.loc[hidden, results] = pd.NA
    return shown.assign(**{NOTE: np.where(hidden, limit.withheld, limit.note)})


def _are_few(frame: pd.DataFrame, limit: Limit) -> np.ndarray:
    """Whether the participants, cases or controls of each row are few, (rows,) bool; the columns as in ``withhold``."""
    return np.array([limit.hides(n, cases, controls) for n, cases, controls in _counts(frame)], bool)


def _counts(frame: pd.DataFrame) -> np.ndarray:
    """Participants, cases and controls of each row, (rows, 3). Means over seeds are no whole numbers; missing: 0."""
    n = frame["n"].to_numpy(float, na_value=np.nan)
    cases = frame["positives"] if "positives" in frame else n * frame["observed"] if "observed" in frame else n
    cases = pd.Series(cases).to_numpy(float, na_value=np.nan)
    return np.nan_to_num(np.stack([n, cases, n - cases], axis=1)).round(6)


def hidden_bins(curves: pd.DataFrame, config: Config) -> np.ndarray:
    """The bins of reliability curves that are withheld, (rows,) bool. curves: row, task, kind, bin, observed, n.

    A bin of few cases or controls is withheld. The cases of the whole curve are known, so those of all withheld bins
    together could be computed: further bins are withheld until these are not few either.
    """
    limit = limit_of(config)
    hidden, classes = _are_few(curves, limit), _counts(curves)[:, 1:]  # cases and controls
    counts = classes.min(axis=1)
    for rows in curves.reset_index(drop=True).groupby(["row", "task", "kind"]).groups.values():
        while limit.hides(*classes[rows[hidden[rows]]].sum(axis=0)) and not hidden[rows].all():
            others = rows[~hidden[rows]]
            large = others[counts[others] >= limit.least]
            chosen = large if len(large) else others
            hidden[chosen[counts[chosen].argmin()]] = True
    return hidden


def write_table(
    path: Path, frame: pd.DataFrame, config: Config, hidden: np.ndarray | None = None, digits: int = 5
) -> pd.DataFrame:
    """Write a table of results as CSV, atomically, without small counts (``withhold``). Returns what was written."""
    shown = withhold(frame, config, hidden)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, partial(shown.to_csv, index=False, float_format=f"%.{digits}f"))
    return shown
