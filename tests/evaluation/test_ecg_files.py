"""Files and folders as recordings, and files that are none with their reason."""

import os
from pathlib import Path

import numpy as np
import pytest

from eccl_lib.config.errors import ConfigError
from eccl_lib.data.formats import detect
from eccl_lib.evaluation import ecg_files
from eccl_lib.evaluation.ecg_files import NotRead, Reading
from tests.evaluation.trained import signal_of, write_csv

HEADER = "r 2 500 5000\nr.dat 16 1000 16 0 0 0 0 I\nr.dat 16 1000 16 0 0 0 0 II\n"


def write_wfdb(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "r.hea").write_text(HEADER)
    (folder / "r.dat").write_bytes((1000 * signal_of()[:2]).T.astype("<i2").tobytes())
    return folder / "r.hea"


def test_a_folder_gives_its_recordings_once_and_every_other_file_with_a_reason(tmp_path: Path):
    record = write_wfdb(tmp_path / "wfdb")
    table = write_csv(tmp_path / "a.csv")
    np.save(tmp_path / "array.npy", signal_of())
    (tmp_path / "array.json").write_text('{"rate": 500, "leads": ["I"], "unit": "mV"}')  # too few leads are named
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "what").write_bytes(bytes(range(256)))
    (tmp_path / ".hidden").write_text("x")
    os.mkfifo(tmp_path / "pipe.csv")
    found = ecg_files.find([tmp_path, record, record.with_suffix(".dat"), tmp_path / "none.csv"])
    entries = list(ecg_files.read_all(found))
    read = [entry.file for entry in entries if isinstance(entry, Reading)]
    assert read == [str(table), str(record)]
    reasons = {Path(entry.file).name: entry.reason for entry in entries if isinstance(entry, NotRead)}
    assert list(reasons) == ["array.npy", "photo.png", "scan.pdf", "what", "pipe.csv", "none.csv"]
    assert reasons["scan.pdf"] == "the file is a PDF"
    assert reasons["photo.png"] == "the file is an image, not a signal"
    assert reasons["what"] == "the file is binary, in no known ECG format"
    assert reasons["pipe.csv"] == "it is a pipe, not a file"
    assert reasons["none.csv"] == "the file does not exist"


def test_a_name_that_begins_like_a_home_folder_is_a_name(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~$table.xlsx").write_bytes(b"\x05user")  # an office program's lock file
    write_csv(tmp_path / "~$a.csv")
    for given in (["~$table.xlsx", "~$a.csv"], ["."]):
        first, second = sorted(ecg_files.read_all(ecg_files.find(given)), key=lambda entry: entry.file)
        assert isinstance(first, Reading) and first.file == "~$a.csv"
        assert isinstance(second, NotRead) and "unexpected" not in second.reason
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ecg_files.find(["~/~$a.csv"]) == [tmp_path / "~$a.csv"]


def test_a_link_to_itself_has_its_reason_and_stops_no_other_file(tmp_path: Path):
    table = write_csv(tmp_path / "a.csv")
    for name in ("circle.csv", "circle"):
        (tmp_path / name).symlink_to(name)
    entries = list(ecg_files.read_all(ecg_files.find([tmp_path])))
    assert [entry.file for entry in entries if isinstance(entry, Reading)] == [str(table)]
    refused = [entry for entry in entries if isinstance(entry, NotRead)]
    assert {Path(entry.file).name for entry in refused} == {"circle.csv", "circle"}
    assert all("symbolic links" in entry.reason for entry in refused)


def test_a_cure_is_said_once_for_many_files():
    said: set[str] = set()
    entries = [
        NotRead(f"{name}.csv", "it has no lead names", cure) for name, cure in (("a", "Add them."), ("b", "Add them."))
    ]
    assert [entry.line(said) for entry in [*entries, NotRead("c.csv", "it is empty")]] == [
        "a.csv: it has no lead names. Add them.",
        "b.csv: it has no lead names.",
        "c.csv: it is empty.",
    ]


def test_further_signals_and_annotations_of_a_wfdb_record_are_no_files_of_their_own(tmp_path: Path):
    record = write_wfdb(tmp_path)
    for name in ("r.xyz", "r.atr", "other.xyz"):  # the first as in PTB, whose headers name it
        (tmp_path / name).write_bytes(bytes(range(256)))
    assert ecg_files.find([tmp_path]) == [tmp_path / "other.xyz", record]


def test_a_path_that_cannot_be_used_does_not_stop_the_others(tmp_path: Path):
    table = write_csv(tmp_path / "a.csv")
    refused, read = ecg_files.find([tmp_path / ("b" * 300), table])
    assert refused.reason == "the path cannot be used: File name too long"
    assert read == table


def test_files_of_one_name_in_two_folders_stay_two_files(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "ecg.csv")
    entries = list(ecg_files.read_all(ecg_files.find([tmp_path])))
    assert [entry.file for entry in entries] == [str(tmp_path / name / "ecg.csv") for name in ("one", "two")]


def test_a_reading_is_what_the_store_keeps(tmp_path: Path):
    from eccl_lib.data import ecg

    path = write_csv(tmp_path / "a.csv")
    reading = ecg_files.read(path)
    stored, heart_rate, flags = ecg.preprocess(detect.read_ecg(path))
    assert np.array_equal(reading.stored, stored)
    assert (reading.heart_rate, reading.flags) == (heart_rate, flags)
    assert np.abs(reading.signal - signal_of()).max() < 1e-4


def test_an_unexpected_error_is_the_fault_of_its_file_and_quotes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(path: Path) -> None:
        raise RuntimeError("secret content")

    monkeypatch.setattr(detect, "read_ecg", fail)
    entry = ecg_files.read(write_csv(tmp_path / "a.csv"))
    assert isinstance(entry, NotRead)
    assert entry.reason.startswith("unexpected error (RuntimeError in test_ecg_files.py")
    assert "secret" not in str(entry)


def test_an_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="there is no file in"):
        ecg_files.find([tmp_path])
