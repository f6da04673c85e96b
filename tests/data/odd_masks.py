"""Unusual masks and converted stacks; see ``odd_inputs``."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np

from eccl_lib.data import cmr
from eccl_lib.data.ukb import readers
from tests.data.file_dialects import nifti
from tests.data.odd_inputs import DEMO, KEPT, QUARANTINED, Case, plain_cine, plain_mask, plain_zip, read_cine

Change = Callable[[np.ndarray], np.ndarray]


def mask(change: Change, move: np.ndarray | None = None, affine_value: float | None = None) -> bytes:
    """The mask (S, F, H, W) changed, its affine moved or overwritten."""
    drawn = nibabel.Nifti1Image.from_bytes(gzip.decompress(plain_mask()))
    volume = change(np.asarray(drawn.dataobj).transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
    affine = drawn.affine if move is None else drawn.affine @ move
    return gzip.compress(with_affine(nibabel.Nifti1Image(np.ascontiguousarray(volume), affine), affine_value), mtime=0)


def along(axis: int, voxels: float) -> np.ndarray:
    move = np.eye(4)
    move[axis, 3] = voxels
    return move


TURNED = np.diag([-1.0, -1, 1, 1]) @ along(0, -67) @ along(1, -71)
TURN = np.radians(10)
TILTED = np.eye(4)
TILTED[:2, :2] = [[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]


def speck(labels: np.ndarray) -> np.ndarray:
    out = labels.copy()
    out[:, :, 0, 0] = 1
    return out


def rv_alone(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == 3, 3, 0).astype(np.uint8)


MASKS: list[tuple[str, Callable[[], bytes], str, str]] = [
    ("whole numbers as floats", lambda: mask(lambda m: m.astype(np.float32)), KEPT, ""),
    ("a frame more than the cine", lambda: mask(lambda m: np.concatenate([m, m[:, :1]], axis=1)), KEPT, ""),
    ("turned by 180 degrees with its geometry", lambda: mask(lambda m: m[:, :, ::-1, ::-1], TURNED), KEPT, ""),
    ("specks outside the heart", lambda: mask(speck), KEPT, ""),
    ("random bytes", lambda: np.random.default_rng(0).bytes(900), QUARANTINED, "NIfTI"),
    ("a cut file", lambda: plain_mask()[:-200], QUARANTINED, "NIfTI"),
    ("an empty mask", lambda: mask(lambda m: 0 * m), QUARANTINED, "no left ventricle"),
    ("only the right ventricle", lambda: mask(rv_alone), QUARANTINED, "no left ventricle"),
    ("a label 4", lambda: mask(lambda m: (m + 1).astype(np.uint8)), QUARANTINED, "outside 0 to 3"),
    ("a label -1", lambda: mask(lambda m: m.astype(np.int16) - 1), QUARANTINED, "outside 0 to 3"),
    ("interpolated", lambda: mask(lambda m: (0.5 * m).astype(np.float32)), QUARANTINED, "interpolated"),
    ("half of the frames", lambda: mask(lambda m: m[:, ::2]), QUARANTINED, "7 frames, the cine 13"),
    ("half a slice off", lambda: mask(lambda m: m, along(2, 0.5)), QUARANTINED, "does not overlap"),
    ("a metre away", lambda: mask(lambda m: m, along(0, 600)), QUARANTINED, "does not overlap"),
    (
        "twice the pixel size",
        lambda: mask(lambda m: m, np.diag([2.0, 2, 1, 1])),
        QUARANTINED,
        "geometry of the segmentation differs",
    ),
    ("tilted", lambda: mask(lambda m: m, TILTED), QUARANTINED, "geometry of the segmentation differs"),
    ("a geometry of zeros", lambda: mask(lambda m: m, affine_value=0.0), QUARANTINED, "geometry"),
]


def read_nifti(change: Change, folder: Path, affine: float | None = None) -> str:
    """Read the stack as NIfTI with changed voxels, and optionally all numbers of its affine overwritten."""
    content = nifti(plain_cine().images, plain_mask(), 80.0)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    image = nibabel.Nifti1Image(change(np.asarray(image.dataobj)), image.affine)
    return read_cine(gzip.compress(with_affine(image, affine), mtime=0), folder, name="sa.nii.gz")


def with_affine(image: nibabel.Nifti1Image, affine: float | None) -> bytes:
    """A file with an affine that nibabel would not write: all numbers of srow_x, srow_y and srow_z are equal."""
    data = bytearray(image.to_bytes())
    if affine is not None:
        data[280:328] = np.full(12, affine, "<f4").tobytes()
    return bytes(data)


def read_pair(phases: tuple[str, ...], folder: Path) -> str:
    (folder / "a.zip").write_bytes(plain_zip())
    for phase, frame in (("ED", 0), ("ES", 4)):
        if phase in phases:
            (folder / f"seg_sa_{phase}.nii.gz").write_bytes(mask(lambda m, f=frame: m[:, f : f + 1]))
    record = readers.read_cine(folder / "a.zip", folder / "seg_sa_ED.nii.gz", "middle")
    assert cmr.crop(record, DEMO.store).shape == (224, 224, 50)
    return "; ".join(record.notes)


NIFTIS: list[tuple[str, Callable[[Path], str], str, str]] = [
    ("as ukbb_cardiac writes it", lambda d: read_nifti(lambda x: x, d), KEPT, ""),
    ("as floats", lambda d: read_nifti(lambda x: x.astype(np.float32), d), KEPT, ""),
    ("one frame", lambda d: read_nifti(lambda x: x[..., :1], d), QUARANTINED, "one frame"),
    ("five dimensions", lambda d: read_nifti(lambda x: x[..., None, None][..., [0, 0]], d), QUARANTINED, "shape"),
    ("complex values", lambda d: read_nifti(lambda x: x.astype(np.complex64), d), QUARANTINED, "grey"),
    ("a geometry of zeros", lambda d: read_nifti(lambda x: x, d, 0.0), QUARANTINED, "geometry"),
    (
        "a geometry that is no number",
        lambda d: read_nifti(lambda x: x, d, np.nan),
        QUARANTINED,
        "geometry",
    ),
    (
        "voxels that are no numbers",
        lambda d: read_nifti(lambda x: np.full(x.shape, np.nan, np.float32), d),
        QUARANTINED,
        "same value",
    ),
]

CASES = [
    *(Case("cine", f"NIfTI: {what}", run, outcome, says) for what, run, outcome, says in NIFTIS),
    *(Case("mask", n, lambda d, m=m: read_cine(plain_zip(), d, m()), outcome, says) for n, m, outcome, says in MASKS),
    Case("mask", "end diastole and end systole alone", lambda d: read_pair(("ED", "ES"), d), KEPT),
    Case("mask", "end diastole alone", lambda d: read_pair(("ED",), d), KEPT),
    Case("mask", "none", lambda d: read_pair((), d), QUARANTINED, "no segmentation"),
]
