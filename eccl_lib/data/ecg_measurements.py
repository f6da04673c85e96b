"""Classical measurements of an ECG: rhythm, intervals, amplitudes and axes of the median beat.

They serve as a reference for learned features; they are no replacement for a device's measurements.
"""

import numpy as np

from eccl_lib.config.schema import LEADS
from eccl_lib.data.ecg import r_peaks

BEFORE, AFTER = 0.28, 0.48  # seconds around the R peak: P wave to the end of T in most beats; ours
# Window of each wave in seconds from the R peak; the value is the extreme of the given sign (0: of the larger one).
WAVES = {
    "P": (-0.26, -0.08, 0),
    "Q": (-0.06, 0.0, -1),
    "R": (-0.05, 0.05, 1),
    "S": (0.0, 0.08, -1),
    "T": (0.14, 0.44, 0),
}
PQ = (-0.08, -0.05)  # seconds before the R peak; its mean level counts as 0 mV
ST = (0.08, 0.12)  # seconds after the R peak; mean level
QRS_SLOPE = 0.12  # the QRS complex lasts while the slope exceeds this share of its maximum; ours
NAMES = (
    *("heart rate", "RR SD", "RR successive differences", "QRS duration", "PR", "QT", "log amplitude"),
    *(f"{wave} axis, {part}" for wave in ("QRS", "T") for part in ("cosine", "sine")),
    *(f"{wave} {lead}" for wave in (*WAVES, "ST") for lead in LEADS),
)


def measure(ecgs: np.ndarray, rate: float) -> np.ndarray:
    """Measurements of stored ECGs. ecgs: (N, 12, T) uV without baseline; rate in Hz.

    Returns (N, len(NAMES)): beats/min, ms, mV; NaN for an ECG with fewer than three beats.
    """
    return np.stack([_measure_one(np.asarray(ecg, dtype=np.float64) / 1000, rate) for ecg in ecgs])


def _measure_one(mv: np.ndarray, rate: float) -> np.ndarray:
    peaks = r_peaks(mv, rate)
    before, after = round(BEFORE * rate), round(AFTER * rate)
    inside = [peak for peak in peaks if before <= peak < mv.shape[1] - after]
    if len(peaks) < 3 or not inside:
        return np.full(len(NAMES), np.nan)
    intervals = np.diff(peaks) / rate
    beat = np.median([mv[:, peak - before : peak + after] for peak in inside], axis=0)  # (12, W)
    times = np.arange(-before, after) / rate
    beat -= beat[:, (times >= PQ[0]) & (times <= PQ[1])].mean(axis=1, keepdims=True)
    amplitudes = [_extreme(beat[:, (times >= low) & (times <= high)], sign) for low, high, sign in WAVES.values()]
    amplitudes.append(beat[:, (times >= ST[0]) & (times <= ST[1])].mean(axis=1))
    p, t = (_peak_time(beat, times, WAVES[wave]) for wave in ("P", "T"))
    rhythm = [60 / intervals.mean(), 1000 * intervals.std(), 1000 * np.sqrt(np.mean(np.diff(intervals) ** 2))]
    durations = [1000 * _qrs_duration(beat, times), -1000 * p, 1000 * t]
    axes = [part for low, high in ((-0.06, 0.08), WAVES["T"][:2]) for part in _axis(beat, times, low, high)]
    return np.array([*rhythm, *durations, np.log(np.ptp(beat, axis=1).mean()), *axes, *np.concatenate(amplitudes)])


def _extreme(part: np.ndarray, sign: int) -> np.ndarray:
    """Most positive (1), most negative (-1) or largest (0) value of each lead. part: (12, w)."""
    low, high = part.min(axis=1), part.max(axis=1)
    return {1: high, -1: low, 0: np.where(-low > high, low, high)}[sign]


def _peak_time(beat: np.ndarray, times: np.ndarray, window: tuple[float, float, int]) -> float:
    """Seconds from the R peak to the largest mean deviation over the leads inside a wave's window."""
    inside = (times >= window[0]) & (times <= window[1])
    return float(times[inside][np.argmax(np.abs(beat[:, inside]).mean(axis=0))])


def _qrs_duration(beat: np.ndarray, times: np.ndarray) -> float:
    """Seconds in which the mean slope over the leads, near the R peak, exceeds a share of its maximum; 0 if flat."""
    slope = np.abs(np.gradient(beat, axis=1)).mean(axis=0) * ((times > -0.12) & (times < 0.16))
    steep = np.flatnonzero(slope > QRS_SLOPE * slope.max())
    return float(times[steep[-1]] - times[steep[0]]) if len(steep) else 0.0


def _axis(beat: np.ndarray, times: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Cosine and sine of the frontal axis of a wave, from its areas in leads I and aVF."""
    inside = (times >= low) & (times <= high)
    x, y = beat[LEADS.index("I"), inside].sum(), beat[LEADS.index("aVF"), inside].sum() * 2 / np.sqrt(3)
    size = max(np.hypot(x, y), 1e-9)
    return x / size, y / size
