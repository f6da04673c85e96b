"""Volumes, ejection fraction and mass of a labelled stack: areas times the slice step, without extrapolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LV, WALL, RV = 1, 2, 3
MUSCLE = 1.05  # g/mL


@dataclass(frozen=True)
class Volumes:
    """Volumes in mL, EF in %, mass in g. ed_frame, es_frame: largest and smallest LV. Curves: mL per frame, (F,)."""

    lv_edv_ml: float
    lv_esv_ml: float
    lv_sv_ml: float
    lv_ef_pct: float
    lv_mass_g: float
    rv_edv_ml: float
    rv_esv_ml: float
    rv_ef_pct: float
    ed_frame: int
    es_frame: int
    lv_curve: np.ndarray
    rv_curve: np.ndarray


def measure(
    labels: np.ndarray, spacing_mm: tuple[float, float], slice_step_mm: float, frames: tuple[int, int] | None = None
) -> Volumes:
    """Volumes of labels (S, F, H, W), by Simpson's rule of discs. frames: end diastole and end systole, if known.

    slice_step_mm: distance between slices (thickness plus gap). The mass is that of the wall at end diastole.
    Raises ValueError if there is no left ventricle.
    """
    labels = np.asarray(labels)
    if labels.ndim != 4:
        raise ValueError(f"labels of a stack are (S, F, H, W), not {labels.shape}")
    if not slice_step_mm or not np.isfinite(slice_step_mm) or slice_step_mm <= 0:
        raise ValueError(f"the step from slice to slice must be a positive number in mm, not {slice_step_mm}")
    voxel_ml = float(spacing_mm[0] * spacing_mm[1] * slice_step_mm / 1000)
    lv, wall, rv = ((labels == kind).sum((0, 2, 3)) * voxel_ml for kind in (LV, WALL, RV))
    if not lv.any():
        raise ValueError("there is no left ventricle in these labels (1 LV cavity, 2 myocardium, 3 RV)")
    drawn = labels.any(axis=(0, 2, 3))  # a given mask may have labels in only two of fifty frames
    ed, es = frames or (int(lv.argmax()), int(np.where(drawn, lv, np.inf).argmin()))
    right = (float(rv[ed]), float(rv[es]))
    return Volumes(
        lv_edv_ml=float(lv[ed]),
        lv_esv_ml=float(lv[es]),
        lv_sv_ml=float(lv[ed] - lv[es]),
        lv_ef_pct=_fraction(float(lv[ed]), float(lv[es])),
        lv_mass_g=float(wall[ed] * MUSCLE),
        rv_edv_ml=right[0],
        rv_esv_ml=right[1],
        rv_ef_pct=_fraction(*right),
        ed_frame=ed,
        es_frame=es,
        lv_curve=lv,
        rv_curve=rv,
    )


def _fraction(full: float, empty: float) -> float:
    return 100 * (full - empty) / full if full > 0 else float("nan")
