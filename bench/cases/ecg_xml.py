"""One ECG, from CardioSoft's XML to the stored twelve leads; reference: general libraries, as in a notebook."""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least, at_most

RECORDS = 2


def prepare(folder: Path) -> Pair:
    """Both return uV; they differ by at most 1 uV, the resolution of the store, where statsmodels has a trend."""
    import numpy as np

    from eccl_lib.config.load import load
    from eccl_lib.data import ecg
    from eccl_lib.data.synthetic import FIRST_EID, ukb_tree
    from eccl_lib.data.ukb import readers

    config = load("paper", overrides={"synthetic.slices": 1}).synthetic
    for index in range(RECORDS):
        ukb_tree.write_participant(config, index, folder)
    paths = [ukb_tree.ecg_path(folder, FIRST_EID + index) for index in range(RECORDS)]

    def same(ours, theirs):
        for one, other in zip(ours, theirs, strict=True):
            known = ~np.isnan(other)
            assert known.mean() > 0.85, "statsmodels returns NaN for more than half a beat at each end"
            assert np.abs(one[known] - other[known]).max() <= 1

    ours = lambda: [ecg.preprocess(readers.read_ecg(path))[0] for path in paths]  # noqa: E731
    return Pair(ours, lambda: [peer(path) for path in paths], same, RECORDS)


def peer(path: Path):
    """Parse with BeautifulSoup over lxml and ``int`` per sample; decompose each lead with statsmodels."""
    import numpy as np
    from bs4 import BeautifulSoup
    from statsmodels.tsa.seasonal import seasonal_decompose

    soup = BeautifulSoup(path.read_bytes(), "xml")
    resolution = float(soup.StripData.Resolution.text)
    rate = float(soup.RestingECGMeasurements.VentricularRate.text)
    leads = []
    for wave in soup.StripData.find_all("WaveformData"):
        signal = np.array([int(part) for part in wave.text.split(",")]) * resolution / 1000
        leads.append(signal - seasonal_decompose(signal, model="additive", period=int(30000 / rate)).trend)
    return np.rint(1000 * np.array(leads))


CASE = Case(
    "one ECG record, XML to stored leads",
    "BeautifulSoup(lxml), `seasonal_decompose` of each lead",
    prepare,
    (at_least("ratio", 10), at_most("seconds", 8e-3)),
    place=1,
)
