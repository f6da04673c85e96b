"""Standardisation, baseline, heart rate, quality, scaling and augmentation of ECGs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS, AugmentConfig, ViewConfig
from eccl_lib.data import ecg
from eccl_lib.data.records import EcgRecord


def draws(modality, count, seed):
    """Random numbers of ``modality.augment`` for so many samples."""
    return torch.rand(modality.AUGMENT_DRAWS, count, generator=torch.Generator().manual_seed(seed))


def quality(record: EcgRecord, mv: np.ndarray) -> dict:
    """Flags of ``ecg.quality``, with heart rate and baseline as in ``ecg.preprocess``."""
    rate, source = ecg.heart_rate_with_source(record, mv)
    return ecg.quality(record, mv, source, ecg.trend(mv, ecg.beat_period(rate)))


def beats(heart_rate: float, rate: float = 500, seconds: float = 10, seed: int = 0) -> np.ndarray:
    """ECG (12, T) in mV: spikes of 30 ms, smaller and slower T waves, noise, and consistent limb leads."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    wave = np.zeros_like(time)
    for centre in np.arange(0.4, seconds, 60 / heart_rate):
        wave += np.exp(-0.5 * ((time - centre) / 0.012) ** 2) + 0.3 * np.exp(
            -0.5 * ((time - centre - 0.25) / 0.05) ** 2
        )
    electrodes = rng.uniform(0.4, 1.2, (8, 1)) * wave + 0.01 * rng.normal(size=(8, len(time)))
    return np.concatenate([ecg.LIMB @ electrodes[:2], electrodes[2:]])


@pytest.mark.parametrize("period", [2, 3, 150, 151, 375, 483, 500, 1000])
def test_the_trend_equals_that_of_statsmodels_with_constant_ends(period):
    from statsmodels.tsa.seasonal import seasonal_decompose

    signal = np.cumsum(np.random.default_rng(period).normal(size=(2, 5000)), axis=1)
    ours = ecg.trend(signal, period)
    for lead, found in zip(signal, ours, strict=True):
        reference = seasonal_decompose(lead, model="additive", period=period).trend
        known = np.flatnonzero(~np.isnan(reference))
        assert (known[0], known[-1]) == (period // 2, len(lead) - 1 - period // 2)
        np.testing.assert_allclose(found[known], reference[known], rtol=0, atol=1e-9)
        assert (found[: known[0]] == found[known[0]]).all()
        assert (found[known[-1] :] == found[known[-1]]).all()


def test_the_beat_period_equals_the_authors_integer_period():
    assert [ecg.beat_period(rate) for rate in (62, 60, 59.9, 71)] == [int(5000 * 6 / r) for r in (62, 60, 59.9, 71)]


def test_baseline_removal_removes_drift_and_keeps_the_beats():
    clean = beats(60)
    drift = 0.5 * np.sin(2 * np.pi * 0.1 * np.arange(5000) / 500)
    without, with_drift = ecg.remove_baseline(clean, 60), ecg.remove_baseline(clean + drift, 60)
    inner = slice(500, 4500)
    assert np.abs(with_drift - without)[:, inner].max() < 0.1 * np.ptp(drift)


@settings(max_examples=25, deadline=None)
@given(heart_rate=st.floats(35, 180), rate=st.sampled_from([250, 500, 1000]), seed=st.integers(0, 10))
def test_heart_rate_of_regular_beats_is_within_one_percent(heart_rate, rate, seed):
    assert ecg.heart_rate(beats(heart_rate, rate, seed=seed), rate) == pytest.approx(heart_rate, rel=0.01)


def test_heart_rate_of_a_flat_signal_is_nan_and_the_baseline_uses_sixty():
    silent = EcgRecord(np.zeros((12, 5000)), 500)
    assert np.isnan(ecg.heart_rate(silent.signal))
    assert ecg.heart_rate_with_source(silent, silent.signal) == (60.0, "none")
    flags = quality(silent, silent.signal)
    assert (flags["heart_rate_from"], flags["flat_leads"]) == ("none", " ".join(LEADS))
    with pytest.raises(UnreadableError, match="all leads are flat"):
        ecg.preprocess(silent)


def test_synthetic_heart_rates_are_measured_also_with_ectopic_beats_and_fibrillation():
    from eccl_lib.config.load import load
    from eccl_lib.data.synthetic import render_ecg

    config = load("demo").synthetic
    for index in range(60):
        record = render_ecg(config, index)
        assert ecg.heart_rate(record.signal, record.rate) == pytest.approx(record.heart_rate, abs=3)


@pytest.mark.parametrize("stated", [None, 0.0, 12.0, 400.0, float("nan")])
def test_r_peaks_are_used_if_the_device_rate_is_not_plausible(stated):
    record = EcgRecord(beats(72), 500, heart_rate=stated)
    rate, source = ecg.heart_rate_with_source(record, ecg.first_ten_seconds(record))
    assert source == "peaks"
    assert rate == pytest.approx(72, abs=1)


@pytest.mark.parametrize("rate", [100, 128, 250, 257, 360, 500, 1000, 2000])
def test_ten_seconds_do_not_depend_on_the_sampling_rate(rate):
    time, expected = np.arange(int(10.4 * rate)) / rate, np.arange(5000) / 500
    tone = np.tile(np.sin(2 * np.pi * 5 * time), (12, 1))
    found = ecg.first_ten_seconds(EcgRecord(tone, rate))
    assert found.shape == (12, 5000)
    inner = slice(250, 4750)
    np.testing.assert_allclose(found[0, inner], np.sin(2 * np.pi * 5 * expected)[inner], atol=0.02)


@pytest.mark.parametrize("missing", [(2,), (0,), (1, 4), (2, 3, 4, 5), (0, 1, 2, 3), (0, 1, 4, 5)])
def test_missing_limb_leads_are_computed_from_any_two(missing):
    whole = beats(60)
    holed = whole.copy()
    holed[list(missing)] = np.nan
    np.testing.assert_allclose(ecg.first_ten_seconds(EcgRecord(holed, 500)), whole, atol=1e-9)


def test_missing_chest_leads_are_zero_and_flagged():
    holed = beats(60)
    holed[[7, 11]] = np.nan
    record = EcgRecord(holed, 500)
    mv = ecg.first_ten_seconds(record)
    assert not mv[[7, 11]].any()
    flags = quality(record, mv)
    assert flags["missing_leads"] == "V2 V6"
    assert flags["flat_leads"] == ""
    assert any("V2 V6" in line for line in ecg.warnings(flags))


def test_short_recordings_and_few_leads_raise_errors_and_a_few_missing_samples_are_padded():
    with pytest.raises(UnreadableError, match=r"5\.0 s"):
        ecg.first_ten_seconds(EcgRecord(beats(60, seconds=5), 500))
    lonely = np.full((12, 5000), np.nan)
    lonely[1] = 0.1
    with pytest.raises(UnreadableError, match="II"):
        ecg.first_ten_seconds(EcgRecord(lonely, 500))
    nearly = ecg.first_ten_seconds(EcgRecord(beats(60)[:, :4990], 500))
    assert (nearly[:, 4990:] == nearly[:, 4989:4990]).all()


def test_gaps_are_interpolated_and_counted():
    holed = beats(60)
    holed[3, 100:150] = np.nan
    record = EcgRecord(holed, 500)
    mv = ecg.first_ten_seconds(record)
    assert np.isfinite(mv).all()
    assert quality(record, mv)["gaps"] == pytest.approx(50 / 60_000, abs=1e-6)


def test_quality_depends_only_on_the_ten_seconds_used():
    long = np.tile(beats(70), 3)
    later, early = long.copy(), long.copy()
    later[8, 6000:] = np.nan  # V3 is missing after twelve seconds
    early[8, :5600] = np.nan  # V3 is missing in the ten seconds used
    flags = [quality(record, ecg.first_ten_seconds(record)) for record in (EcgRecord(x, 500.0) for x in (later, early))]
    assert (flags[0]["gaps"], flags[0]["missing_leads"]) == (0, "")
    assert (flags[1]["gaps"], flags[1]["missing_leads"]) == (0, "V3")


def test_quality_flags_flat_clipped_and_swapped_leads():
    bad = beats(60)
    bad[8] = 0.3
    bad[9] = np.clip(3 * bad[9] + np.sin(np.arange(5000) / 300), -0.8, 0.8)
    bad[2] = -bad[2]
    record = EcgRecord(bad, 500)
    flags = quality(record, ecg.first_ten_seconds(record))
    assert flags["flat_leads"] == "V3"
    assert flags["clipped"] > 0.01
    assert flags["einthoven_uv"] > 100
    assert len(ecg.warnings(flags)) == 3
    fine = EcgRecord(beats(60), 500)
    assert ecg.warnings(quality(fine, ecg.first_ten_seconds(fine))) == []


def test_the_view_keeps_low_frequencies_and_removes_those_above_its_nyquist_frequency():
    time = np.arange(5000) / 500
    slow, fast = 1000 * np.sin(2 * np.pi * 5 * time), 1000 * np.sin(2 * np.pi * 90 * time)
    coarse = ecg.to_view(np.stack([slow, fast]).astype(np.int16), 100)
    assert coarse.shape == (2, 1000)
    assert coarse.dtype == np.int16
    np.testing.assert_allclose(coarse[0, 50:-50], slow[::5][50:-50], atol=10)
    assert np.abs(coarse[1, 50:-50]).max() < 50


def test_lead_scaling_maps_each_lead_to_its_own_range_and_a_flat_lead_to_zero():
    batch = torch.from_numpy(ecg.to_microvolts(np.stack([beats(60), beats(80)])))
    batch[1, 5] = 240
    scaled = ecg.scale(batch, ViewConfig())
    assert scaled.dtype == torch.float32
    assert not scaled[1, 5].any()
    live = torch.ones(2, 12, dtype=torch.bool)
    live[1, 5] = False
    np.testing.assert_allclose(scaled.amin(-1)[live], -1, atol=1e-6)
    np.testing.assert_allclose(scaled.amax(-1)[live], 1, atol=1e-6)


def test_fixed_scaling_preserves_voltage():
    batch = torch.tensor([-3000, -2000, 0, 500, 2000, 9000], dtype=torch.int16).view(1, 1, -1)
    scaled = ecg.scale(batch, ViewConfig(ecg_scaling="fixed"))
    assert scaled.flatten().tolist() == [-1, -1, 0, 0.25, 1, 1]


def run(batch: torch.Tensor, start=0, length=None, reverse=False, negate=False) -> torch.Tensor:
    n = len(batch)
    length = batch.shape[-1] if length is None else length
    return ecg.transform(
        batch, torch.full((n,), start), torch.full((n,), length), torch.full((n,), reverse), torch.full((n,), negate)
    )


def test_the_crop_keeps_samples_in_place_and_sets_others_to_zero():
    batch = torch.randn(3, 12, 200)
    out = run(batch, start=30, length=160)
    assert torch.equal(out[..., 30:190], batch[..., 30:190])
    assert not out[..., :30].any()
    assert not out[..., 190:].any()


def test_reversal_and_sign_flip_are_involutions_and_exact():
    batch = torch.randn(3, 12, 200)
    assert torch.equal(run(batch, reverse=True), batch.flip(-1))
    assert torch.equal(run(run(batch, reverse=True), reverse=True), batch)
    assert torch.equal(run(batch, negate=True), -batch)
    assert torch.equal(run(batch), batch)


def test_a_batch_is_transformed_like_its_single_samples():
    batch = torch.randn(4, 12, 100)
    given_ = [torch.tensor(v) for v in ([0, 10, 20, 5], [100, 80, 80, 95])]
    flags = [torch.tensor(v) for v in ([True, False, True, False], [False, False, True, True])]
    together = ecg.transform(batch, *given_, *flags)
    alone = [ecg.transform(batch[k : k + 1], *(v[k : k + 1] for v in (*given_, *flags))) for k in range(4)]
    assert torch.equal(together, torch.cat(alone))


def test_augment_respects_the_smallest_crop_and_is_determined_by_its_generator():
    config = AugmentConfig(ecg_crop_probability=1.0, ecg_reverse_probability=0.0, ecg_sign_probability=0.0)
    batch = torch.ones(500, 1, 1000)
    kept = ecg.augment(batch, config, draws(ecg, len(batch), 3))[:, 0]
    lengths = kept.sum(-1)
    assert lengths.min() >= 800
    assert lengths.min() < 820
    assert lengths.max() > 980
    starts = kept.argmax(-1)
    assert starts.min() == 0
    assert (starts + lengths).max() == 1000
    again = ecg.augment(batch, config, draws(ecg, len(batch), 3))[:, 0]
    assert torch.equal(kept, again)


def test_augment_without_probabilities_changes_nothing():
    off = AugmentConfig(ecg_crop_probability=0.0, ecg_reverse_probability=0.0, ecg_sign_probability=0.0)
    batch = torch.randn(5, 12, 100)
    assert torch.equal(ecg.augment(batch, off, draws(ecg, len(batch), 0)), batch)


def test_maxabs_scaling_keeps_zero_at_zero_and_multiplies_by_the_gain():
    batch = torch.tensor([[-200, 0, 50, 100], [0, 0, 0, 0], [10, 0, 30, 5]], dtype=torch.int16)[None]
    scaled = ecg.scale(batch, ViewConfig(ecg_scaling="maxabs", ecg_gain=5.0))
    expected = [[-5, 0, 1.25, 2.5], [0, 0, 0, 0], [5 / 3, 0, 5, 5 / 6]]
    np.testing.assert_allclose(scaled[0], expected, rtol=1e-6)
    for scaling in ("lead", "fixed"):
        one, five = (ecg.scale(batch, ViewConfig(ecg_scaling=scaling, ecg_gain=gain)) for gain in (1.0, 5.0))
        np.testing.assert_allclose(five, 5 * one, rtol=1e-6)


def test_leads_that_the_encoder_does_not_see_are_zero():
    batch = torch.randn(2, 12, 100)
    whole, two = (ecg.scale(batch, ViewConfig(ecg_leads=leads)) for leads in (LEADS, ("V2", "I")))
    seen = [LEADS.index("I"), LEADS.index("V2")]
    assert torch.equal(two[:, seen], whole[:, seen])
    assert not np.delete(two.numpy(), seen, axis=1).any()


def test_one_lead_is_kept_where_the_caller_accepts_it_and_nothing_is_computed_from_it():
    signal = np.full((12, 5000), np.nan)
    signal[0] = beats(60)[0]
    record = EcgRecord(signal, 500)
    mv = ecg.first_ten_seconds(record, fewest_limb_leads=0)
    np.testing.assert_array_equal(mv[0], signal[0])
    assert not mv[1:].any()
    flags = ecg.preprocess(record, mv)[2]
    assert ecg.missing_leads(flags) == ((), LEADS[1:])
    assert ecg.usable_leads(flags) == ("I",)
    assert flags["einthoven_uv"] == 0  # unknown, not a swap of leads
    assert ecg.warnings(flags) == [f"not in the file: {' '.join(LEADS[1:])} (zero in the models' input)"]


def test_computed_leads_are_usable_and_missing_or_flat_ones_are_not():
    signal = beats(60)
    signal[[2, 3, 4, 5, 7]] = np.nan
    signal[9] = 0.0
    flags = ecg.preprocess(EcgRecord(signal, 500))[2]
    assert ecg.missing_leads(flags) == (("III", "aVR", "aVL", "aVF"), ("V2",))
    assert ecg.usable_leads(flags) == tuple(lead for lead in LEADS if lead not in ("V2", "V4"))
