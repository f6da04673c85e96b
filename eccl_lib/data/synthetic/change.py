"""Change single properties of a generated heart, so that its ECG and its cine are drawn again from the same heart."""

from dataclasses import dataclass, replace

import numpy as np

from eccl_lib.data.synthetic.geometry import mass_of_wall, wall_mm
from eccl_lib.data.synthetic.population import Hearts, with_scar

TERRITORY_NAMES = ("anterior (LAD)", "inferior (RCA)", "lateral (LCx)")


@dataclass(frozen=True)
class Properties:
    """Properties of one heart that can be changed one by one. Each acts on both modalities unless stated otherwise.

    scar: extent of the infarct, 0 to 1. territory: 0 LAD, 1 RCA, 2 LCx. wall: mean thickness of the LV wall at end
    diastole, mm. ef: LV ejection fraction, percent. la: largest volume of the left atrium, mL; the atrium is not in a
    mid-ventricular slice, so only the ECG shows it.
    """

    scar: float
    territory: int
    wall: float
    ef: float
    la: float


RANGES = {"scar": (0.0, 1.0), "wall": (4.0, 14.0), "ef": (18.0, 74.0), "la": (30.0, 180.0)}  # of the population, about


def properties_of(heart: Hearts) -> Properties:
    """The properties of one heart (n = 1)."""
    numbers = (heart.scar[0], heart.territory[0], wall_mm(heart)[0], heart.ef[0], heart.la_max[0])
    scar, territory, wall, ef, la = numbers
    return Properties(float(scar), int(territory), float(wall), float(ef), float(la))


def with_properties(heart: Hearts, wanted: Properties) -> Hearts:
    """The heart (n = 1) with these properties; all others, and all noise, are kept.

    Raises ValueError if a property is outside of its range in RANGES and is not the heart's own.
    """
    own = properties_of(heart)
    for name, (low, high) in RANGES.items():
        value, given = getattr(wanted, name), getattr(own, name)
        if not min(low, given) <= value <= max(high, given):
            raise ValueError(f"{name} is {value:g}; give {low:g} to {high:g}")
    if (wanted.scar, wanted.territory) != (own.scar, own.territory):
        heart = with_scar(heart, wanted.scar, wanted.territory)
    heart = replace(heart, ef=np.array([wanted.ef]), la_max=np.array([wanted.la]))
    if wanted.wall != wall_mm(heart)[0]:
        heart = replace(heart, mass=mass_of_wall(heart, wanted.wall))
    return heart
