"""R peaks by an independent detector: XQRS of the wfdb package."""

import warnings

import numpy as np
from wfdb.processing import XQRS


def xqrs_peaks(signal: np.ndarray, rate: int) -> np.ndarray:
    """R peaks in samples; empty for a flat lead. signal: mV, (T,); rate: Hz."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = XQRS(sig=signal, fs=rate)
        detector.detect(verbose=False)
    return np.array(detector.qrs_inds, dtype=int)
