"""The embedded cohort's ECG and cine in other dialects of UK Biobank's files, with the same content."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

Member = tuple[str, bytes]  # name and content of a file in a zip


def _prolog(xml: bytes, declaration: str) -> str:
    return re.sub(r"^<\?xml[^>]*\?>", declaration, xml.decode("latin-1"), count=1)


def _waves(xml: bytes, change: Callable[[str, str], str]) -> bytes:
    """Apply ``change(lead, text)`` to each lead of the ten seconds, but not to the median beat."""
    head, strip = xml.decode("latin-1").split("<StripData>", 1)
    pattern = r'(<WaveformData lead="(\w+)">)(.*?)(</WaveformData>)'
    strip = re.sub(pattern, lambda m: m[1] + change(m[2], m[3]) + m[4], strip, flags=re.DOTALL)
    return f"{head}<StripData>{strip}".encode("latin-1")


def _strip(xml: bytes, old: str, new: str) -> bytes:
    """Replace a pattern only in the ten seconds."""
    head, strip = xml.decode("latin-1").split("<StripData>", 1)
    return f"{head}<StripData>{re.sub(old, new, strip, flags=re.DOTALL)}".encode("latin-1")


def _reversed_leads(xml: bytes) -> bytes:
    head, strip = xml.decode("latin-1").split("<StripData>", 1)
    leads = re.findall(r"<WaveformData.*?</WaveformData>\n", strip, flags=re.DOTALL)
    start, end = strip.split(leads[0])[0], strip.split(leads[-1])[-1]
    return f"{head}<StripData>{start}{''.join(reversed(leads))}{end}".encode("latin-1")


def _flowing(lead: str, text: str) -> str:
    return re.sub(r"\s+", "", text)


ECG_DIALECTS: dict[str, Callable[[bytes], bytes]] = {
    "as the device writes it": lambda xml: xml,
    "UTF-8 with byte order mark": lambda xml: _prolog(xml, '<?xml version="1.0" encoding="UTF-8"?>').encode(
        "utf-8-sig"
    ),
    "UTF-16": lambda xml: _prolog(xml, '<?xml version="1.0" encoding="UTF-16"?>').encode("utf-16"),
    "UTF-16 declared as Latin-1": lambda xml: xml.decode("latin-1").encode("utf-16"),
    "Latin-1 declared as UTF-8": lambda xml: _prolog(
        xml, '<?xml version="1.0" encoding="UTF-8"?><!-- 27\xb0 M\xfcller & S\xf6hne -->'
    ).encode("latin-1"),
    "no declaration, CRLF": lambda xml: _prolog(xml, "").lstrip().replace("\n", "\r\n").encode("latin-1"),
    "an unknown encoding, a bare ampersand, a bell": lambda xml: (
        _prolog(xml, '<?xml version="1.0" encoding="x-mac"?>')
        .replace("<PatientRoom>", "<PatientRoom>R & D \a")
        .encode("latin-1")
    ),
    "one line, blanks, commas at the end": lambda xml: _waves(
        xml, lambda lead, text: f"  {_flowing(lead, text).replace(',', ', ')},, "
    ),
    "blanks alone, decimals": lambda xml: _waves(
        xml, lambda lead, text: re.sub(r"(\d)(?=\s|$)", r"\1.0", _flowing(lead, text).replace(",", "\n"))
    ),
    "leads in capitals, backwards": lambda xml: _reversed_leads(
        _strip(xml, r'lead="(\w+)"', lambda m: f'lead=" {m[1].upper()} "')
    ),
    "no rate in the strip": lambda xml: _strip(xml, r"<SampleRate.*?</SampleRate>", ""),
    "no rate anywhere": lambda xml: re.sub(rb"<SampleRate.*?</SampleRate>", b"<SampleRate></SampleRate>", xml),
    "eleven leads": lambda xml: _strip(xml, r'<WaveformData lead="III">.*?</WaveformData>', ""),
    "without units, with a slow trace": lambda xml: re.sub(rb' units="\w+"', b"", xml).replace(
        b"</CardiologyXML>",
        b"<FullDisclosure><FullDisclosureData>1,2</FullDisclosureData></FullDisclosure></CardiologyXML>",
    ),
}


def _members(archive: bytes) -> list[Member]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [(name, opened.read(name)) for name in opened.namelist()]


def packed(members: Iterable[Member], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of the members, the same on every call."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression, compresslevel=1) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content, compression)
    return buffer.getvalue()


def images(archive: bytes) -> list[Member]:
    """The DICOM files of a zip."""
    return [(name, content) for name, content in _members(archive) if name.endswith(".dcm")]


def changed(content: bytes, syntax: str = "", **values) -> bytes:
    """A DICOM file with changed tags, and optionally in another transfer syntax (RLE or an uncompressed one)."""
    import pydicom
    from pydicom.uid import RLELossless

    dataset = pydicom.dcmread(io.BytesIO(content))
    for name, value in values.items():
        setattr(dataset, name, value)
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _each(archive: bytes, syntax: str = "", **values) -> list[Member]:
    return [(name, changed(content, syntax, **values)) for name, content in images(archive)]


def _shuffled(members: list[Member]) -> list[Member]:
    order = np.random.default_rng(0).permutation(len(members))
    return [members[k] for k in order]


def _manifest(archive: bytes) -> bytes:
    """The newer form of the manifest: dates without a comma, corrected header, no final line end."""
    old = next(content for name, content in _members(archive) if name == "manifest.cvs").decode()
    return old.replace("discription", "description").replace("Jan 1, 2000", "01-Jan-2000").rstrip().encode()


def _first_slice(archive: bytes, **values) -> list[Member]:
    """The first slice's files again, as a separate series."""
    found = images(archive)
    again = found[: len(found) // 3]
    return [(f"{values['SeriesInstanceUID']}/{name}", changed(content, **values)) for name, content in again]


def _implicit(archive: bytes) -> bytes:
    from pydicom.uid import ImplicitVRLittleEndian

    return packed(_each(archive, ImplicitVRLittleEndian))


def _run_length(archive: bytes) -> bytes:
    from pydicom.uid import RLELossless

    return packed(_each(archive, RLELossless))


CINE_DIALECTS: dict[str, Callable[[bytes], bytes]] = {
    "manifest.cvs": lambda archive: archive,
    "manifest.csv, stored": lambda a: packed([("manifest.csv", _manifest(a)), *images(a)], zipfile.ZIP_STORED),
    "no manifest, folders, names that say nothing": lambda a: packed(
        (f"a b/{k % 7}/IM{k:04d}", content) for k, (_, content) in enumerate(_shuffled(images(a)))
    ),
    "a broken manifest and a Mac's leavings": lambda a: packed(
        [("manifest.cvs", b"filename,\xff\0\n\n,,,"), ("__MACOSX/._1.dcm", b"x"), (".DS_Store", b"x"), *images(a)]
    ),
    "all slices in one series": lambda a: packed(
        _shuffled(_each(a, SeriesDescription="CINE_segmented_SAX", SeriesInstanceUID="1.2.3", SeriesNumber=7))
    ),
    "contours drawn in by the scanner": lambda a: packed(
        [
            *_first_slice(
                a, SeriesDescription="CINE_segmented_SAX_InlineVF", SeriesInstanceUID="1.2.4", SeriesNumber=90
            ),
            *images(a),
            *_first_slice(a, ImageType=["DERIVED", "SECONDARY"], SeriesInstanceUID="1.2.5", SeriesNumber=91),
        ]
    ),
    "long axis beside it": lambda a: packed(
        [*images(a), *_first_slice(a, SeriesDescription="CINE_segmented_LAX_2Ch", SeriesInstanceUID="1.2.6")]
    ),
    "a slice acquired twice": lambda a: packed(
        [*_first_slice(a, SeriesInstanceUID="1.2.7", SeriesNumber=2, PixelData=bytes(_size(a))), *images(a)]
    ),
    "a breath-hold given up": lambda a: packed(
        [*images(a), *_first_slice(a, SeriesInstanceUID="1.2.8", SeriesNumber=99, PixelData=bytes(_size(a)))[:20]]
    ),
    "a scout of another matrix under the same name": lambda a: packed(
        [*images(a), *_first_slice(a, SeriesInstanceUID="1.2.9", Rows=4, Columns=4, PixelData=bytes(32))[:9]]
    ),
    "no trigger times": lambda a: packed(_shuffled(_each(a, TriggerTime=None))),
    "implicit value representations": _implicit,
    "run-length compressed": _run_length,
}


def _size(archive: bytes) -> int:
    """Bytes of one image's pixels."""
    import pydicom

    return len(pydicom.dcmread(io.BytesIO(images(archive)[0][1])).PixelData)


PLATFORM = {"20205": "Electrocardiogram/Resting", "20209": "Heart MRI/Short axis"}
LAYOUTS: dict[str, Callable[[str, str, str], str]] = {  # of an eid, a field and a suffix
    "the platform's": lambda eid, field, end: f"Bulk/{PLATFORM[field]}/{eid[:2]}/{eid}_{field}_2_0{end}",
    "the platform's older": lambda eid, field, end: f"Bulk/{'ECG' if end == '.xml' else 'MRI'}/{eid}_{field}_2_0{end}",
    "ukbfetch, all in one": lambda eid, field, end: f"{eid}_{field}_2_0{end}",
    "a folder each": lambda eid, field, end: f"data/{eid}/visit 2/{eid}_{field}_2_0{end.upper()}",
}


def unpack(archive: bytes, folder: Path) -> Path:
    """Unpack a zip into a folder."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        opened.extractall(folder)
    return folder


def nifti(images: np.ndarray, mask: bytes, frame_ms: float) -> bytes:
    """ukbb_cardiac's sa.nii.gz of (S, F, H, W) pixels, with the geometry of its seg_sa.nii.gz."""
    import gzip

    import nibabel

    drawn = nibabel.Nifti1Image.from_bytes(gzip.decompress(mask))
    image = nibabel.Nifti1Image(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), drawn.affine)
    image.header["pixdim"][4] = frame_ms / 1000
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
