"""Tell DICOM objects that are no single greyscale images from images: reports, colour captures, multi-frame objects."""

from collections.abc import Mapping
from functools import lru_cache

ENHANCED = "enhanced (multi-frame) objects"
SINGLE_FRAME = "Convert it to single-frame files (dcm4che's emf2sf), or to a 4-D NIfTI (dcm2niix)."
NOT_A_CINE = "Give the folder or zip of a short-axis cine."

DIRECTORY = "1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR
STORAGE = "1.2.840.10008.5.1.4.1.1."
# SOP classes below STORAGE and modalities of objects without pixels, or without pixels of a scanner.
CLASSES = {
    "88.59": "key object notes",
    "88.": "structured reports",
    "11.": "presentation states",
    "104.": "documents",
    "9.": "waveforms",
    "66.4": "segmentations",
    "66": "raw data",
    "4.2": "spectra",
    "7": "secondary captures",
}
MODALITIES = {
    "SR": "structured reports",
    "KO": "key object notes",
    "PR": "presentation states",
    "DOC": "documents",
    "ECG": "waveforms",
    "HD": "waveforms",
    "SEG": "segmentations",
    "REG": "registrations",
    "RAW": "raw data",
}


def not_an_image(values: Mapping[str, object]) -> tuple[str, str, str] | None:
    """(kind, reason, cure) if an object is not a single greyscale image, else None. values: by name of the tag."""
    if kind := _kind(*(values.get(name) for name in ("SOPClassUID", "MediaStorageSOPClassUID", "Modality"))):
        return kind, f"the DICOM file is no image of a scanner, but one of {kind}", NOT_A_CINE
    if (frames := int(values.get("NumberOfFrames") or 1)) != 1:
        reason = f"the DICOM file has {frames} frames (enhanced); only single-frame files are read"
        return ENHANCED, reason, SINGLE_FRAME
    reason = "the DICOM file is not a single-frame greyscale image of 8 or 16 bits"
    if int(values.get("SamplesPerPixel") or 1) != 1:
        return "colour images", reason, NOT_A_CINE
    if values.get("Rows") and int(values.get("BitsAllocated") or 0) not in (8, 16):
        return "images of other than 8 or 16 bits", reason, NOT_A_CINE
    return None


def text(value: object) -> str:
    """A value of a tag as text; "" if it is missing. Values of uncompressed files may be bytes."""
    if isinstance(value, bytes):
        value = value.rstrip(b"\0 ").decode("latin-1")
    return str(value or "").strip()


@lru_cache(maxsize=256)
def _kind(sop_class: object, file_class: object, modality: object) -> str:
    """Plural noun for an object that is no scanner's image, by its SOP class and modality; "" for images."""
    stored = text(sop_class) or text(file_class)
    if stored == DIRECTORY:
        return "DICOM directories"
    if kind := MODALITIES.get(text(modality)):
        return kind
    number = stored.removeprefix(STORAGE) if stored.startswith(STORAGE) else ""
    for start, kind in CLASSES.items():
        if number and (number == start or number.startswith(start.rstrip(".") + ".")):
            return kind
    return ""
