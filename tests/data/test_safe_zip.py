"""Files of a zip are unpacked only on demand, and unpacked files are checked."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.formats import dicom, dicom_series, safe_zip
from eccl_lib.data.formats.safe_zip import DamagedMemberError, Zip


@pytest.fixture(scope="module")
def archive(shared: Path) -> Path:
    return shared / "formats" / "example_9000001_20209_2_0.zip"


def files_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(folder: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, damaged: set[str] = frozenset()):
    """A zip; one packed byte of each file in ``damaged`` is changed."""
    path = folder / "cine.zip"
    with zipfile.ZipFile(path, "w", method) as out:
        for name, content in files.items():
            out.writestr(name, content)
        infos = [info for info in out.infolist() if info.filename in damaged]
    content = bytearray(path.read_bytes())
    for info in infos:
        content[info.header_offset + 30 + len(info.filename) + info.compress_size - 2] ^= 0xFF
    path.write_bytes(content)
    return path


def by_slice(path: Path) -> tuple[list[list[str]], dicom_series.CineFile]:
    """The files' names by slice and frame, and the open cine."""
    files = files_of(path)
    names = [name for name in files if name.endswith(".dcm")]
    found = dicom_series.stack.arrange(dicom.read_header(files[name], k) for k, name in enumerate(names))
    return [[names[h.source] for h in slice_] for slice_ in found.frames], dicom_series.open_file(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_start_and_read_equal_zipfile(tmp_path, method):
    rng = np.random.default_rng(0)
    files = {f"{size}.dcm": rng.integers(0, 9, size, np.uint8).tobytes() for size in (0, 1, 300, 70_000)}
    opened = Zip(zipped(tmp_path, files, method))
    for info in opened.infos:
        member, content = opened.member(info), files[info.filename]
        assert (member.size, member.read()) == (len(content), content)
        assert all(member.start(count) == content[:count] for count in (0, 1, 128, 4096, 10**6))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_flipped_bit_raises_an_error(tmp_path, method):
    files = {name: np.random.default_rng(1).integers(0, 99, 9000, np.uint8).tobytes() for name in ("a", "b")}
    opened = Zip(zipped(tmp_path, files, method, {"b"}))
    good, bad = (opened.member(info) for info in opened.infos)
    assert good.read() == files["a"]
    with pytest.raises(DamagedMemberError):
        bad.read()


def test_reading_one_slice_unpacks_no_other_slice(archive, monkeypatch):
    read = []
    whole = Zip._whole
    monkeypatch.setattr(Zip, "_whole", lambda self, info: read.append(info.filename) or whole(self, info))
    names, opened = by_slice(archive)
    read.clear()
    opened = dicom_series.open_file(archive)
    assert not [name for name in read if name.endswith(".dcm")]
    middle, count = opened.shape[0] // 2, opened.shape[1]
    one = opened.pixels([middle], range(count))
    assert sorted(name for name in read if name.endswith(".dcm")) == sorted(names[middle])
    np.testing.assert_array_equal(one[0], opened.pixels(range(opened.shape[0]), range(count))[middle])


def test_a_damaged_frame_is_replaced_by_its_neighbour_when_its_slice_is_read(archive, tmp_path):
    names, whole = by_slice(archive)
    middle, every = len(names) // 2, range(whole.shape[1])
    damaged = zipped(tmp_path, files_of(archive), damaged={names[middle][5]})
    elsewhere = dicom_series.open_file(damaged)
    other = middle - 1
    np.testing.assert_array_equal(elsewhere.pixels([other], every), whole.pixels([other], every))
    assert not any("damaged" in note for note in elsewhere.notes)
    there = dicom_series.open_file(damaged)
    found, expected = there.pixels([middle], every)[0], whole.pixels([middle], every)[0]
    assert any("skipped 1 damaged files" in note for note in there.notes)
    kept = [frame for frame in every if frame != 5]
    np.testing.assert_array_equal(found[kept], expected[kept])
    assert any(np.array_equal(found[5], expected[near]) for near in (4, 6))


def test_a_stack_with_all_files_damaged_raises_an_error(archive, tmp_path):
    names, opened = by_slice(archive)
    damaged = dicom_series.open_file(
        zipped(tmp_path, files_of(archive), damaged={name for some in names for name in some})
    )
    with pytest.raises(UnreadableError, match="files of the stack are damaged"):
        damaged.pixels([0], range(opened.shape[1]))


def test_long_headers_are_read(archive, tmp_path):
    files = files_of(archive)
    for name in [name for name in files if name.endswith(".dcm")]:
        dataset = pydicom.dcmread(io.BytesIO(files[name]))
        dataset.add_new((0x0009, 0x0010), "LO", "LONG")
        dataset.add_new((0x0009, 0x1001), "OB", bytes(3 * dicom_series.HEADER))
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        files[name] = out.getvalue()
    long, short = dicom_series.open_file(zipped(tmp_path, files)), dicom_series.open_file(archive)
    assert long.shape == short.shape
    np.testing.assert_array_equal(long.pixels([0], [0, 1]), short.pixels([0], [0, 1]))


def test_a_too_large_archive_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_zip, "LARGEST_STACK", 1000)
    path = tmp_path / "cine.zip"
    path.write_bytes(bytes(1001))
    with pytest.raises(UnreadableError, match="too much for a cine"):
        Zip(path)
