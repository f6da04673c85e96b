"""ECG preprocessing, quality flags and augmentation: 12 leads, 10 s, 500 Hz, baseline removed (Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data.records import EcgRecord

if TYPE_CHECKING:
    import torch

    from eccl_lib.config.schema import AugmentConfig, ViewConfig

RATE = 500  # samples per second, Sec. 3.1
SAMPLES = 5000  # ten seconds, Sec. 3.1
SHORTEST_SECONDS = 9.8  # ours; some devices stop a few samples early; the last value is repeated up to 10 s
RATES = (50.0, 20_000.0)  # plausible samples per second of an ECG; ours
PLAUSIBLE_RATE = (30.0, 200.0)  # beats per minute; a heart rate outside this range is not used; ours
FLAT_MV = 0.01  # a lead with a smaller peak-to-peak amplitude in ten seconds counts as flat; ours

# Limb leads as linear combinations of I and II (Einthoven, Goldberger), in the order of LEADS.
LIMB = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])


def check_rate(rate: float) -> None:
    """Raise UnreadableError unless a sampling rate is plausible; readers call it before they compute with the rate."""
    if not RATES[0] <= rate <= RATES[1]:
        reason = f"the sampling rate of {float(rate)} Hz is not plausible"
        raise UnreadableError(reason, "Write the correct rate into the file.")


def first_ten_seconds(record: EcgRecord, fewest_limb_leads: int = 2) -> np.ndarray:
    """First ten seconds of a recording at 500 Hz: (12, 5000) float64 mV.

    Missing limb leads are computed from two others; other missing leads are zero. fewest_limb_leads: 2, or 0 to accept
    a recording from which no limb lead can be computed. Raises UnreadableError for a wrong shape or sampling rate,
    fewer limb leads, or less than 9.8 s.
    """
    if record.signal.ndim != 2 or len(record.signal) != len(LEADS):
        raise UnreadableError(f"the signal has shape {record.signal.shape}, not (12, samples)")
    check_rate(record.rate)
    seconds = record.signal.shape[1] / record.rate
    if seconds < SHORTEST_SECONDS:
        raise UnreadableError(f"the recording lasts {seconds:.1f} s", "Ten seconds are needed.")
    # One extra second keeps the edge effects of the resampling filter outside the ten seconds.
    signal = record.signal[:, : int(np.ceil(11 * record.rate))].astype(np.float64)
    if np.isnan(signal).any():
        signal = _fill_gaps(_rebuild_limb_leads(signal, fewest_limb_leads))
    signal = np.ascontiguousarray(resample(signal, record.rate, RATE)[:, :SAMPLES])
    missing = SAMPLES - signal.shape[1]
    return np.pad(signal, ((0, 0), (0, missing)), mode="edge") if missing else signal


def _rebuild_limb_leads(signal: np.ndarray, fewest: int) -> np.ndarray:
    """The signal with each absent limb lead (all NaN) computed from the first two limb leads that are present."""
    absent = np.isnan(signal).all(axis=1)
    if not absent[:6].any():
        return signal
    present = np.flatnonzero(~absent[:6])[:2]
    if len(present) < 2 and fewest < 2:
        return signal
    if len(present) < 2:
        names = [LEADS[k] for k in present] or ["none"]
        raise UnreadableError(f"the file's only limb leads are: {', '.join(names)}", "At least two are needed.")
    leads_i_ii = np.linalg.solve(LIMB[present], signal[present])
    signal = signal.copy()
    # Rounding to a picovolt gives the same bits as the lead that the device itself would write.
    signal[:6][absent[:6]] = np.round((LIMB @ leads_i_ii)[absent[:6]], 9)
    return signal


def _fill_gaps(signal: np.ndarray) -> np.ndarray:
    """The signal with missing samples interpolated linearly; a lead without any sample becomes zero."""
    signal = signal.copy()
    for k in np.flatnonzero(np.isnan(signal).any(axis=1)):
        known = np.flatnonzero(~np.isnan(signal[k]))
        if len(known) and np.isnan(signal[k]).mean() > 0.2:
            raise UnreadableError("more than a fifth of a lead's samples are missing", "Leave the recording out.")
        signal[k] = np.interp(np.arange(signal.shape[1]), known, signal[k, known]) if len(known) else 0.0
    return signal


def resample(signal: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """The signal at another sampling rate, by a polyphase filter: (..., T) to (..., about T * new_rate / rate)."""
    ratio = Fraction(new_rate / rate).limit_denominator(1000)
    if ratio == 1:
        return signal
    from scipy.signal import resample_poly

    return resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")


def beat_period(heart_rate: float) -> int:
    """Samples of one beat at 500 Hz: int(30000 / heart rate) (authors' code)."""
    return int(60 * RATE / float(np.clip(heart_rate, *PLAUSIBLE_RATE)))


def trend(signal: np.ndarray, period: int) -> np.ndarray:
    """Moving average over one period: the trend of an additive seasonal decomposition (Sec. 3.1).

    signal: (..., T); returns the same shape. If the period is even, both ends of the window have weight
    1/2. The first and last period // 2 samples, where the window does not fit, take the nearest computed value.
    """
    half = period // 2
    total = np.zeros((*signal.shape[:-1], signal.shape[-1] + 1))
    np.cumsum(signal, axis=-1, out=total[..., 1:])
    sums = total[..., period:] - total[..., :-period]  # of `period` samples
    out = total[..., :-1]
    inner = out[..., half : signal.shape[-1] - half]
    if period % 2 == 0:
        np.divide(np.add(sums[..., :-1], sums[..., 1:], out=inner), 2, out=inner)
    else:
        inner[...] = sums
    inner /= period
    out[..., :half] = inner[..., :1]
    out[..., signal.shape[-1] - half :] = inner[..., -1:]
    return out


def remove_baseline(mv: np.ndarray, heart_rate: float) -> np.ndarray:
    """The signal minus its trend over one beat (Sec. 3.1: seasonal decomposition). mv: (..., 5000) at 500 Hz."""
    return mv - trend(mv, beat_period(heart_rate))


def r_peaks(mv: np.ndarray, rate: float) -> np.ndarray:
    """Sample numbers of the R peaks, detected on all leads together. mv: (12, T) or (T,)."""
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, find_peaks, sosfiltfilt

    leads = np.atleast_2d(np.nan_to_num(mv))
    band = butter(2, (5.0, min(20.0, 0.45 * rate)), "bandpass", fs=rate, output="sos")
    slope = np.abs(np.gradient(sosfiltfilt(band, leads, axis=-1), axis=-1))
    slope = uniform_filter1d(slope, max(1, round(0.08 * rate)), axis=-1)
    size = np.quantile(slope, 0.98, axis=-1, keepdims=True)
    live = np.ptp(leads, axis=-1) > FLAT_MV
    if not live.any():
        return np.empty(0, dtype=int)
    envelope = np.mean(np.minimum(slope[live] / size[live], 2.0), axis=0)
    # The median of the maxima of two-second windows is robust to a single large artefact.
    window = int(2 * rate)
    tops = [envelope[k : k + window].max() for k in range(0, len(envelope) - window // 2, window)]
    height = 0.25 * float(np.median(tops))
    peaks, _ = find_peaks(envelope, height=height, distance=max(1, round(0.25 * rate)), prominence=height / 2)
    return peaks


def heart_rate(mv: np.ndarray, rate: float = RATE) -> float:
    """Mean beats per minute between the first and the last R peak; NaN with fewer than three."""
    peaks = r_peaks(mv, rate)
    if len(peaks) < 3:
        return float("nan")
    return float(60 * rate * (len(peaks) - 1) / (peaks[-1] - peaks[0]))


def heart_rate_with_source(record: EcgRecord, mv: np.ndarray) -> tuple[float, str]:
    """Heart rate in beats/min and its source: ``device``, ``peaks`` (R peaks), or ``none`` with the default of 60.

    A rate outside PLAUSIBLE_RATE is not used. The default is needed because the baseline is removed over one beat.
    """
    low, high = PLAUSIBLE_RATE
    if record.heart_rate is not None and low <= record.heart_rate <= high:
        return float(record.heart_rate), "device"
    measured = heart_rate(mv)
    return (measured, "peaks") if low <= measured <= high else (60.0, "none")


def quality(record: EcgRecord, mv: np.ndarray, source: str, drift: np.ndarray) -> dict[str, float | int | str]:
    """Quality flags of the ten seconds that are stored; a flag never excludes a recording.

    mv: (12, 5000), from ``first_ten_seconds``; source: of the heart rate; drift: baseline, in the shape of ``mv``.
    ``missing_leads`` and ``flat_leads`` name leads; ``gaps`` is the share of missing samples, ``clipped`` that of the
    samples that stay at a lead's minimum or maximum for at least 40 ms; ``baseline_mv`` is the largest drift;
    ``einthoven_uv`` is the largest |I + III - II|.
    """
    used = np.isnan(record.signal[:, : int(np.ceil(SAMPLES / RATE * record.rate))])
    absent = used.all(axis=1)
    flat = (np.ptp(mv, axis=1) < FLAT_MV) & ~absent
    has_limb_leads = (~absent[:6]).sum() >= 2  # otherwise I, II and III are not all known
    return {
        "missing_leads": " ".join(np.array(LEADS)[absent]),
        "flat_leads": " ".join(np.array(LEADS)[flat]),
        "gaps": round(float(used[~absent].mean()) if (~absent).any() else 1.0, 6),
        "clipped": round(_clipped_share(mv, flat | absent), 6),
        "baseline_mv": round(float(np.ptp(drift, axis=1).max()), 4),
        "einthoven_uv": round(float(1000 * np.abs(mv[0] + mv[2] - mv[1]).max()), 2) if has_limb_leads else 0.0,
        "heart_rate_from": source,
    }


def _clipped_share(mv: np.ndarray, ignored: np.ndarray) -> float:
    run = int(0.04 * RATE)
    at_extreme = (mv >= mv.max(axis=1, keepdims=True)) | (mv <= mv.min(axis=1, keepdims=True))
    at_extreme[ignored] = False
    if (at_extreme.sum(axis=1) < run).all():
        return 0.0
    total = np.cumsum(np.pad(at_extreme.astype(np.int32), ((0, 0), (1, 0))), axis=1)
    long_runs = (total[:, run:] - total[:, :-run]) == run
    return float(np.minimum(long_runs.sum(axis=1) + (run - 1) * long_runs.any(axis=1), mv.shape[1]).sum() / mv.size)


def missing_leads(flags: dict[str, float | int | str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The leads that a file does not have, by the flags of ``quality``: those computed from two limb leads, others."""
    missing = flags["missing_leads"].split()
    limb = [lead for lead in missing if lead in LEADS[:6]]
    computed = limb if len(limb) <= 4 else []
    return tuple(computed), tuple(lead for lead in missing if lead not in computed)


def usable_leads(flags: dict[str, float | int | str]) -> tuple[str, ...]:
    """The leads with a signal, recorded or computed, by the flags of ``quality``; in the order of LEADS."""
    silent = {*missing_leads(flags)[1], *flags["flat_leads"].split()}
    return tuple(lead for lead in LEADS if lead not in silent)


def silence_unusable(stored: np.ndarray, usable: Sequence[str]) -> None:
    """Set the leads without a signal to zero, whose noise the scaling would amplify. stored: (12, T), changed."""
    stored[~np.isin(LEADS, usable)] = 0


def warnings(flags: dict[str, float | int | str]) -> list[str]:
    """Warning messages for the flags of ``quality``; empty if there is no problem."""
    messages = []
    computed, zero = missing_leads(flags)
    if computed:
        messages.append(f"not in the file: {' '.join(computed)} (computed from two other limb leads)")
    if zero:
        messages.append(f"not in the file: {' '.join(zero)} (zero in the models' input)")
    if flags["flat_leads"]:
        messages.append(f"flat leads (electrode not connected): {flags['flat_leads']}")
    if flags["gaps"]:
        messages.append(f"{flags['gaps']:.2%} of the samples are missing and were interpolated")
    if flags["clipped"] > 0.005:
        messages.append(f"{flags['clipped']:.1%} of the samples are at a lead's extreme: the amplifier was saturated")
    if flags["baseline_mv"] > 2.0:
        messages.append(f"the baseline drifts by {flags['baseline_mv']:.1f} mV")
    if flags["einthoven_uv"] > 20:
        messages.append(f"I + III differs from II by {flags['einthoven_uv']:.0f} uV: leads may be swapped")
    if flags["heart_rate_from"] == "none":
        messages.append("no plausible heart rate was found")
    return messages


def to_microvolts(mv: np.ndarray) -> np.ndarray:
    """Millivolts as int16 microvolts, clipped to the range of +-32.8 mV."""
    out = 1000 * mv
    np.rint(out, out=out)
    return np.clip(out, -32768, 32767, out=out).astype(np.int16)


def preprocess(
    record: EcgRecord, mv: np.ndarray | None = None
) -> tuple[np.ndarray, float, dict[str, float | int | str]]:
    """A recording as it is stored, (12, 5000) int16 uV without baseline; heart rate in beats/min; quality flags.

    mv: from ``first_ten_seconds``, if the caller has it. Raises UnreadableError as that does, and where all leads are
    flat.
    """
    mv = first_ten_seconds(record) if mv is None else mv
    if (np.ptp(mv, axis=1) < FLAT_MV).all():
        raise UnreadableError("all leads are flat: no electrode was connected", "Exclude the participant.")
    rate, source = heart_rate_with_source(record, mv)
    drift = trend(mv, beat_period(rate))
    flags = quality(record, mv, source, drift)
    return to_microvolts(np.subtract(mv, drift, out=drift)), rate, flags


def to_view(ecg: np.ndarray, rate: int) -> np.ndarray:
    """A stored ECG at the view's sampling rate: int16 (..., 5000) to int16 (..., 10 * rate)."""
    if rate == RATE:
        return ecg
    return np.clip(np.rint(resample(ecg.astype(np.float64), RATE, rate)), -32768, 32767).astype(np.int16)


def scale(batch: torch.Tensor, view: ViewConfig) -> torch.Tensor:
    """ECGs scaled to [-1, 1] in float32 (Sec. 3.1), times the view's gain. batch: (B, 12, T) uV, integer or float.

    ``view.ecg_scaling``: ``lead`` maps the minimum and maximum of each lead to -1 and 1, which shifts the baseline, and
    a flat lead to 0. ``maxabs`` divides each lead by its largest absolute value and keeps the baseline at 0. ``fixed``
    divides by ``view.ecg_full_scale_mv`` and clips. Leads that are not in ``view.ecg_leads`` are zero.
    """
    import torch

    scaled = _scaled(batch.to(torch.float32), view)
    if view.ecg_leads == LEADS:
        return scaled
    seen = [[float(lead in view.ecg_leads)] for lead in LEADS]
    return scaled * torch.tensor(seen, device=scaled.device)


def _scaled(batch: torch.Tensor, view: ViewConfig) -> torch.Tensor:
    """``scale`` with all leads. batch: (B, 12, T) float32."""
    import torch

    if view.ecg_scaling == "fixed":
        return (batch / (1000 * view.ecg_full_scale_mv)).clamp_(-1, 1).mul_(view.ecg_gain)
    low, high = torch.aminmax(batch, dim=-1, keepdim=True)
    if view.ecg_scaling == "maxabs":
        return batch * (view.ecg_gain / torch.maximum(-low, high).clamp_min(1.0))
    span = high - low
    scaled = (batch - low) * (2 / span.clamp_min(1.0)) - 1
    return scaled.masked_fill_(span < 1.0, 0.0).mul_(view.ecg_gain)


AUGMENT_DRAWS = 5  # random numbers for one ECG


def augment(batch: torch.Tensor, augment: AugmentConfig, draws: torch.Tensor) -> torch.Tensor:
    """Random crop, reversal in time and sign flip (Sec. 3.1) of each ECG.

    batch: (B, 12, T) float; draws: (AUGMENT_DRAWS, B), uniform in [0, 1).
    """
    import torch

    draw, samples = draws.to(batch.device), batch.shape[-1]
    share = augment.ecg_crop_min + (1 - augment.ecg_crop_min) * draw[0]
    share = torch.where(draw[1] < augment.ecg_crop_probability, share, torch.ones_like(share))
    length = torch.ceil(share * samples).long()
    start = (draw[2] * (samples - length + 1)).long().clamp_max(samples - 1)
    reverse, negate = draw[3] < augment.ecg_reverse_probability, draw[4] < augment.ecg_sign_probability
    return transform(batch, start, length, reverse, negate)


def transform(
    batch: torch.Tensor, start: torch.Tensor, length: torch.Tensor, reverse: torch.Tensor, negate: torch.Tensor
) -> torch.Tensor:
    """Crop, reverse and negate ECGs. batch: (B, C, T); the other arguments: (B,), one value per sample.

    The crop sets the samples outside start to start + length to zero. It does not stretch the signal, because the
    intervals between beats are informative.
    """
    import torch

    time = torch.arange(batch.shape[-1], device=batch.device)
    kept = (time >= start[:, None]) & (time < (start + length)[:, None])  # (B, T)
    sign = torch.where(negate, -1.0, 1.0).to(batch.dtype)
    batch = batch * (kept.to(batch.dtype) * sign[:, None])[:, None]
    return torch.where(reverse[:, None, None], batch.flip(-1), batch)
