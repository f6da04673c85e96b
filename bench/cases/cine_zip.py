"""One cine, from UK Biobank's zip (10 slices x 50 frames) to the stored clip; reference: pydicom and scipy."""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least

SIZE = 224


def prepare(folder: Path) -> Pair:
    """Both return 224 x 224 x 50 uint8, cropped with the same mask; they differ by at most one grey level."""
    import numpy as np

    from eccl_lib.config.load import load
    from eccl_lib.data import cmr
    from eccl_lib.data.segmentation import providers
    from eccl_lib.data.synthetic import FIRST_EID, ukb_tree
    from eccl_lib.data.ukb import readers

    config = load("paper")
    ukb_tree.write_participant(config.synthetic, 0, folder)
    archive, mask = (place(folder, FIRST_EID) for place in (ukb_tree.cine_path, ukb_tree.segmentation_path))

    def ours():
        record = providers.read(readers.open_cine(archive), mask, choice=config.store.slice_choice)
        return cmr.crop(record, config.store)

    def same(ours, theirs):
        assert ours.shape == (SIZE, SIZE, 50) and ours.dtype == np.uint8
        assert np.abs(ours.astype(int) - theirs).max() <= 1

    return Pair(ours, lambda: peer(archive, mask), same)


def peer(archive: Path, mask: Path):
    """Read every image with pydicom, sort by position and time, crop to the heart and zoom; return one slice."""
    import io
    import zipfile

    import nibabel
    import numpy as np
    import pydicom
    from scipy.ndimage import zoom

    slices: dict[float, list] = {}
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if not name.endswith(".dcm"):
                continue
            image = pydicom.dcmread(io.BytesIO(opened.read(name)))
            normal = np.cross(image.ImageOrientationPatient[:3], image.ImageOrientationPatient[3:])
            normal *= -np.sign(normal[2])  # the direction from base to apex points to the feet
            depth = round(float(normal @ np.array(image.ImagePositionPatient)), 1)
            slices.setdefault(depth, []).append((float(image.TriggerTime), image.pixel_array))
    labels = np.asarray(nibabel.load(mask).dataobj)  # (x, y, slice, frame)
    stack = [[pixels for _, pixels in sorted(slices[depth], key=lambda pair: pair[0])] for depth in sorted(slices)]
    return _clip(stack, labels, zoom)


def _clip(stack, labels, zoom):
    """The middle slice with left ventricle, cropped and zoomed; percentiles 0.5 to 99.5 are scaled to 0 to 255."""
    import numpy as np

    ventricle = np.flatnonzero(np.isin(labels, (1, 2)).any(axis=(0, 1, 3)))
    middle = (ventricle[0] + ventricle[-1]) // 2
    heart = (labels[:, :, middle] > 0).any(axis=2).T  # (row, column)
    (top, *_, bottom), (left, *_, right) = (np.flatnonzero(heart.any(axis=axis)) for axis in (1, 0))
    cut = [[frame[top : bottom + 1, left : right + 1] for frame in frames] for frames in stack]
    factor = [SIZE / side for side in cut[0][0].shape]
    options = {"order": 1, "mode": "nearest", "grid_mode": True}
    resized = [[zoom(frame.astype(np.float32), factor, **options) for frame in frames] for frames in cut]
    low, high = np.quantile(np.array(cut[middle]), (0.005, 0.995))
    clip = np.stack(resized[middle], axis=-1)
    return np.rint(np.clip((clip - low) * (255 / (high - low)), 0, 255))


CASE = Case(
    "one cine, zip of 10 x 50 images to 224 x 224 x 50 uint8",
    "pydicom on every file, `scipy.ndimage.zoom` of every image",
    prepare,
    (at_least("ratio", 5),),
    memory=True,
    place=2,
)
