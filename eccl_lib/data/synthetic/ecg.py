"""Render ten seconds of 12-lead ECG of a heart: rhythm, dipole, electrodes, noise, 5 uV steps."""

from dataclasses import dataclass

import numpy as np

from eccl_lib.config.schema import SyntheticConfig
from eccl_lib.data.records import EcgRecord
from eccl_lib.data.synthetic.dipole import beats, electrodes, trace
from eccl_lib.data.synthetic.population import Hearts, draw, generator

RATE, SAMPLES = 500, 5000  # Hz, 10 s
STEP_UV = 5  # UK Biobank's resolution
_MS = 1000 / RATE
_BEAT = np.arange(-160, 240) * _MS  # window of one beat, ms from its R peak
_ECTOPIC = np.array(  # waves of a ventricular beat: broad QRS, T in the opposite direction
    [[0, 19, 17, 0.45, 0.70, 0.95], [42, 16, 22, 0.25, 0.40, 0.70], [235, 55, 42, -0.26, -0.30, -0.42]]
)

# Strength of fibrillatory waves of the right and of the left atrium in I, II, V1 to V6.
_ATRIA = np.array([[0.12, 0.45, 1.0, 0.55, 0.28, 0.18, 0.12, 0.10], [0.25, 0.35, -0.40, 0.15, 0.25, 0.20, 0.18, 0.15]])


@dataclass(frozen=True)
class Strip:
    """One recording: counts (12, 5000) int16 of 5 uV, R peaks in ms, and the device's measurements."""

    counts: np.ndarray
    peaks_ms: np.ndarray
    ectopic: np.ndarray  # (beats,) 0 normal, 1 ventricular, 2 atrial
    measurements: dict[str, float]


def render_ecg(config: SyntheticConfig, index: int) -> EcgRecord:
    """ECG of participant ``index``, identical to the content of its written file."""
    recording = strip(config, draw(config, [index]))
    signal = recording.counts.astype(np.float64) * STEP_UV / 1000
    return EcgRecord(signal, float(RATE), recording.measurements["VentricularRate"], dict(recording.measurements))


def strip(config: SyntheticConfig, heart: Hearts) -> Strip:
    """Render the recording of one heart (n = 1)."""
    beat = beats(config, heart)
    waves, leads = beat.waves[0], beat.leads[0]
    rng = generator(config, heart.index[0] + (1 << 40), "ecg")
    peaks, kind = _rhythm(rng, heart)
    volts = electrodes(leads, _dipole(rng, waves, peaks, kind, heart))
    if heart.af_rhythm[0]:
        volts += _fibrillation(rng)
    volts += _noise(rng)
    return Strip(_twelve(volts), peaks, kind, _measure(waves, leads, peaks, heart))


def _rhythm(rng: np.random.Generator, heart: Hearts) -> tuple[np.ndarray, np.ndarray]:
    """R peaks in ms, beginning before and ending after the strip, and kinds of beats; their mean rate is heart.hr."""
    rr = 60_000 / heart.hr[0]
    count = int(10_000 / rr) + 6
    if heart.af_rhythm[0]:
        gaps = rr * np.exp(rng.uniform(0.18, 0.27) * rng.standard_normal(count))
        gaps = np.maximum(gaps, 330)
    else:
        spread, phase, breath = rng.uniform(0.006, 0.022), rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.3)
        beat_times = np.arange(count) * rr / 1000
        gaps = 1 + spread * np.sin(2 * np.pi * breath * beat_times + phase) + 0.35 * spread * rng.standard_normal(count)
        gaps = rr * gaps
    first = -rr * rng.uniform(1.0, 2.0)
    peaks = first + np.concatenate([[0], np.cumsum(gaps)])
    peaks = _at_rate(peaks, rr)
    return _ectopics(rng, peaks, rr, heart)


def _at_rate(peaks: np.ndarray, rr: float) -> np.ndarray:
    """R peaks stretched so that the beats inside the strip have the mean interval ``rr``."""
    for _ in range(4):
        inside = peaks[(peaks >= 150) & (peaks <= 9850)]
        peaks = peaks[0] + (peaks - peaks[0]) * rr * (len(inside) - 1) / (inside[-1] - inside[0])
    return peaks


def _ectopics(rng, peaks, rr, heart):
    kind = np.zeros(len(peaks), int)
    if heart.af_rhythm[0] or not (heart.pvc[0] or heart.pac[0]):
        return peaks, kind
    inside = np.flatnonzero((peaks > 1500) & (peaks < 8500))
    chosen = inside[rng.integers(0, len(inside))]
    kind[chosen] = 1 if heart.pvc[0] else 2
    early = rr * (rng.uniform(0.30, 0.38) if heart.pvc[0] else rng.uniform(0.18, 0.28))
    peaks = peaks.copy()
    peaks[chosen] -= early  # followed by a compensatory pause
    return peaks, kind


def _dipole(rng, waves, peaks, kind, heart) -> np.ndarray:
    """Dipole (3, 5000): sum of all beats, with amplitudes modulated by respiration."""
    out = np.zeros((3, SAMPLES + 1200))
    breath, phase = rng.uniform(0.2, 0.3), rng.uniform(0, 2 * np.pi)
    depth = rng.uniform(0.02, 0.05)
    gaps = np.diff(peaks, prepend=peaks[0] - 60_000 / heart.hr[0])
    jitter = 1 + 0.012 * rng.standard_normal(len(peaks))
    for peak, gap, size, what in zip(peaks, gaps, jitter, kind, strict=True):
        start = round(peak / _MS)
        if not -600 < start < SAMPLES + 300:
            continue
        times = _BEAT - (peak - start * _MS)
        shape = _ECTOPIC if what == 1 else _in_time(waves, gap, 60_000 / heart.hr[0], what)
        size = size * (1 + depth * np.sin(2 * np.pi * breath * peak / 1000 + phase))
        left = start + 600 - 160
        if left >= 0 and left + len(times) <= out.shape[1]:
            out[:, left : left + len(times)] += size * trace(shape, times)
    return out[:, 600 : 600 + SAMPLES]


def _in_time(waves, gap, rr, what):
    """Waves of one beat: T depends on the previous interval; the P of a premature atrial beat has another shape."""
    shape = waves.copy()
    stretch = np.clip(np.sqrt(gap / rr), 0.85, 1.12)
    shape[8, :3] *= stretch
    if what == 2:
        shape[:2, 3:] *= np.array([1.0, -0.6, 1.2])
        shape[:2, 0] += 20
    return shape


def _fibrillation(rng) -> np.ndarray:
    """Fibrillatory waves at the electrodes, (8, 5000) mV: two wandering sources, the one near V1 is the largest."""
    size = np.clip(0.032 * np.exp(0.45 * rng.standard_normal()), 0.012, 0.08)
    near = np.exp(0.15 * rng.standard_normal((2, 8))) * _ATRIA
    return size * (near[0, :, None] * _wavelets(rng) + near[1, :, None] * _wavelets(rng))


def _wavelets(rng) -> np.ndarray:
    """One source, (5000,): each wave has its own length (4 to 9 per second), height and steepness."""
    count = 110
    slow = np.repeat(rng.standard_normal((3, count // 5)), 5, axis=1)  # organised for some waves, then another pattern
    own = rng.standard_normal((3, count))
    rate = np.clip(rng.uniform(5.2, 7.0) * np.exp(0.14 * slow[0] + 0.26 * own[0]), 4, 9)
    starts = np.concatenate([[0], np.cumsum(1 / rate)])
    t = np.arange(SAMPLES) / RATE + rng.uniform(0.2, 0.6)
    angle = 2 * np.pi * np.interp(t, starts, np.arange(count + 1))
    height, skew = (np.interp(t, starts[1:], 0.45 * slow[k] + 0.55 * own[k]) for k in (1, 2))
    wave = np.exp(0.8 * height) * np.sin(angle + np.clip(0.8 * skew, -0.8, 0.8) * np.sin(angle))
    return np.convolve(wave, np.hanning(27) / 13, "same")  # 54 ms: no kinks between waves


def _noise(rng) -> np.ndarray:
    """Noise at the electrodes, (8, 5000) mV: respiration, drift, muscle and mains; independent of the heart."""
    t = np.arange(SAMPLES) / RATE
    breath = np.sin(2 * np.pi * rng.uniform(0.18, 0.33) * t + rng.uniform(0, 6))
    drift = sum(
        np.sin(2 * np.pi * f * t + p) / (k + 1)
        for k, (f, p) in enumerate(zip((0.06, 0.11, 0.43), rng.uniform(0, 6, 3), strict=True))
    )
    size = rng.uniform(0.02, 0.10) * np.exp(0.4 * rng.standard_normal((8, 2)))
    wander = size[:, :1] * breath + 0.5 * size[:, 1:] * drift
    muscle = rng.standard_normal((8, SAMPLES + 2), dtype=np.float32)
    muscle = 0.25 * muscle[:, :-2] + 0.62 * muscle[:, 1:-1] + 0.25 * muscle[:, 2:] - 0.12
    muscle = muscle - muscle.mean(1, keepdims=True)
    level = rng.uniform(0.006, 0.020) * np.exp(0.25 * rng.standard_normal((8, 1)))
    mains = rng.uniform(0.001, 0.006) * np.sin(2 * np.pi * 50 * t + rng.uniform(0, 6)) * rng.uniform(0.3, 1, (8, 1))
    return wander + level * muscle + mains


def _twelve(volts: np.ndarray) -> np.ndarray:
    """Counts of 12 leads, (12, 5000) int16; like the device, III, aVR, aVL and aVF are computed from I and II."""
    counts = np.rint(volts * 1000 / STEP_UV).astype(np.int32)
    one, two = counts[0], counts[1]
    limb = [one, two, two - one, -((one + two) // 2), (2 * one - two) // 2, (2 * two - one) // 2]
    return np.stack([*limb, *counts[2:]]).clip(-32_768, 32_767).astype(np.int16)


def _measure(waves, leads, peaks, heart) -> dict[str, float]:
    """The device's measurements from the noise-free beat; without P and PQ in atrial fibrillation."""
    times = np.arange(-400, 700, _MS)
    ventricle = np.abs(electrodes(leads, trace(waves[2:8], times))).max(0)
    active = times[ventricle > 0.045]
    onset, offset = active[0], active[-1]
    t_end = waves[8, 0] + 2.2 * waves[8, 2]
    inside = peaks[(peaks >= 0) & (peaks < 10_000)]
    rr = float(np.mean(np.diff(inside)))
    measurements = {"VentricularRate": float(round(60_000 / rr)), "RRInterval": float(round(rr))}
    measurements |= {"QRSDuration": float(offset - onset), "QTInterval": float(2 * round((t_end - onset) / 2))}
    measurements["QRSNum"] = float(len(inside))
    measurements["QTCInterval"] = float(round(measurements["QTInterval"] / np.sqrt(rr / 1000)))
    if not heart.af_rhythm[0]:
        p_on = waves[0, 0] - 2.0 * waves[0, 1]
        p_off = waves[1, 0] + 2.0 * waves[1, 2]
        measurements["PQInterval"] = float(2 * round((onset - p_on) / 2))
        measurements["PDuration"] = float(2 * round((p_off - p_on) / 2))
        measurements["PPInterval"] = measurements["RRInterval"]
        measurements["PAxis"] = _axis(waves[:2])
    return measurements | {"RAxis": _axis(waves[2:8]), "TAxis": _axis(waves[8:])}


def _axis(waves) -> float:
    area = waves[:, 1] + waves[:, 2]
    return float(round(np.rad2deg(np.arctan2((area * waves[:, 4]).sum(), (area * waves[:, 3]).sum()))))
