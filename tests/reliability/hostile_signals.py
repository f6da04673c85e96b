"""Hostile ECGs in tables, arrays, EDF and DICOM, and paths that are no files; see ``hostile_files``."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eccl_lib.config.schema import LEADS
from eccl_lib.data.ukb import readers
from tests.data import field_files
from tests.reliability.hostile_ecg import ESC, case, ecg, samples
from tests.reliability.hostile_files import READ, REFUSED, Case

# CSV and .npy


def table(head: str, row: str, megabytes: float) -> Callable[[], bytes]:
    return lambda: head.encode() + row.encode() * int(megabytes * 2**20 / len(row))


NAMES, ROW = ",".join(LEADS), ",".join(f"0.{k:03d}" for k in range(12))


def rows() -> str:
    return "\n".join(",".join(f"{x / 1000:.3f}" for x in row) for row in samples())


CSV = [
    case("CSV of 63 MB", "a.csv", lambda: table(f"# rate=500\n{NAMES}\n", rows() + "\n", 63)(), READ),
    case("CSV of 900 MB", "a.csv", table(f"# rate=500\n{NAMES}\n", ROW + "\n", 900)),
    case("CSV of a million columns", "a.csv", lambda: f"# rate=500\n{NAMES}" + ",x" * 10**6 + "\n" + "0," * 10**6),
    case("CSV of one line of 60 MB", "a.csv", table("# rate=500\nI,II,", "1", 60)),
    case("CSV of 30 million empty lines", "a.csv", table("", "\n", 30)),
    case("CSV of comments", "a.csv", table("", "# rate=500 a=b c=d\n", 15)),
    case("CSV of one comment of 15 MB", "a.csv", table("# ", "a=1 ", 15)),
    case("CSV of one quote that never ends", "a.csv", table(f'# rate=500\n{NAMES}\n"', "1,2,3\n", 15)),
    case("CSV, rate 1e308", "a.csv", lambda: f"# rate=1e308\n{NAMES}\n{rows()}"),
    case("CSV, rate 1e-300", "a.csv", lambda: f"# rate=1e-300\n{NAMES}\n{rows()}"),
    case("CSV, rate nan", "a.csv", lambda: f"# rate=nan\n{NAMES}\n{rows()}"),
    case("CSV, times of 1e308", "a.csv", lambda: f"time,{NAMES}\n" + "\n".join(f"1e308,{ROW}" for _ in range(6000))),
    case(
        "CSV, numbers of 100,000 digits",
        "a.csv",
        lambda: f"# rate=500\n{NAMES}\n" + ("9" * 100_000 + f",{ROW[6:]}\n") * 100,
    ),
    case("CSV, escape sequences as names", "a.csv", lambda: f"# rate=500\n{ESC},{ESC}b\r\x0b,I\n{rows()}"),
    case("CSV, escape sequences in a cell", "a.csv", lambda: f"# rate=500\n{NAMES}\n{ESC},{ROW[6:]}\n{rows()}"),
    case("CSV in UTF-16, odd", "a.csv", lambda: b"\xff\xfe" + b"\x00\xd8" * 10**6 + b"\n"),
]


def npy(shape: str, descr: str = "<f8", rate: float | str = 500, data: bytes = b"", size: int = 0, unit: str = "mV"):
    """Writes an array with any header, and its sidecar."""

    def write(folder: Path) -> None:
        head = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        with (folder / "a.npy").open("wb") as file:
            file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)
            if size:
                file.truncate(size)
        (folder / "a.json").write_text(f'{{"rate": {rate}, "leads": {json.dumps(LEADS)}, "unit": "{unit}"}}')

    return write


def sidecar(content: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        np.save(folder / "a.npy", samples().T)
        (folder / "a.json").write_text(content)

    return write


def pickled(folder: Path) -> None:
    class Opens:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {folder}/owned",)

    np.save(folder / "a.npy", np.array([Opens()], dtype=object), allow_pickle=True)
    (folder / "a.json").write_text(f'{{"rate": 500, "leads": {json.dumps(LEADS)}}}')


def packed(folder: Path) -> None:
    np.savez(folder / "a.npz", np.array([{}], dtype=object))


ARRAYS = [
    Case("ECG", f"npy, {what}", write, ecg("a.npy"), outcome)
    for what, write, outcome in (
        ("a declared shape of 2^62", npy("(12, 4611686018427387904)"), REFUSED),
        ("a declared shape of 10^30", npy(f"(12, {10**30})"), REFUSED),
        ("a negative shape", npy("(12, -1)", data=bytes(960)), REFUSED),
        ("a shape of 60,000 axes", npy("(" + "1," * 30_000 + ")"), REFUSED),
        ("nested brackets as a shape", npy("(" * 5000 + ")" * 5000), REFUSED),
        ("pickled objects", pickled, REFUSED),
        ("a void type of 2 GB", npy("(12, 1)", "V2000000000"), REFUSED),
        (
            "60 MB of int8 at 20 kHz",
            npy(f"(12, {5 * 2**20})", "|i1", 20_000, samples().tobytes(), 60 * 2**20 + 200, "uV"),
            REFUSED,
        ),
        ("a terabyte without a disk", npy(f"(12, {10**11})", "|i1", 500, b"", 2**40), REFUSED),
        ("a rate of 1e308", npy("(12, 5000)", rate="1e308", data=bytes(480_000)), REFUSED),
        ("a rate of 1e-300", npy("(12, 5000)", rate="1e-300", data=bytes(480_000)), REFUSED),
        ("no samples", npy("(12, 0)"), REFUSED),
        ("a sidecar nested 60,000 deep", sidecar("[" * 60_000), REFUSED),
        (
            "a sidecar with an integer of 60,000 digits",
            sidecar('{"rate": ' + "9" * 60_000 + ', "leads": ["I"]}'),
            REFUSED,
        ),
        ("a sidecar with escapes", sidecar('{"rate": 500, "leads": ["I", "II"], "unit": "\\u001b[2J"}'), REFUSED),
    )
] + [Case("ECG", "npz with pickled objects", packed, ecg("a.npz"))]


# EDF and DICOM waveforms


def edf(change: Callable[[bytearray], object], size: int = 0) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        field_files.write_edf(folder / "a.edf", samples().T / 1000)
        content = bytearray((folder / "a.edf").read_bytes())
        change(content)
        (folder / "a.edf").write_bytes(content)
        if size:
            os.truncate(folder / "a.edf", size)

    return write


def put(at: int, value: str, width: int = 8, times: int = 1) -> Callable[[bytearray], object]:
    """Overwrites a field of an EDF header."""

    def change(content: bytearray) -> None:
        content[at : at + width * times] = value.ljust(width).encode() * times

    return change


def waveform(**options: object) -> Callable[[Path], object]:
    """Writes a DICOM ECG with options of its group."""

    def write(folder: Path) -> None:
        group = field_files.group(LEADS, samples().T, 0, options.pop("rate", 500))
        for name, value in options.items():
            setattr(group, name, value)
        field_files.write_dicom(folder / "a.dcm", group)

    return write


def appended(part: bytes, count: int) -> Callable[[Path], object]:
    """Writes a DICOM ECG whose waveform follows after many small elements."""

    def write(folder: Path) -> None:
        waveform()(folder)
        content = (folder / "a.dcm").read_bytes()
        at = content.index(b"\x00\x54\x00\x01SQ")  # the waveform sequence
        (folder / "a.dcm").write_bytes(content[:at] + part * count + content[at:])

    return write


def private(count: int) -> bytes:
    return b"".join(
        struct.pack("<HH2sH", 0x0011 + 2 * (k >> 16), k & 0xFFFF, b"UN"[:0] or b"LO", 0) for k in range(count)
    )


ITEM = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
NEST = b"\x09\x00\x01\x00SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
SIGNALS = [
    Case("ECG", what, write, ecg("a.edf"))
    for what, write in (
        ("EDF, 99,999,999 records", edf(put(236, "99999999"))),
        ("EDF, -1 records, zero data", edf(put(236, "-1"), 256 * 13)),
        ("EDF, records of 1e300 s", edf(put(244, "1e300"))),
        ("EDF, records of 1e-300 s", edf(put(244, "1e-300"))),
        ("EDF, records of 0 s", edf(put(244, "0"))),
        ("EDF, 9999 signals", edf(put(252, "9999", 4))),
        ("EDF, 9999 signals in a terabyte", edf(put(252, "9999", 4), 2**40)),
        ("EDF, 99,999,999 samples in a record", edf(put(256 + 12 * 216, "99999999", 8, 12))),
        ("EDF, the same in a terabyte", edf(put(256 + 12 * 216, "99999999", 8, 12), 2**40)),
        ("EDF, samples of every lead at another rate", edf(put(256 + 12 * 216, "1"))),
        ("EDF, escape sequences as names", edf(put(256, "\x1b[2J\x07", 16, 12))),
        ("EDF, a physical range of nothing", edf(put(256 + 12 * 104, "0", 8, 24))),
    )
] + [
    Case("ECG", what, write, ecg("a.dcm"))
    for what, write in (
        ("DICOM ECG, 4,294,967,295 samples stated", waveform(NumberOfWaveformSamples=2**32 - 1)),
        ("DICOM ECG, rate 1e308", waveform(rate="1e308")),
        ("DICOM ECG, rate 1e-300", waveform(rate="1e-300")),
        ("DICOM ECG, no samples", waveform(NumberOfWaveformSamples=0)),
        ("DICOM ECG, 60 MB of small elements", appended(private(2**16), 120)),
        ("DICOM ECG, 15 MB of items", appended(b"\x09\x00\x01\x00SQ\x00\x00\xff\xff\xff\xff" + ITEM * (2 * 2**20), 1)),
        ("DICOM ECG, 3 MB of items", appended(b"\x09\x00\x01\x00SQ\x00\x00\xff\xff\xff\xff" + ITEM * 390_000, 1)),
        ("DICOM ECG, nested 100,000 deep", appended(NEST, 100_000)),
    )
]

SIGNALS.append(Case("ECG", "DICOM ECG, 4 MB of small elements", appended(private(2**16), 7), ecg("a.dcm")))


# Not files


def fifo(name: str) -> Callable[[Path], object]:
    return lambda folder: os.mkfifo(folder / name)


def listening(name: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        os.chdir(folder)  # the path of a socket has at most 108 bytes
        socket.socket(socket.AF_UNIX).bind(name)

    return write


def link(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(target)


def ukb(folder: Path) -> object:
    return readers.read_ecg(folder / "a.xml")


NO_FILES = [
    *(
        Case("ECG", f"a pipe named {name}", fifo(name), ecg(name))
        for name in ("a.xml", "a.hea", "a.edf", "a.dcm", "a.csv", "a.npy")
    ),
    Case("ECG", "a pipe, as UK Biobank's XML", fifo("a.xml"), ukb),
    Case("ECG", "a socket", listening("a.xml"), ecg("a.xml")),
    Case("ECG", "a link to /dev/zero", link("a.xml", "/dev/zero"), ecg("a.xml")),
    Case("ECG", "a link to /dev/zero as CSV", link("a.csv", "/dev/zero"), ecg("a.csv")),
    Case("ECG", "a link to itself", link("a.xml", "a.xml"), ecg("a.xml")),
    Case("ECG", "a link to itself, WFDB", link("a.hea", "a.hea"), ecg("a.hea")),
    Case("ECG", "a folder with the name of a file", lambda folder: (folder / "a.dcm").mkdir(), ecg("a.dcm")),
    Case("ECG", "an endless file of the kernel", link("a.xml", "/proc/kmsg"), ecg("a.xml")),
]

CASES = [*CSV, *ARRAYS, *SIGNALS, *NO_FILES]
