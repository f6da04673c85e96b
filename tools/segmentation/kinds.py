"""The kinds of generated hearts: ranges of size, wall thickness and motion for each.

Lengths in mm at end diastole. Ranges are wider than those of the diseases, so that the network does not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Kind:
    """Ranges of one kind of heart; a value is drawn uniformly from its range.

    radius, wall: of the LV cavity and the wall at its widest level. shortening: of the cavity's radius in systole, at
    the base and at the apex. descent: of the base towards the apex in systole, share of the LV's length. septum: extra
    thickness of the septum, share of the wall. apex: thickness of the wall at the apex over that at the base. scar:
    share by which an infarcted sector is thinner and moves less. rv_across: width of the RV; rv_short: systolic
    shortening of this width; rv_wall: thickness of the free wall; flat: probability of a flattened septum.
    """

    radius: Range
    wall: Range
    shortening: Range
    apical_shortening: Range
    descent: Range
    septum: Range = (0.0, 0.3)
    apex: Range = (0.5, 1.0)
    scar: Range = (0.0, 0.0)
    rv_across: Range = (20.0, 34.0)
    rv_short: Range = (0.25, 0.65)
    rv_wall: Range = (1.5, 4.0)
    flat: float = 0.05
    share: float = 0.1  # of the training images


KINDS = {
    "normal": Kind((19, 28), (5, 10), (0.22, 0.42), (0.3, 0.8), (0.08, 0.2), share=0.16),
    "vigorous": Kind((16, 26), (6, 12), (0.36, 0.6), (0.5, 1.0), (0.12, 0.24), share=0.14),
    "concentric": Kind((14, 25), (12, 21), (0.28, 0.62), (0.5, 1.0), (0.06, 0.2), (-0.1, 0.4), (0.6, 1.1), share=0.11),
    "septal": Kind((15, 25), (7, 13), (0.28, 0.62), (0.5, 1.0), (0.06, 0.2), (0.6, 2.2), (0.6, 1.2), share=0.12),
    "apical": Kind((16, 25), (7, 12), (0.28, 0.55), (0.8, 1.0), (0.06, 0.18), (0.0, 0.5), (1.4, 2.6), share=0.09),
    "dilated": Kind((27, 40), (4, 9), (0.02, 0.2), (0.0, 0.3), (0.01, 0.1), rv_short=(0.05, 0.5), share=0.12),
    "infarction": Kind((20, 34), (5, 11), (0.1, 0.35), (0.0, 0.5), (0.03, 0.14), scar=(0.4, 1.0), share=0.12),
    "right": Kind(
        (14, 25), (5, 11), (0.18, 0.5), (0.3, 0.9), (0.06, 0.2), (0.0, 0.4), (0.5, 1.0), (0.0, 0.0),
        (28, 50), (0.05, 0.5), (2.0, 9.0), 0.6, 0.14,
    ),
}  # fmt: skip
NAMES = tuple(KINDS)
