"""What the 82 traits must fulfil among themselves: a mixed-up column or unit shows here before it is learned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from eccl_lib.data.traits import TRAITS

# Largest, smallest, stroke volume and ejection fraction of each chamber; areas of each part of the aorta.
CHAMBERS = {"LV": 24100, "RV": 24106, "LA": 24110, "RA": 24114}
AORTA = {"ascending aorta": (24118, 24119), "descending aorta": (24121, 24122)}
# Segments' first and last field, the global one after them; how far their mean may be off (ours).
GLOBAL = {
    "wall thickness": (24124, 24139, 0.5),  # mm
    "circumferential strain": (24141, 24156, 2.0),  # points
    "radial strain": (24158, 24173, 5.0),
    "longitudinal strain": (24175, 24180, 2.0),
}
VOLUME_TOLERANCE = 0.5  # mL and points; ours: exports are rounded
HEART_RATE = (30.0, 200.0)  # beats per minute that output and stroke volume may imply
RATE_TOLERANCE = 30.0  # beats per minute between the MRI and the ECG of one visit; ours

COLUMNS = ["identity", "checked", "differing", "largest"]


def check(traits: np.ndarray, heart_rate: np.ndarray | None = None) -> pd.DataFrame:
    """Per identity how many participants have all its traits, how many break it, and the largest difference.

    traits: (N, 82) in the order of TRAITS, NaN missing. heart_rate: (N,) of the ECG, beats per minute.
    """
    rows = []
    for name, difference, tolerance in _identities(np.asarray(traits, dtype=np.float64), heart_rate):
        known = difference[np.isfinite(difference)]
        largest = float(known.max()) if len(known) else float("nan")
        rows.append([name, len(known), int((known > tolerance).sum()), round(largest, 3)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _identities(traits: np.ndarray, heart_rate: np.ndarray | None) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, absolute difference (N,) and tolerance of each identity."""
    column = {trait.field_id: traits[:, k] for k, trait in enumerate(TRAITS)}
    for name, first in CHAMBERS.items():
        largest, smallest, stroke, fraction = (column[first + k] for k in range(4))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = 100 * stroke / largest
        yield (
            f"{name}: stroke volume = largest - smallest volume",
            np.abs(largest - smallest - stroke),
            VOLUME_TOLERANCE,
        )
        yield f"{name}: ejection fraction = 100 x stroke / largest volume", np.abs(share - fraction), VOLUME_TOLERANCE
    with np.errstate(divide="ignore", invalid="ignore"):
        implied = 1000 * column[24104] / column[24102]
    outside = np.maximum(HEART_RATE[0] - implied, implied - HEART_RATE[1])
    yield "LV: cardiac output / stroke volume is a heart rate of 30 to 200", np.maximum(outside, 0), 0.0
    if heart_rate is not None:
        yield (
            "LV: cardiac output / stroke volume is near the ECG's heart rate",
            abs(implied - heart_rate),
            RATE_TOLERANCE,
        )
    for name, (big, small) in AORTA.items():
        yield f"{name}: largest area >= smallest area", np.maximum(column[small] - column[big], 0), 0.0
    for name, (first, last, tolerance) in GLOBAL.items():
        mean = np.mean([column[field] for field in range(first, last + 1)], axis=0)
        yield f"{name}: global = mean of segments", np.abs(mean - column[last + 1]), tolerance
