"""Hostile ECG files; see ``hostile_files``."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from eccl_lib.config.schema import LEADS
from tests.data import field_files, muse_files
from tests.data.odd_inputs import plain_xml
from tests.reliability.hostile_files import READ, REFUSED, Case, ingest

ESC = "\x1b[2J\x1b]0;owned\x07\u202e"  # clears the screen, renames the window, reverses the line


@cache
def samples() -> np.ndarray:
    """(5000, 12) int16 uV: noise, so that no lead is flat."""
    return np.random.default_rng(0).integers(-900, 900, (5000, 12)).astype("<i2")


def text(name: str, content: Callable[[], bytes | str]) -> Callable[[Path], object]:
    """Writes one file."""

    def write(folder: Path) -> None:
        made = content()
        (folder / name).write_bytes(made.encode() if isinstance(made, str) else made)

    return write


def ecg(name: str) -> Callable[[Path], object]:
    """Reads one ECG of a folder."""
    return lambda folder: ingest("ecg", folder / name)


def case(what: str, name: str, content: Callable[[], bytes | str], outcome: str = REFUSED) -> Case:
    return Case("ECG", what, text(name, content), ecg(name), outcome)


# WFDB


def record(
    line: str = "a 12 500 5000", data: Callable[[], bytes] | None = None, channel: str = "16 1000/mV 16 0 0 0 0"
):
    """Writes a record: its record line, its data, and the fields of each channel."""

    def write(folder: Path) -> None:
        lines = [line, *(f"a.dat {channel} {lead}" for lead in LEADS)]
        (folder / "a.hea").write_text("\n".join(lines) + "\n")
        (folder / "a.dat").write_bytes(samples().tobytes() if data is None else data())

    return write


def wfdb(what: str, outcome: str = REFUSED, **options: object) -> Case:
    return Case("ECG", f"WFDB, {what}", record(**options), ecg("a.hea"), outcome)


def sparse(size: int, start: bytes = b"") -> Callable[[Path], object]:
    """Writes ``a.dat`` with a start and then zeros that take no disk."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(start)
            file.truncate(size)

    return write


def header(*lines: str) -> Case:
    return Case("ECG", f"WFDB, header {lines[0][:40]!r}", text("a.hea", lambda: "\n".join(lines[1:])), ecg("a.hea"))


def noise(megabytes: int) -> bytes:
    return samples().tobytes() * (megabytes * 2**20 // samples().nbytes)


def escape_by_name(folder: Path) -> None:
    (folder / "a.hea").write_text(
        "a 12 500 5000\n" + "\n".join(f"../../etc/passwd 16 1000 16 0 0 0 0 {x}" for x in LEADS)
    )


def linked_samples(folder: Path) -> None:
    record()(folder)
    (folder / "a.dat").unlink()
    (folder / "a.dat").symlink_to("/dev/zero")


def segments(folder: Path) -> None:
    """A multi-segment record that contains itself a thousand times."""
    (folder / "a.hea").write_text(f"a/1000 12 500 {5 * 10**6}\n" + "a 5000\n" * 1000)


def twelve(fields: str) -> str:
    return "\n".join(f"a.dat {fields} {lead}" for lead in LEADS)


WFDB = [
    wfdb("24 MB without a length", READ, line="a 12 500", data=lambda: noise(24)),
    wfdb("120 MB without a length, 50 kHz", line="a 12 50000", data=lambda: noise(120)),
    wfdb("a rate of 1e308", line="a 12 1" + "0" * 308 + " 5000"),
    wfdb("a rate of 1e-300", line="a 12 0." + "0" * 299 + "1 5000"),
    wfdb("zero samples", line="a 12 500 0", data=lambda: b""),
    wfdb("10^18 samples stated", line="a 12 500 1000000000000000000"),
    wfdb("a skew of 10^9 samples", channel="16:1000000000 1000/mV 16 0 0 0 0"),
    wfdb("10^9 samples per frame", channel="16x1000000000 1000/mV 16 0 0 0 0"),
    wfdb("an offset of 10^18 bytes", channel="16+1000000000000000000 1000/mV 16 0 0 0 0"),
    wfdb("a gain of 1e-300", channel="16 1e-300/mV 16 0 0 0 0"),
    wfdb("a compressed format of random bytes", channel="516 1000/mV 16 0 0 0 0"),
    wfdb("10^9 channels", line="a 1000000000 500 5000"),
    Case("ECG", "WFDB, 60 MB header", text("a.hea", lambda: b"a 12 500 5000\n" + b"#\n" * (30 * 2**20)), ecg("a.hea")),
    Case(
        "ECG",
        "WFDB, header of 300,000 channels",
        text("a.hea", lambda: "a 300000 500\n" + "a.dat 16\n" * 100_000),
        ecg("a.hea"),
    ),
    Case("ECG", "WFDB, samples in ../../etc/passwd", escape_by_name, ecg("a.hea")),
    Case("ECG", "WFDB, samples in /dev/zero", linked_samples, ecg("a.hea")),
    Case("ECG", "WFDB, a record that contains itself", segments, ecg("a.hea")),
]


# XML


def xml(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: change(plain_xml())


def before_strip(added: bytes) -> Callable[[], bytes]:
    return xml(lambda content: content.replace(b"<StripData>", added + b"<StripData>", 1))


def strip_value(name: str, value: str) -> Callable[[], bytes]:
    def change(content: bytes) -> bytes:
        head, strip = content.split(b"<StripData>", 1)
        start, end = strip.index(f"<{name}".encode()), strip.index(f"</{name}>".encode())
        return head + b"<StripData>" + strip[:start] + f"<{name}>{value}".encode() + strip[end:]

    return xml(change)


def lead_of(count: int) -> Callable[[], bytes]:
    """XML in which lead II alone has ``count`` samples."""
    return lambda: (
        b"<CardiologyXML><StripData><SampleRate>500</SampleRate><Resolution>5</Resolution>"
        b'<WaveformData lead="II">' + b"1," * count + b"1</WaveformData></StripData></CardiologyXML>"
    )


def bomb() -> bytes:
    entities = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 12))
    return (
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "lol">{entities}]><CardiologyXML>&e11;</CardiologyXML>'.encode()
    )


def muse(**options: object) -> Callable[[Path], object]:
    counts = {name: samples()[:, k] for k, name in enumerate(muse_files.RECORDED)}
    return lambda folder: muse_files.write(folder / "a.xml", counts, **options)


def long_muse(folder: Path) -> None:
    payload = base64.b64encode(bytes(5 * 2**20)).decode()
    muse_files.write(folder / "a.xml", {"I": samples()[:, 0], "II": samples()[:, 1]}, WaveFormData=payload)


def aecg(**options: str) -> Callable[[Path], object]:
    names = [f"MDC_ECG_LEAD_{lead.upper()}" for lead in LEADS]
    return lambda folder: field_files.write_aecg(
        folder / "a.xml", field_files.sequence_set(names, samples().T, **options)
    )


def many_sets(folder: Path) -> None:
    one = field_files.sequence_set(["MDC_ECG_LEAD_I"], np.ones((1, 1)))
    field_files.write_aecg(folder / "a.xml", *[one] * 12_000)


START = b"<CardiologyXML>"
XML = [
    case("XML of 465 MB", "a.xml", lambda: START + b"<A/>" * (465 * 2**18)),
    case("XML of 8 MB in one text", "a.xml", lead_of(4 * 2**20 - 200)),
    case(
        "XML of 8 MB of attributes",
        "a.xml",
        lambda: b"<CardiologyXML><A " + b" ".join(b'b%d=""' % k for k in range(650_000)) + b"/></CardiologyXML>",
    ),
    case(
        "XML of 8 MB of attributes on many tags",
        "a.xml",
        lambda: START + b'<A b="1" c="2" d="3" e="4" f="5" g="6" h="7" i="8"/>' * 140_000 + b"</CardiologyXML>",
    ),
    case("XML with a name of 8 MB", "a.xml", lambda: b"<" + b"a" * (8 * 2**20 - 9) + b"/>"),
    case("XML nested 149,000 deep", "a.xml", before_strip(b"<A>" * 149_000)),
    case("XML of comments", "a.xml", lambda: START + b"<!---->" * 149_000),
    case("XML, entity bomb", "a.xml", bomb),
    case("XML, entity bomb in UTF-16", "a.xml", lambda: bomb().decode().encode("utf-16")),
    case(
        "XML, external entity",
        "a.xml",
        lambda: b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///dev/zero">]><CardiologyXML>&e;</CardiologyXML>',
    ),
    case(
        "XML, document type of 8 MB", "a.xml", lambda: b"<!DOCTYPE " + b"x" * (8 * 2**20 - 99) + b" ><CardiologyXML/>"
    ),
    case("XML, open quotes before the root", "a.xml", lambda: b"<!DOCTYPE a SYSTEM '" * 50_000 + START),
    case("XML, rate 1e308", "a.xml", strip_value("SampleRate", "1e308")),
    case("XML, rate 1e-300", "a.xml", strip_value("SampleRate", "1e-300")),
    case("XML, zero samples", "a.xml", lambda: lead_of(0)().replace(b">1</W", b"></W")),
    case("XML, root with escape sequences", "a.xml", lambda: f"<{'a' * 5}é/>\n<!--{ESC}-->"),
    Case("ECG", "MUSE, rate 500e999999", muse(rate=(500, 999_999)), ecg("a.xml")),
    Case("ECG", "MUSE, rate 500e-300", muse(rate=(500, -300)), ecg("a.xml")),
    Case("ECG", "MUSE, 1e308 units per bit", muse(per_bit=1e5), ecg("a.xml")),
    Case("ECG", "MUSE, 5 MB in one lead", long_muse, ecg("a.xml")),
    Case("ECG", "MUSE, 99,999 samples stated", muse(LeadSampleCountTotal="99999"), ecg("a.xml")),
    Case("ECG", "aECG, a step of 1e-308 s", aecg(increment="1e-308"), ecg("a.xml")),
    Case("ECG", "aECG, a step of 1e308 s", aecg(increment="1e308"), ecg("a.xml")),
    Case("ECG", "aECG, 12,000 sequence sets", many_sets, ecg("a.xml")),
    Case(
        "ECG",
        "aECG, lead name with escapes",
        lambda folder: field_files.write_aecg(
            folder / "a.xml", field_files.sequence_set(["X\u202e\u009b2J", "Y\u2028"], samples().T[:2])
        ),
        ecg("a.xml"),
    ),
]

CASES = [*WFDB, *XML]
