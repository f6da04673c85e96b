"""Unusual ECG files; see ``odd_inputs``."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eccl_lib.config.schema import LEADS
from tests.data.file_dialects import ECG_DIALECTS
from tests.data.odd_inputs import KEPT, QUARANTINED, Case, plain_xml, read_ecg

HEAD, STRIP = b"<StripData>", b"</StripData>"


def strip(old: str, new: str | Callable, count: int = 0) -> Callable[[bytes], bytes]:
    """Replace a pattern within the ten seconds."""

    def change(xml: bytes) -> bytes:
        before, after = xml.decode("latin-1").split("<StripData>", 1)
        return f"{before}<StripData>{re.sub(old, new, after, count=count, flags=re.DOTALL)}".encode("latin-1")

    return change


def lead(name: str, change: Callable[[np.ndarray], np.ndarray | list]) -> Callable[[bytes], bytes]:
    """Change a lead's counts; name may be a pattern."""

    def write(match: re.Match) -> str:
        counts = np.array([int(x) for x in re.findall(r"-?\d+", match[2])])
        return match[1] + ",".join(map(str, np.asarray(change(counts), dtype=object))) + match[3]

    return strip(rf'(<WaveformData lead="(?:{name})">)(.*?)(</WaveformData>)', write)


def without(*names: str) -> Callable[[bytes], bytes]:
    return strip(rf'<WaveformData lead="(?:{"|".join(names)})">.*?</WaveformData>', "")


def at_rate(rate: float, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    def resampled(xml: bytes) -> bytes:
        return strip(r"(<SampleRate[^>]*>)\d+", rf"\g<1>{rate:g}")(lead(".*?", change)(xml))

    return resampled


def everywhere(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda xml: re.sub(old, new, xml, flags=re.DOTALL)


def with_dtd(declaration: bytes) -> Callable[[bytes], bytes]:
    def declared(xml: bytes) -> bytes:
        xml = xml.replace(b"<CardiologyXML>", declaration + b"<CardiologyXML>", 1)
        return xml.replace(b"<PatientRoom>", b"<PatientRoom>&b;")

    return declared


def measured(name: str, value: str) -> Callable[[bytes], bytes]:
    return everywhere(rf"(<{name}[^>]*>)[^<]*".encode(), rf"\g<1>{value}".encode())


def clip(counts: np.ndarray) -> np.ndarray:
    return np.clip(counts, *np.quantile(counts, [0.15, 0.85]).astype(int))


def lose(share: float) -> Callable[[np.ndarray], list]:
    """Replace a share of the counts by empty tokens."""
    step = round(1 / share)
    return lambda counts: ["" if k % step == step // 2 else int(c) for k, c in enumerate(counts)]


WANDER = (1200 * np.sin(np.arange(5000) / 400)).astype(int)
NO_RATE = everywhere(rb"<(SampleRate|VentricularRate|RRInterval)[^>]*>[^<]*", rb"<\1>")
OUTSIDE = b'<!DOCTYPE b [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
BOMB = b'<!DOCTYPE b [<!ENTITY a "1,2"><!ENTITY b "&a;&a;">]>'

SURVIVED = [
    ("one empty token where a sample was lost", lead("V2", lose(1 / 5000)), "0.00% of the samples|interpolated"),
    ("a lead with a twentieth of its samples lost", lead("V2", lose(0.05)), "interpolated"),
    ("one lead of 4999 samples", lead("V5", lambda c: c[:-1]), "V5 has 4999"),
    ("all leads of 4999 samples", lead(".*?", lambda c: c[:-1]), ""),
    ("all leads of 5001 samples", lead(".*?", lambda c: [*c, 0]), ""),
    ("250 Hz, 2500 samples", at_rate(250, lambda c: c[::2]), ""),
    ("1000 Hz, 10000 samples", at_rate(1000, lambda c: np.repeat(c, 2)), ""),
    ("240 Hz, 2400 samples", at_rate(240, lambda c: c[np.arange(2400) * 5000 // 2400]), ""),
    ("thirty seconds", lead(".*?", lambda c: np.tile(c, 3)), ""),
    ("no heart rate and no RR interval", everywhere(rb"<(VentricularRate|RRInterval)[^>]*>[^<]*", rb"<\1>"), ""),
    ("a heart rate of 0", measured("VentricularRate", "0"), ""),
    ("a heart rate of ?", measured("VentricularRate", "?"), ""),
    ("a heart rate of 700", measured("VentricularRate", "700"), ""),
    ("a heart rate of -60", measured("VentricularRate", "-60"), ""),
    ("every measurement empty", everywhere(rb"<(\w+ units=\"(?:ms|BPM|degrees)\")>[^<]*", rb"<\1>"), ""),
    ("no measurements at all", everywhere(rb"<RestingECGMeasurements>.*?</RestingECGMeasurements>", b""), ""),
    ("a pacemaker", measured("PaceMaker", "yes"), "pacemaker"),
    ("V1 all zero", lead("V1", lambda c: 0 * c), "flat.*V1"),
    ("V2 and V3 stuck at one value", lead("V[23]", lambda c: 0 * c + 321), "flat.*V2 V3"),
    ("leads cut at the amplifier's limit", lead("V[1-6]", clip), "saturated"),
    ("a baseline that wanders by 12 mV", lead("V4", lambda c: c + WANDER), "baseline"),
    ("arms swapped in lead I alone", lead("I", lambda c: -c), "swapped"),
    ("aVR missing", without("aVR"), "not in the file: aVR"),
    ("lead I missing", without("I"), "not in the file: I "),
    ("III, aVR, aVL and aVF missing", without("III", "aVR", "aVL", "aVF"), "III aVR aVL aVF"),
    ("V3 missing", without("V3"), "not in the file: V3"),
    ("no chest lead", without("V[1-6]"), "V1 V2 V3 V4 V5 V6"),
    ("leads I and II alone", without("[aV].*?", "III"), "III aVR"),
    ("V6 empty", lead("V6", lambda c: []), "V6"),
    ("lead II twice", everywhere(b"</StripData>", b'<WaveformData lead="II">7,7</WaveformData></StripData>'), "twice"),
    ("a lead named X", everywhere(b"</StripData>", b'<WaveformData lead="X">7,7</WaveformData></StripData>'), "'X'"),
    ("a lead without a name", everywhere(b"</StripData>", b"<WaveformData>7,7</WaveformData></StripData>"), "''"),
    ("4.88 uV per count", strip(r"(<Resolution[^>]*>)5", r"\g<1>4.88"), "4.88"),
    ("a second StripData, empty", everywhere(b"</StripData>", b"</StripData><StripData></StripData>"), ""),
    ("no median beat", everywhere(b"<MedianSamples>.*?</MedianSamples>", b""), ""),
    ("a hundred thousand empty elements", everywhere(b"<StripData>", b"<A/>" * 100_000 + b"<StripData>"), ""),
]  # fmt: skip
DROPPED = [
    ("empty", lambda x: b"", "empty"),
    ("only blanks", lambda x: b" \n\t", "damaged"),
    ("cut at half", lambda x: x[: len(x) // 2], "truncated"),
    ("without its last tag", lambda x: x[:-20], "truncated"),
    ("random bytes", lambda x: np.random.default_rng(0).bytes(9000), "damaged"),
    ("a gzip under its name", lambda x: gzip.compress(x, mtime=0), "damaged"),
    ("a login page in HTML", lambda x: b"<html><body>Please log in</body></html>", "html"),
    ("JSON", lambda x: b'{"error": "not found"}', "damaged"),
    ("GE MUSE's XML", everywhere(b"CardiologyXML", b"RestingECG"), "RestingECG"),
    ("GE MUSE's document type", with_dtd(b'<!DOCTYPE RestingECG SYSTEM "restecg.dtd">'), "document type"),
    ("an entity bomb", with_dtd(BOMB), "document type"),
    ("an entity with a file URL", with_dtd(OUTSIDE), "document type"),
    ("an exercise ECG by its strips", everywhere(b"<StripData>", b"<StripData><Strip/>"), "exercise"),
    ("an exercise ECG by its protocol", everywhere(b"<StripData>", b"<Protocol/><StripData>"), "exercise"),
    ("no StripData", everywhere(b"StripData>", b"Strip>"), "no StripData"),
    ("FullDisclosure alone", everywhere(b"StripData>", b"FullDisclosure>"), "FullDisclosure"),
    ("no Resolution", strip("<Resolution.*?</Resolution>", ""), "Resolution"),
    ("Resolution 0", strip(r"(<Resolution[^>]*>)5", r"\g<1>0"), "Resolution"),
    ("Resolution -5", strip(r"(<Resolution[^>]*>)5", r"\g<1>-5"), "Resolution"),
    ("Resolution five", strip(r"(<Resolution[^>]*>)5", r"\g<1>five"), "Resolution"),
    ("Resolution 5000", strip(r"(<Resolution[^>]*>)5", r"\g<1>5000"), "Resolution of 5000"),
    ("no rate and 4000 samples", lambda x: lead(".*?", lambda c: c[:4000])(NO_RATE(x)), "no SampleRate for its 4000"),
    ("10 Hz", strip(r"(<SampleRate[^>]*>)\d+", r"\g<1>10"), "10.0 Hz"),
    ("a billion Hz", strip(r"(<SampleRate[^>]*>)\d+", r"\g<1>1e9"), "not plausible"),
    ("five seconds", lead(".*?", lambda c: c[:2500]), "5.0 s"),
    ("one sample", lead(".*?", lambda c: c[:1]), "0.0 s"),
    ("no WaveformData", without(".*?"), "no WaveformData"),
    ("every lead empty", lead(".*?", lambda c: []), "no WaveformData"),
    ("every lead without its name", strip(' lead="[^"]*"', ""), "no WaveformData"),
    ("lead I alone", without(*LEADS[1:]), "only limb leads are: I"),
    ("chest leads alone", without(*LEADS[:6]), "none"),
    ("every lead flat", lead(".*?", lambda c: 0 * c), "all leads are flat"),
    ("a lead that ends after half", lead("V2", lambda c: c[:2500]), "a fifth"),
    ("a lead with every second token empty", lead("V2", lose(0.5)), "a fifth"),
    ("a word among the counts", lead("V2", lambda c: [*c[:-1], "abc"]), "not a number"),
    ("a count with two signs", lead("V2", lambda c: [*c[:-1], "--2"]), "not a number"),
    ("NaN among the counts", lead("V2", lambda c: [*c[:-1], "nan"]), "not a number"),
    ("an accent among the counts", lead("V2", lambda c: [*c[:-1], "\xe9"]), "not digits"),
    ("counts beyond 16 bits", lead("V2", lambda c: [*c[:-1], 99999]), "16 bits"),
    ("a count of four hundred digits", lead("V2", lambda c: [*c[:-1], "9" * 400]), "not a number"),
    ("9 MB", lambda x: x + b" " * 9 * 2**20, "MB"),
    ("two hundred thousand nested elements", everywhere(b"<StripData>", b"<A>" * 200_000 + b"<StripData>"), "tags"),
]  # fmt: skip


def case(what: str, change: Callable[[bytes], bytes], outcome: str, says: str) -> Case:
    return Case("ECG", what, lambda folder: read_ecg(change(plain_xml()), folder), outcome, says)


def read_absent(folder: Path) -> str:
    from eccl_lib.data.ukb import readers

    return str(readers.read_ecg(folder / "gone.xml"))


def read_folder(folder: Path) -> str:
    from eccl_lib.data.ukb import readers

    return str(readers.read_ecg(folder))


CASES = [
    *(case(f"dialect: {name}", change, KEPT, "") for name, change in ECG_DIALECTS.items()),
    *(case(what, change, KEPT, says) for what, change, says in SURVIVED),
    *(case(what, change, QUARANTINED, says) for what, change, says in DROPPED),
    Case("ECG", "a file that was deleted after it was listed", read_absent, QUARANTINED, "does not exist"),
    Case("ECG", "a folder with the name of a file", read_folder, QUARANTINED, "a folder, not a file"),
]
