"""A small folder in UK Biobank's layout: copies of the two independent example files under synthetic ids."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eccl_lib.data.traits import TRAITS
from eccl_lib.io import paths

SHARED = paths.ROOT.parent / "shared" / "data"
ECG_EXAMPLE = SHARED / "formats" / "example_9000001_20205_2_0.xml"
ZIP_EXAMPLE = SHARED / "formats" / "example_9000001_20209_2_0.zip"
HEART = (slice(20, 61), slice(14, 58))  # rows, columns of the heart in the test mask of the example images


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of openly licensed recordings next to the project."""
    if not SHARED.is_dir():
        pytest.skip(f"the folder of real recordings is not there: {SHARED}")
    return SHARED


def as_ukbb_cardiac_writes(archive: Path, labels: np.ndarray, target: Path) -> None:
    """Write seg_sa.nii.gz by ukbb_cardiac's procedure. labels: (S, F, H, W), slices in order of b-number."""
    import nibabel
    import pydicom

    first: dict[str, object] = {}
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.endswith(".dcm"):
                image = pydicom.dcmread(io.BytesIO(opened.read(name)), stop_before_pixels=True)
                if float(image.TriggerTime) == 0:
                    first[str(image.SeriesDescription)] = image
    images = [first[name] for name in sorted(first, key=lambda name: int(name.rsplit("_b", 1)[1]))]
    axis_x, axis_y = np.array(images[0].ImageOrientationPatient[:3]), np.array(images[0].ImageOrientationPatient[3:])
    places = [np.array(image.ImagePositionPatient, dtype=float) for image in images]
    for vector in (axis_x, axis_y, *places):
        vector[:2] = -vector[:2]
    step = places[1] - places[0]
    dx, dy = float(images[0].PixelSpacing[1]), float(images[0].PixelSpacing[0])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axis_x * dx, axis_y * dy
    affine[:3, 2] = step / np.linalg.norm(step) * float(images[0].SpacingBetweenSlices)
    affine[:3, 3] = places[0]
    slices, frames, height, width = labels.shape
    volume = np.zeros((width, height, slices, frames), dtype=np.uint8)
    for s in range(slices):
        for f in range(frames):
            volume[:, :, s, f] = labels[s, f].T
    target.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume, affine), target)


def example_labels() -> np.ndarray:
    """(3, 50, 80, 72): a ring of myocardium around a cavity, RV beside it, all inside HEART and touching its sides."""
    labels = np.zeros((3, 50, 80, 72), dtype=np.uint8)
    labels[:, :, HEART[0], HEART[1]] = 3
    labels[:, :, 25:55, 25:55] = 2
    labels[:, :, 30:50, 30:50] = 1
    return labels


def write_participant(root: Path, eid: str) -> None:
    """Write one participant's three files in UK Biobank's layout."""
    places = {
        ECG_EXAMPLE: root / "Bulk" / "Electrocardiogram" / "Resting" / eid[:2] / f"{eid}_20205_2_0.xml",
        ZIP_EXAMPLE: root / "Bulk" / "Heart MRI" / "Short axis" / eid[:2] / f"{eid}_20209_2_0.zip",
    }
    for source, target in places.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    as_ukbb_cardiac_writes(ZIP_EXAMPLE, example_labels(), root / "segmentations" / eid / "seg_sa.nii.gz")


def write_table(root: Path, eids: list[str]) -> None:
    """Write participants.csv with the Research Analysis Platform's headers."""
    rng = np.random.default_rng(0)
    columns = {
        "eid": eids,
        "p31": rng.integers(0, 2, len(eids)),
        "p21003_i2": rng.integers(45, 80, len(eids)),
        "p53_i2": "2016-05-01",
        "p41270": ['["I10", "I219"]' if k % 3 == 0 else "[]" for k in range(len(eids))],
        "p41280_a0": ["2001-01-01" if k % 3 == 0 else "" for k in range(len(eids))],
        "p41280_a1": ["2017-01-01" if k % 3 == 0 else "" for k in range(len(eids))],
    }
    columns |= {f"p{trait.field_id}_i2": np.round(rng.normal(50, 10, len(eids)), 2) for trait in TRAITS}
    pd.DataFrame(columns).to_csv(root / "participants.csv", index=False)


@pytest.fixture(scope="session")
def biobank(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ten participants, ids 9000001 to 9000010; tests copy it before they change it."""
    root = tmp_path_factory.mktemp("biobank")
    eids = [str(9_000_001 + k) for k in range(10)]
    for eid in eids:
        write_participant(root, eid)
    write_table(root, eids)
    return root


@pytest.fixture
def own_biobank(biobank: Path, tmp_path: Path) -> Path:
    """A copy of ``biobank`` that a test may damage."""
    return Path(shutil.copytree(biobank, tmp_path / "biobank", copy_function=shutil.copyfile))


@pytest.fixture(scope="session")
def masked_zip(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """The example zip, a random mask in ukbb_cardiac's form, and the mask's labels (3, 50, 80, 72)."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, (3, 50, 80, 72)).astype(np.uint8)
    target = tmp_path_factory.mktemp("mask") / "seg_sa.nii.gz"
    as_ukbb_cardiac_writes(ZIP_EXAMPLE, labels, target)
    return ZIP_EXAMPLE, target, labels


@pytest.fixture(autouse=True)
def no_report_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the report's page and figures, except in the tests of the report."""
    if request.module.__name__.rsplit(".", 1)[-1] != "test_report":
        from eccl_lib.data.ingest import report_page

        monkeypatch.setattr(report_page, "write", lambda folder, *rest: folder / "index.html")
