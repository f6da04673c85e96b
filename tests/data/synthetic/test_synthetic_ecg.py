"""The rendered ECG compared with the XQRS detector of wfdb and with the definition of each rhythm."""

import numpy as np
import pytest

from eccl_lib.config.load import load
from eccl_lib.config.schema import LEADS
from eccl_lib.data.synthetic import draw, ecg, render_ecg
from eccl_lib.data.synthetic.cardiosoft import median_beat
from eccl_lib.data.synthetic.ecg import RATE, STEP_UV, strip
from tests.data.detectors import xqrs_peaks

CONFIG = load("demo").synthetic
HEARTS = draw(CONFIG, range(1_500))
SINUS = list(range(0, 60)) + list(np.flatnonzero(HEARTS.lbbb | HEARTS.rbbb)[:8]) + list(np.flatnonzero(HEARTS.pac)[:6])
SINUS = [int(i) for i in SINUS if not HEARTS.af_rhythm[i]]
FIBRILLATING = [int(i) for i in np.flatnonzero(HEARTS.af_rhythm)[:25]]


@pytest.fixture(scope="module")
def strips():
    return {i: strip(CONFIG, HEARTS[i : i + 1]) for i in {*SINUS, *FIBRILLATING}}


def wfdb_peaks(signal: np.ndarray) -> np.ndarray:
    """R peaks in samples by wfdb's XQRS detector, without the first and last quarter second. signal: mV, (T,)."""
    peaks = xqrs_peaks(signal, RATE)
    return peaks[(peaks > 0.25 * RATE) & (peaks < len(signal) - 0.25 * RATE)]


def wfdb_rate(counts: np.ndarray) -> float:
    """Beats per minute, the median over II, V2 and V5."""
    rates = []
    for lead in ("II", "V2", "V5"):
        peaks = wfdb_peaks(counts[LEADS.index(lead)] * 0.005)
        if len(peaks) > 2:
            rates.append(60 * RATE * (len(peaks) - 1) / (peaks[-1] - peaks[0]))
    return float(np.median(rates))


@pytest.mark.parametrize("index", SINUS)
def test_xqrs_measures_the_heart_rate_in_sinus_rhythm(strips, index):
    assert abs(wfdb_rate(strips[index].counts) - HEARTS.hr[index]) <= 1


@pytest.mark.parametrize("index", FIBRILLATING)
def test_xqrs_measures_the_heart_rate_in_fibrillation(strips, index):
    assert abs(wfdb_rate(strips[index].counts) - HEARTS.hr[index]) <= 5


def test_rr_intervals_vary_by_more_than_a_tenth_only_in_fibrillation(strips):
    for index in FIBRILLATING:
        gaps = np.diff(wfdb_peaks(strips[index].counts[LEADS.index("V5")] * 0.005))
        assert gaps.std() / gaps.mean() > 0.10, index
    for index in SINUS:
        gaps = np.diff(strips[index].peaks_ms[strips[index].ectopic == 0])
        if not strips[index].ectopic.any():
            assert gaps.std() / gaps.mean() < 0.05, index


def before_r(found) -> float:
    """Similarity of the beats in the P window: mean correlation of each with the mean of the others, lead II."""
    signal = found.counts[LEADS.index("II")].astype(float)
    places = np.rint(found.peaks_ms[found.ectopic == 0] * RATE / 1000).astype(int)
    parts = np.stack([signal[p - 120 : p - 35] for p in places if 200 < p < 4_900])
    x = np.linspace(-1, 1, parts.shape[1])
    parts = parts - np.stack([np.polyval(np.polyfit(x, part, 1), x) for part in parts])
    others = (parts.sum(0) - parts) / (len(parts) - 1)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(parts, others, strict=True)]))


def test_there_is_no_p_wave_in_fibrillation(strips):
    fibrillating = [before_r(strips[i]) for i in FIBRILLATING]
    sinus = [before_r(strips[i]) for i in SINUS]
    assert np.median(fibrillating) < 0.3
    assert np.median(sinus) > 0.6
    assert all("PQInterval" not in strips[i].measurements for i in FIBRILLATING)
    assert all("PQInterval" in strips[i].measurements for i in SINUS)


def test_fibrillatory_waves_are_irregular_and_largest_in_v1(monkeypatch):
    monkeypatch.setattr(ecg, "_dipole", lambda *_: np.zeros((3, ecg.SAMPLES)))
    monkeypatch.setattr(ecg, "_noise", lambda *_: 0.0)
    rate = np.fft.rfftfreq(ecg.SAMPLES, 1 / RATE)
    for index in FIBRILLATING:
        counts = strip(CONFIG, HEARTS[index : index + 1]).counts
        assert LEADS[counts.std(1).argmax()] == "V1"
        power = np.abs(np.fft.rfft(counts[LEADS.index("V1")])) ** 2
        power = power / power[1:].sum()
        assert power[(rate > 2.5) & (rate < 12)].sum() > 0.8
        assert power[np.abs(rate - rate[power[1:].argmax() + 1]) < 0.5].sum() < 0.5  # flutter has nearly all there


def test_limb_leads_satisfy_einthoven_and_goldberger_within_two_counts(strips):
    for found in strips.values():
        one, two, three, avr, avl, avf = found.counts[:6].astype(float)
        for residual in (one + three - two, avr + (one + two) / 2, avl - (one - three) / 2, avf - (two + three) / 2):
            assert np.abs(residual).max() <= 2


def test_lv_mass_correlates_weakly_with_sokolow_lyon_voltage():
    index = range(250)
    voltage = []
    for i in index:
        beat = median_beat(strip(CONFIG, HEARTS[i : i + 1]))
        v1, v5, v6 = (beat[LEADS.index(lead)] * STEP_UV / 1000 for lead in ("V1", "V5", "V6"))
        voltage.append(max(v5.max(), v6.max()) - v1.min())
    assert 0.1 < np.corrcoef(voltage, HEARTS.mass[: len(voltage)])[0, 1] < 0.6


def test_an_ecg_does_not_depend_on_the_batch():
    for index in (0, 5, FIBRILLATING[0]):
        assert np.array_equal(
            render_ecg(CONFIG, index).signal, strip(CONFIG, HEARTS[index : index + 1]).counts * 5 / 1000
        )


def test_the_record_has_ten_seconds_of_twelve_leads_in_steps_of_5_uv():
    record = render_ecg(CONFIG, 3)
    assert record.signal.shape == (12, 5_000) and record.rate == 500
    steps = record.signal * 1000 / STEP_UV
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)


def test_device_measurements_are_plausible():
    m = [strip(CONFIG, HEARTS[i : i + 1]).measurements for i in range(200)]
    for name, mean, within in (
        ("QRSDuration", 90, 8),
        ("PQInterval", 166, 12),
        ("QTCInterval", 419, 25),
        ("RAxis", 26, 10),
    ):
        values = [found[name] for found in m if name in found]
        assert abs(np.mean(values) - mean) < within, name
