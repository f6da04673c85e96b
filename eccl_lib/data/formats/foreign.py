"""Recognise common files that are no cines by their first bytes, and say how to convert them."""

START = 512  # bytes that ``recognise`` needs

_LOGIN = "Log in to the site and download the file again; the server sent a web page instead of it."
_ORIGINAL = "Export the images themselves as DICOM or NIfTI; pictures and documents have no geometry."
_UNPACK = "Unpack it and give the folder or the NIfTI in it."
# What a file is, its cure, and its first bytes.
_SIGNATURES: list[tuple[str, str, tuple[bytes, ...]]] = [
    ("a PDF document", _ORIGINAL, (b"%PDF",)),
    ("a PNG picture", _ORIGINAL, (b"\x89PNG",)),
    ("a JPEG picture", _ORIGINAL, (b"\xff\xd8\xff",)),
    ("a GIF picture", _ORIGINAL, (b"GIF87a", b"GIF89a")),
    ("a TIFF picture", _ORIGINAL, (b"II*\0", b"MM\0*")),
    ("a film (AVI or WAV)", _ORIGINAL, (b"RIFF",)),
    ("an old Office document or database", _ORIGINAL, (b"\xd0\xcf\x11\xe0",)),
    ("a zip", _UNPACK, (b"PK\3\4", b"PK\5\6")),
    ("a gzip file", _UNPACK, (b"\x1f\x8b",)),
    ("a 7-Zip archive", _UNPACK, (b"7z\xbc\xaf\x27\x1c",)),
    ("a RAR archive", _UNPACK, (b"Rar!",)),
    ("a bzip2 file", _UNPACK, (b"BZh",)),
    ("an xz file", _UNPACK, (b"\xfd7zXZ\0",)),
    ("HDF5 (MATLAB 7.3, ISMRMRD)", "Convert it to a 4-D NIfTI (nibabel).", (b"\x89HDF",)),
    ("a MATLAB file", "Convert it to a 4-D NIfTI (nibabel).", (b"MATLAB 5.0",)),
    ("a NumPy array", "Convert it to a 4-D NIfTI (nibabel) with its geometry.", (b"\x93NUMPY",)),
    ("an NRRD image", "Convert it to a 4-D NIfTI (3D Slicer, SimpleITK).", (b"NRRD",)),
    ("a MetaImage header", "Convert it to a 4-D NIfTI (SimpleITK).", (b"ObjectType", b"NDims")),
    ("a Git LFS pointer", "Fetch the content: git lfs pull.", (b"version https://git-lfs",)),
]


def recognise(start: bytes) -> tuple[str, str] | None:
    """(what the file is, cure) from its first bytes; None if they are of no format in the list."""
    if not start.strip(b"\0"):
        return ("empty or all zeros", "Download or export the file again.")
    for what, cure, signatures in _SIGNATURES:
        if start.startswith(signatures):
            return what, cure
    if start[4:8] == b"ftyp":
        return "a film (MP4)", _ORIGINAL
    if start[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML)", _LOGIN
    if text.startswith(b"<"):
        return "an XML file", "Give a cine: 4-D NIfTI, or DICOM files in a folder or zip."
    return None
