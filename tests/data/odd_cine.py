"""Unusual zips of cines; see ``odd_inputs``."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pydicom

from eccl_lib.data.ukb import readers
from tests.data.file_dialects import CINE_DIALECTS, Member, changed, images, packed
from tests.data.odd_inputs import EID, KEPT, QUARANTINED, Case, plain_cine, plain_mask, plain_zip, read_cine

FRAMES = 13
DIALECTS = CINE_DIALECTS.items()
Change = Callable[[list[Member]], list[Member]]


@cache
def members() -> tuple[Member, ...]:
    """The three slices' files, slice by slice, frame by frame."""
    return tuple(images(plain_zip()))


def tags(syntax: str = "", where: Callable[[int, int], bool] = lambda s, f: True, **values) -> Change:
    """Change tags in the files of some slices and frames; a value may be a function of slice and frame."""

    def change(files: list[Member]) -> list[Member]:
        out = []
        for k, (name, content) in enumerate(files):
            s, f = divmod(k, FRAMES)
            given = {tag: value(s, f) if callable(value) else value for tag, value in values.items()}
            out.append((name, changed(content, syntax, **given)) if where(s, f) else (name, content))
        return out

    return change


def without(where: Callable[[int, int], bool]) -> Change:
    return lambda files: [member for k, member in enumerate(files) if not where(*divmod(k, FRAMES))]


def also(name: str, content: bytes) -> Change:
    return lambda files: [*files, (name, content)]


def broken(where: Callable[[int, int], bool], keep: int = -100) -> Change:
    """Truncate files."""
    return lambda files: [(n, c[:keep] if where(*divmod(k, FRAMES)) else c) for k, (n, c) in enumerate(files)]


def place(s: int, f: int, jump: tuple[float, ...] = (0, 0, 0)) -> list[str]:
    """Position of a file, moved along the stack by ``jump[s]`` mm."""
    image = pydicom.dcmread(io.BytesIO(members()[s * FRAMES + f][1]), stop_before_pixels=True)
    normal = np.cross(image.ImageOrientationPatient[:3], image.ImageOrientationPatient[3:])
    moved = np.array(image.ImagePositionPatient, float) - jump[s] * normal
    return [f"{x:.4f}" for x in moved]


def twice(files: list[Member]) -> list[Member]:
    """Twice the frames in one slice: each again, half a frame later, in the same series."""
    later = tags(
        where=lambda s, f: s == 1, TriggerTime=lambda s, f: f"{80 * f + 40}.0", InstanceNumber=lambda s, f: 100 + f
    )
    return [*files, *((f"late/{n}", c) for n, c in later(files)[FRAMES : 2 * FRAMES])]


def big_endian(files: list[Member]) -> list[Member]:
    out = []
    for k, (name, content) in enumerate(files):
        dataset = pydicom.Dataset()
        dataset.update(pydicom.dcmread(io.BytesIO(content)))
        dataset.PixelData = plain_cine().images[divmod(k, FRAMES)].astype(">u2").tobytes()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        target = io.BytesIO()
        dataset.save_as(target, enforce_file_format=True)
        out.append((name, target.getvalue()))
    return out


def jpeg(files: list[Member]) -> list[Member]:
    out = []
    for name, content in files:
        dataset = pydicom.dcmread(io.BytesIO(content))
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        target = io.BytesIO()
        dataset.save_as(target, enforce_file_format=True)
        out.append((name, target.getvalue()))
    return out


def rates(s: int, f: int) -> str:
    return f"{(80 + 9 * s) * f}.0"


def low(s: int, f: int) -> str:
    return f" cine_segmented_sax_b{3 - s} "


def jitter(s: int, f: int) -> list[str]:
    return place(s, f, (0.1 * (f % 2),) * 3)


def small(where: Callable[[int, int], bool]) -> Change:
    return tags(where=where, Rows=36, Columns=34, PixelData=bytes(2 * 36 * 34))


def eight_bits(s: int, f: int) -> bytes:
    return (plain_cine().images[s, f] // 4).clip(0, 255).astype(np.uint8).tobytes()


SIZE = plain_cine().images[0, 0].size
FIRST, MIDDLE = (lambda s, f: s == 0), (lambda s, f: s == 1)
ONE = lambda s, f: (s, f) == (1, 6)  # noqa: E731
SURVIVED: list[tuple[str, Change, str]] = [
    ("one frame missing", without(ONE), "12 frames, the others 13"),
    ("the first frame of each slice missing in one", without(lambda s, f: (s, f) == (1, 0)), "12 frames"),
    ("the last three frames missing", without(lambda s, f: s == 1 and f > 9), "10 frames"),
    ("a slice of three frames", without(lambda s, f: s == 0 and f > 2), "less than half of the frames"),
    ("twice the frames in one slice", twice, "26 frames, the others 13"),
    ("one truncated image", broken(ONE), "1 damaged images"),
    ("one image of nothing but a preamble", broken(ONE, 132), "1 damaged images"),
    ("the basal slice missing", without(FIRST), ""),
    ("only one slice", without(lambda s, f: s != 1), ""),
    ("a gap between slices", tags(ImagePositionPatient=lambda s, f: place(s, f, (0, 0, 20))), "one may be missing"),
    ("positions that jitter by a tenth of a millimetre", tags(ImagePositionPatient=jitter), ""),
    ("another matrix in one slice", small(FIRST), "another size"),
    ("another matrix in one image", small(ONE), "another size"),
    ("another orientation in one slice", tags(where=FIRST, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]), "orientation"),
    ("another pixel spacing in one slice", tags(where=FIRST, PixelSpacing=["1.2", "1.2"]), "another size"),
    ("all images marked as derived", tags(ImageType=["DERIVED", "PRIMARY", "M"]), ""),
    (
        "series names in lower case with blanks",
        tags(SeriesDescription=low),
        "",
    ),
    ("no series names", tags(SeriesDescription=""), "no image has a series description"),
    ("no series ids", tags(SeriesInstanceUID=""), ""),
    ("no instance numbers", tags(InstanceNumber=None), ""),
    ("neither trigger times nor instance numbers", tags(TriggerTime=None, InstanceNumber=None), ""),
    ("trigger times from -100 ms on", tags(TriggerTime=lambda s, f: f"{80 * f - 100}.0"), ""),
    ("trigger times in only one slice", tags(where=lambda s, f: s != 1, TriggerTime=None), ""),
    ("another heart rate in each slice", tags(TriggerTime=rates, NominalInterval=None), ""),
    ("no nominal interval", tags(NominalInterval=None), ""),
    ("rescaled values", tags(RescaleSlope="2", RescaleIntercept="-7"), ""),
    ("8-bit pixels", tags(BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=eight_bits), ""),
    ("big-endian", big_endian, ""),
    ("a text file beside the images", also("readme", b"hello"), "not DICOM"),
    (
        "a manifest with missing files",
        also("manifest.csv", b"filename,x\na.dcm,1\nb.dcm,1\n"),
        "2 files of",
    ),
    ("a zip within the zip", also("a.zip", packed([("x", b"y")])), "not DICOM"),
]
DROPPED: list[tuple[str, Change, str]] = [
    ("no images", lambda files: [("manifest.cvs", b"filename,x")], "no DICOM image"),
    ("an empty zip", lambda files: [], "no DICOM image"),
    ("only the long axis", tags(SeriesDescription="CINE_segmented_LAX_4Ch"), "no series named"),
    ("only images with contours", tags(SeriesDescription="CINE_segmented_SAX_InlineVF"), "no series named"),
    ("one frame in each slice", without(lambda s, f: f > 0), "1 frames"),
    ("a third of the images truncated", broken(lambda s, f: f % 3 == 0), "truncated"),
    ("all images of nothing but a preamble", broken(lambda s, f: True, 132), "no pixels|damaged"),
    ("colour images", tags(SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=bytes(6 * SIZE)), "grey"),
    ("many frames in a file", tags(NumberOfFrames=2, PixelData=bytes(4 * SIZE)), "2 frames.*only single-frame"),
    ("32 bits", tags(BitsAllocated=32, BitsStored=32, HighBit=31, PixelData=bytes(4 * SIZE)), "8 or 16 bits"),
    ("60,000 rows", tags(Rows=60000), "60000 x"),
    ("no rows", tags(Rows=None), "0 x"),
    ("no position", tags(ImagePositionPatient=None), "ImagePositionPatient"),
    ("a position of two numbers", tags(ImagePositionPatient=["1", "2"]), "ImagePositionPatient"),
    ("no orientation", tags(ImageOrientationPatient=None), "ImageOrientationPatient"),
    ("an orientation of zeros", tags(ImageOrientationPatient=["0"] * 6), "orientation"),
    ("pixels of no size", tags(PixelSpacing=["0", "0"]), "not positive"),
    ("pixels of negative size", tags(PixelSpacing=["-1", "1"]), "not positive"),
    ("images of constant brightness", tags(PixelData=bytes(2 * SIZE)), "constant brightness"),
    ("JPEG without a decoder, or damaged", jpeg, "decoded"),
    ("deflated", tags("1.2.840.10008.1.2.1.99"), "deflated"),
    ("a path outside the archive", also("../x.dcm", b"x"), "outside"),
    ("an absolute path", also("/etc/x.dcm", b"x"), "outside"),
    ("sixty megabytes of zeros", also("x.dcm", bytes(60 * 2**20)), "unpack"),
    ("six thousand files", lambda files: [(f"{k}.dcm", b"x") for k in range(6000)], "6000 files"),
]


def link(files: list[Member]) -> bytes:
    content = io.BytesIO(packed(files))
    entry = zipfile.ZipInfo("link.dcm")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    return content.getvalue()


def encrypted(archive: bytes) -> bytes:
    """Set the encryption flag of all entries."""
    data = bytearray(archive)
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        k = data.find(mark)
        while k >= 0:
            data[k + at] |= 1
            k = data.find(mark, k + 4)
    return bytes(data)


ZIPS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("an empty file", lambda z: b"", "empty"),
    ("a cut zip", lambda z: z[: len(z) // 2], "damaged"),
    ("random bytes", lambda z: np.random.default_rng(0).bytes(5000), "damaged"),
    ("a web page", lambda z: b"<html>Please log in</html>", "damaged"),
    ("an encrypted zip", encrypted, "encrypted"),
    ("a link in the zip", lambda z: link(images(z)), "link"),
    ("bytes changed all over", lambda z: bytes(b ^ 0x55 if k % 997 == 500 else b for k, b in enumerate(z)), "damaged"),
]


def read_unpacked(folder: Path, leave: int) -> str:
    inside = folder / f"{EID}_20209_2_0"
    inside.mkdir()
    for name, content in members()[:leave]:
        (inside / name).write_bytes(content)
    (inside / "notes.txt").write_text("x")
    (folder / "seg_sa.nii.gz").write_bytes(plain_mask())
    return "; ".join(readers.read_cine(inside, folder / "seg_sa.nii.gz", "middle").notes)


def zipped(change: Change) -> Callable[[Path], str]:
    return lambda folder: read_cine(packed(change(list(members()))), folder)


CASES = [
    *(Case("cine", f"dialect: {n}", lambda d, c=c: read_cine(c(plain_zip()), d), KEPT) for n, c in DIALECTS),
    *(Case("cine", what, zipped(change), KEPT, says) for what, change, says in SURVIVED),
    *(Case("cine", what, zipped(change), QUARANTINED, says) for what, change, says in DROPPED),
    *(Case("cine", n, lambda d, c=c: read_cine(c(plain_zip()), d), QUARANTINED, says) for n, c, says in ZIPS),
    Case("cine", "an unpacked folder", lambda d: read_unpacked(d, 39), KEPT),
    Case("cine", "an unpacked folder without images", lambda d: read_unpacked(d, 0), QUARANTINED, "no DICOM image"),
]
