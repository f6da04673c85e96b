"""Identities between the 82 traits; a violated identity reveals a swapped column or a wrong unit."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from eccl_lib.data.traits import TRAITS

# First of four consecutive fields per chamber: largest volume, smallest volume, stroke volume, ejection fraction.
CHAMBERS = {"LV": 24100, "RV": 24106, "LA": 24110, "RA": 24114}
AORTA = {"ascending aorta": (24118, 24119), "descending aorta": (24121, 24122)}  # largest and smallest area
# First and last field of the segments (the next field is the global value), and tolerance of their mean; ours.
GLOBAL = {
    "wall thickness": (24124, 24139, 0.5),  # mm
    "circumferential strain": (24141, 24156, 2.0),  # points
    "radial strain": (24158, 24173, 5.0),
    "longitudinal strain": (24175, 24180, 2.0),
}
VOLUME_TOLERANCE = 0.5  # mL and percentage points, for the rounding of exports; ours
HEART_RATE = (30.0, 200.0)  # plausible cardiac output / stroke volume in beats per minute; ours

COLUMNS = ["identity", "checked", "differing", "largest"]


def check(traits: np.ndarray) -> pd.DataFrame:
    """For each identity, number of participants with all its traits, number that violate it, and largest difference.

    traits: (N, 82) in the order of TRAITS, NaN missing. Returns one row per identity with the columns COLUMNS.
    """
    rows = []
    for name, difference, tolerance in _identities(np.asarray(traits, dtype=np.float64)):
        known = difference[np.isfinite(difference)]
        largest = float(known.max()) if len(known) else float("nan")
        rows.append([name, len(known), int((known > tolerance).sum()), round(largest, 3)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _identities(traits: np.ndarray) -> Iterator[tuple[str, np.ndarray, float]]:
    """Yield name, absolute difference (N,) and tolerance of each identity."""
    column = {trait.field_id: traits[:, k] for k, trait in enumerate(TRAITS)}
    for name, first in CHAMBERS.items():
        largest, smallest, stroke, fraction = (column[first + k] for k in range(4))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = 100 * stroke / largest
        difference = np.abs(largest - smallest - stroke)
        yield f"{name}: stroke volume = largest - smallest volume", difference, VOLUME_TOLERANCE
        yield f"{name}: ejection fraction = 100 x stroke / largest volume", np.abs(share - fraction), VOLUME_TOLERANCE
    with np.errstate(divide="ignore", invalid="ignore"):
        implied = 1000 * column[24104] / column[24102]
    outside = np.maximum(HEART_RATE[0] - implied, implied - HEART_RATE[1])
    yield "LV: cardiac output / stroke volume is a heart rate of 30 to 200", np.maximum(outside, 0), 0.0
    for name, (big, small) in AORTA.items():
        yield f"{name}: largest area >= smallest area", np.maximum(column[small] - column[big], 0), 0.0
    for name, (first, last, tolerance) in GLOBAL.items():
        mean = np.mean([column[field] for field in range(first, last + 1)], axis=0)
        yield f"{name}: global = mean of segments", np.abs(mean - column[last + 1]), tolerance
