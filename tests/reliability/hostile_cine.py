"""Hostile cines, masks and zips; see ``hostile_files``."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from eccl_lib.data.ukb import readers
from tests.data.file_dialects import changed, images, nifti, packed
from tests.data.odd_inputs import plain_cine, plain_mask, plain_zip
from tests.reliability.hostile_ecg import ESC
from tests.reliability.hostile_files import READ, REFUSED, Case, ingest


def text(name: str, content: Callable[[], bytes]) -> Callable[[Path], object]:
    """Writes one file."""
    return lambda folder: (folder / name).write_bytes(content())


def cine(name: str) -> Callable[[Path], object]:
    """Reads one cine of a folder."""
    return lambda folder: ingest("cine", folder / name)


def archive(what: str, content: Callable[[], bytes], outcome: str = REFUSED) -> Case:
    return Case("zip", what, text("a.zip", content), cine("a.zip"), outcome)


# Zips


def zeros(count: int, method: int) -> bytes:
    """``count`` MB of zeros, packed by a method of zip."""
    if method == zipfile.ZIP_BZIP2:
        return bz2.compress(bytes(count * 2**20), 9)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    once = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return once + again * (count - 1) + packer.flush()


def member(name: bytes, data: bytes, method: int, size: int, crc: int = 0, packed_size: int | None = None):
    """Local entry and directory entry (without its offset) of a file in a zip, with any stated sizes."""
    stated = len(data) if packed_size is None else packed_size
    fields = struct.pack("<5H3L2H", 20, 0, method, 0, 33, crc, stated, size, len(name), 0)
    return b"PK\x03\x04" + fields + name + data, (name, fields)


def joined(*members: tuple[bytes, tuple[bytes, bytes]], count: int | None = None) -> bytes:
    """A zip of members, with any stated count."""
    body, directory = b"", b""
    for local, (name, fields) in members:
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<3H2L", 0, 0, 0, 0, len(body)) + name
        body += local
    number = len(members) if count is None else count
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, number, number, len(directory), len(body), 0)


def lies(method: int, stated: int, megabytes: int) -> Callable[[], bytes]:
    """A zip whose members hold more than they state."""
    return lambda: joined(*[member(b"%d.dcm" % k, zeros(megabytes, method), method, stated) for k in range(3)])


def lzma_dictionary() -> bytes:
    """An LZMA member whose header asks for a dictionary of 4 GB."""
    data = b"\x09\x04\x05\x00" + b"\x5d\xff\xff\xff\xff" + bytes(1000)
    return joined(*[member(b"%d.dcm" % k, data, zipfile.ZIP_LZMA, 1000) for k in range(3)])


def million(count: int = 10**6) -> bytes:
    entry = b"PK\x01\x02" + struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    size = len(entry) * count
    return entry * count + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65_535, 65_535, size, 0, 0)


def million_64() -> bytes:
    """As ``million``, with the size and the count in the directory of a large zip (zip64)."""
    content = million()[:-22]
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 10**6, 10**6, len(content), 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(content), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65_535, 65_535, 2**32 - 1, 2**32 - 1, 0)
    return content + record + locator + end


def overlapping() -> bytes:
    """5000 names for one file of 60 MB."""
    local, (_, fields) = member(b"000000.dcm", zeros(60, zipfile.ZIP_DEFLATED), zipfile.ZIP_DEFLATED, 60 * 2**20)
    entries = b"".join(
        b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<3H2L", 0, 0, 0, 0, 0) + b"%06d.dcm" % k
        for k in range(5000)
    )
    return local + entries + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 5000, 5000, len(entries), len(local), 0)


def with_files(*names: str, link: bool = False) -> Callable[[], bytes]:
    """The plain zip with further files of these names."""

    def make() -> bytes:
        buffer = io.BytesIO(plain_zip())
        with zipfile.ZipFile(buffer, "a") as opened:
            for name in names:
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o120777 << 16 if link else 0
                opened.writestr(info, "/etc/passwd")
        return buffer.getvalue()

    return make


def nested(depth: int) -> bytes:
    content = plain_zip()
    for _ in range(depth):
        content = packed([("a.zip", content)], zipfile.ZIP_STORED)
    return content


def encrypted() -> bytes:
    content = bytearray(plain_zip())
    at = content.rindex(b"PK\x01\x02")
    content[at + 8] |= 1
    return bytes(content)


ZIPS = [
    archive("bzip2 members of 400 MB that state 1 KB", lies(zipfile.ZIP_BZIP2, 1000, 400)),
    archive("bzip2 members of 400 MB that state 2 MB", lies(zipfile.ZIP_BZIP2, 2**20, 400)),
    archive("deflated members of 1 GB that state 1 KB", lies(zipfile.ZIP_DEFLATED, 1000, 1000)),
    archive("deflated members of 1 GB", lies(zipfile.ZIP_DEFLATED, 1000 * 2**20, 1000)),
    archive("an LZMA dictionary of 4 GB", lzma_dictionary),
    archive("a million entries", million),
    archive("a million entries, zip64", million_64),
    archive(
        "40,000 entries that state to be 3",
        lambda: million(40_000)[:-14] + struct.pack("<2H", 3, 3) + million(40_000)[-10:],
    ),
    archive("5,000 names for one file of 60 MB", overlapping),
    archive(
        "members that state 4 GB of packed bytes", lambda: joined(member(b"a.dcm", bytes(500), 0, 500, 0, 2**32 - 2))
    ),
    archive("600 MB", lambda: plain_zip() + bytes(600 * 2**20)),
    archive("a path to /etc", with_files("/etc/passwd.dcm")),
    archive("a path out of the folder", with_files("../../../a.dcm")),
    archive("a path out of the folder, Windows", with_files("..\\..\\a.dcm", "C:\\a.dcm")),
    archive("a symbolic link", with_files("a.dcm", link=True)),
    archive("a file without a name", lambda: joined(member(b"", b"x" * 500, 0, 500))),
    archive("encrypted", encrypted),
    archive("zips in zips", lambda: nested(50)),
    archive("names of escape sequences alone", lambda: packed([(f"{ESC}\n{k}.dcm", b"x" * 999) for k in range(9)])),
    archive("cut at half", lambda: plain_zip()[: len(plain_zip()) // 2]),
    archive("the end record alone", lambda: plain_zip()[-22:]),
    Case("zip", "a pipe", lambda folder: os.mkfifo(folder / "a.zip"), cine("a.zip")),
    Case(
        "zip",
        "a pipe, as UK Biobank's",
        lambda folder: os.mkfifo(folder / "a.zip"),
        lambda f: readers.read_cine(f / "a.zip"),
    ),
    Case("zip", "a link to /dev/zero", lambda folder: (folder / "a.zip").symlink_to("/dev/zero"), cine("a.zip")),
]


# DICOM images


@cache
def image() -> bytes:
    return images(plain_zip())[17][1]


def stack(change: Callable[[bytes], bytes], method: int = zipfile.ZIP_DEFLATED) -> Callable[[], bytes]:
    """A zip of 39 images, each changed."""
    return lambda: packed([(name, change(content)) for name, content in images(plain_zip())], method)


def with_tags(syntax: str = "", **values: object) -> Callable[[], bytes]:
    return stack(lambda content: changed(content, syntax, **values))


def huge_image(content: bytes) -> bytes:
    """A 2048 x 2048 image of 16 bits, with noise in one line so that it packs as an image does."""
    pixels = np.zeros((2048, 2048), "<u2")
    pixels[:40] = np.random.default_rng(0).integers(0, 999, (40, 2048))
    return changed(content, Rows=2048, Columns=2048, PixelData=pixels.tobytes())


def long_header(content: bytes, part: bytes, count: int) -> bytes:
    """An image with ``count`` times ``part`` after its file meta group."""
    at = content.index(b"\x08\x00\x08\x00CS")
    return content[:at] + part * count + content[at:]


TINY = b"\x08\x00\x01\x00LO\x00\x00"  # an empty element, 8 bytes
IMPLICIT = "1.2.840.10008.1.2"
SERIES = [
    archive("DICOM, 65,535 rows and columns", with_tags(Rows=65_535, Columns=65_535)),
    archive("DICOM, 2,147,483,647 frames", with_tags(NumberOfFrames=2**31 - 1)),
    archive("DICOM, -1 frames", with_tags(NumberOfFrames=-1)),
    archive("DICOM, 0 rows", with_tags(Rows=0)),
    archive("DICOM, 64 bits", with_tags(BitsAllocated=64)),
    archive("DICOM, spacing 1e308", with_tags(PixelSpacing=["1e308", "1e308"])),
    archive("DICOM, spacing 1e-300", with_tags(PixelSpacing=["1e-300", "1e-300"])),
    archive("DICOM, slope 1e308", with_tags(RescaleSlope="1e308", RescaleIntercept="0")),
    archive("DICOM, RLE of random bytes", stack(lambda c: changed(c, "1.2.840.10008.1.2.5")[:-40] + os.urandom(40))),
    archive(
        "DICOM, JPEG without a decoder",
        stack(lambda c: c.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.4.50")),
    ),
    archive("DICOM, deflated", stack(lambda c: c.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99"))),
    archive("DICOM, 39 images of 8 MB", stack(huge_image)),
    archive(
        "DICOM, a header of 60 MB",
        lambda: packed([(f"{k}.dcm", long_header(image(), TINY, 7_500_000)) for k in range(3)], 0),
    ),
    archive(
        "DICOM, implicit, a header of 60 MB",
        lambda: packed(
            [
                (
                    f"{k}.dcm",
                    long_header(
                        changed(image(), IMPLICIT).replace(b"\x08\x00\x08\x00", b"\x08\x00\x08\x00CS", 1),
                        b"\x09\x00\x01\x00\0\0\0\0",
                        7_500_000,
                    ),
                )
                for k in range(2)
            ],
            0,
        ),
    ),
    archive(
        "DICOM, sequences nested 100,000 deep",
        lambda: packed(
            [
                (
                    f"{k}.dcm",
                    long_header(
                        image(), b"\x09\x00\x01\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff", 100_000
                    ),
                )
                for k in range(3)
            ]
        ),
    ),
    archive("DICOM, a series named by escape sequences", with_tags(SeriesDescription=f"{ESC}scout")),
]


def many_files(folder: Path) -> None:
    (folder / "a").mkdir()
    for k in range(50_002):
        (folder / "a" / f"{k}.dcm").touch()


def with_others(folder: Path) -> None:
    """Images with a pipe, a loop of links and a device among them."""
    (folder / "a").mkdir()
    (folder / "a" / "loop").symlink_to(folder / "a")
    (folder / "a" / "0.dcm").symlink_to("/dev/zero")
    os.mkfifo(folder / "a" / "1.dcm")
    os.mkfifo(folder / "a" / "2")


FOLDERS = [
    Case("folder", "50,002 empty files", many_files, cine("a")),
    Case("folder", "a pipe, a device and a loop of links", with_others, cine("a")),
    Case("folder", "empty", lambda folder: (folder / "a").mkdir(), cine("a")),
]


# NIfTI


@cache
def volume() -> bytes:
    return gzip.decompress(nifti(plain_cine().images, plain_mask(), 80.0))


def put(content: bytes, at: int, kind: str, *values: float) -> bytes:
    """A NIfTI with other numbers at an offset of its header."""
    part = struct.pack(f"<{len(values)}{kind}", *values)
    return content[:at] + part + content[at + len(part) :]


def shaped(*shape: int, kind: int = 4) -> bytes:
    """The header for a shape of int16 (kind 4), uint8 (2) or float64 (64)."""
    bits = {2: 8, 4: 16, 64: 64}[kind]
    header = put(volume()[:352], 40, "h", len(shape), *shape, *[1] * (7 - len(shape)))
    return put(put(header, 70, "h", kind, bits), 76 + 16, "f", 0.05)


def blown(header: bytes, megabytes: int) -> bytes:
    """A gzip file with a header and then zeros."""
    block = gzip.compress(bytes(2**20), 9, mtime=0)
    return gzip.compress(header, mtime=0) + block * megabytes


def sparse(name: str, header: Callable[[], bytes], size: int) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(header())
        os.truncate(folder / name, size)

    return write


def volumes(what: str, content: Callable[[], bytes], name: str = "a.nii.gz", outcome: str = REFUSED) -> Case:
    return Case("NIfTI", what, text(name, content), cine(name), outcome)


def masked(what: str, content: Callable[[], bytes]) -> Case:
    def write(folder: Path) -> None:
        (folder / "a.zip").write_bytes(plain_zip())
        (folder / "seg.nii.gz").write_bytes(content())

    return Case("mask", what, write, lambda f: ingest("cine", f / "a.zip", segmentation=f / "seg.nii.gz"))


NIFTIS = [
    volumes("1 GB unpacked", lambda: blown(shaped(1024, 1024, 10, 50), 1000)),
    volumes("400 MB unpacked", lambda: blown(shaped(512, 512, 15, 50), 376)),
    volumes(
        "400 MB unpacked, a small cine stated", lambda: gzip.compress(volume()[:-9000]) + blown(b"", 400), outcome=READ
    ),
    volumes("a shape of 32,767 x 32,767", lambda: blown(shaped(32_767, 32_767, 32_767, 32_767), 1)),
    volumes("a negative shape", lambda: gzip.compress(shaped(-64, 64, 3, 13))),
    volumes("seven axes", lambda: gzip.compress(shaped(64, 64, 3, 13, 9, 9, 9))),
    volumes("data at 1e308 bytes", lambda: gzip.compress(put(volume(), 108, "f", 3e38))),
    volumes("data at a negative offset", lambda: gzip.compress(put(volume(), 108, "f", -352))),
    volumes("data at NaN", lambda: gzip.compress(put(volume(), 108, "f", float("nan")))),
    volumes("a slope of 1e38", lambda: gzip.compress(put(volume(), 112, "f", 3e38, 3e38))),
    volumes("pixels of 1e38 mm", lambda: gzip.compress(put(volume(), 280, "f", *[1e38] * 12))),
    volumes("pixels of 1e-38 mm", lambda: gzip.compress(put(volume(), 280, "f", *[1e-38] * 12))),
    volumes(
        "extensions of 2 GB", lambda: gzip.compress(put(volume(), 348, "i", 1, 2**31 - 16) + bytes(99)), outcome=READ
    ),
    volumes("a gzip of 1 GB of zeros", lambda: blown(b"", 1000)),
    volumes("a gzip of gzips", lambda: gzip.compress(gzip.compress(volume()))),
    Case(
        "NIfTI", "a terabyte without a disk", sparse("a.nii", lambda: shaped(2048, 2048, 2, 13), 2**40), cine("a.nii")
    ),
    Case(
        "NIfTI",
        "a terabyte as gzip",
        sparse("a.nii.gz", lambda: blown(shaped(64, 64, 3, 13), 0), 2**40),
        cine("a.nii.gz"),
    ),
    Case("NIfTI", "a pipe", lambda folder: os.mkfifo(folder / "a.nii"), cine("a.nii")),
    Case("NIfTI", "a link to /dev/zero", lambda folder: (folder / "a.nii").symlink_to("/dev/zero"), cine("a.nii")),
    masked("1 GB unpacked", lambda: blown(shaped(1024, 1024, 10, 50), 1000)),
    masked("250 MB unpacked of uint8", lambda: blown(shaped(512, 512, 20, 50, kind=2), 250)),
    masked("250 MB unpacked of float64", lambda: blown(shaped(128, 128, 20, 100, kind=64), 250)),
    masked("a pixel of 1e38 mm", lambda: gzip.compress(put(gzip.decompress(plain_mask()), 280, "f", *[1e38] * 12))),
    Case(
        "mask",
        "a pipe",
        lambda f: (f / "a.zip").write_bytes(plain_zip()) and os.mkfifo(f / "seg.nii.gz"),
        lambda f: ingest("cine", f / "a.zip", segmentation=f / "seg.nii.gz"),
    ),
]

CASES = [*ZIPS, *SERIES, *FOLDERS, *NIFTIS]
