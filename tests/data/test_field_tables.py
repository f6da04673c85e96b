"""Tables of ECGs in the dialects of spreadsheets, pandas and PhysioNet; what stays ambiguous is named with its cure."""

from __future__ import annotations

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import LEADS
from eccl_lib.data.formats import csv_table, detect
from eccl_lib.data.ingest import ecg_folders
from tests.data.test_ecg_signal import beats

TIMES = np.arange(5000) / 500


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """(12, 5000) mV with four decimals."""
    return np.round(beats(70), 4)


def write(path, wave, clock=None, names=LEADS, separator=",", comma=False, above="", quote="", end="", na=""):
    """A table. clock: (name, texts) of the first column; na: text of a missing sample."""
    columns = [[na if np.isnan(x) else f"{x:.4f}" for x in lead] for lead in wave]
    titles = list(names)
    if clock:
        titles, columns = [clock[0], *titles], [list(clock[1]), *columns]
    rows = [[cell.replace(".", ",") if comma else cell for cell in row] for row in zip(*columns, strict=True)]
    lines = [separator.join(f"{quote}{cell}{quote}" for cell in row) + end for row in [titles, *rows]]
    path.write_text("\n".join([*above.splitlines(), *lines]) + "\n", encoding="utf-8")
    return path


def same(path, wave, rate: float = 500) -> None:
    record = detect.read_ecg(path)
    assert record.rate == pytest.approx(rate, rel=1e-9)
    np.testing.assert_allclose(record.signal, wave, atol=1e-9)


SECONDS = ("time", [f"{x:.3f}" for x in TIMES])


@pytest.mark.parametrize(("separator", "comma"), [(",", False), (";", True), (";", False), ("\t", True), ("|", True)])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("above", ["", "sep={}"])
def test_separators_decimal_signs_and_quotes_are_read(wave, tmp_path, separator, comma, quote, above):
    line = above.format(separator)
    same(write(tmp_path / "a.csv", wave, SECONDS, separator=separator, comma=comma, quote=quote, above=line), wave)


def test_quoted_decimal_commas_between_commas_are_read_and_bare_ones_are_refused(wave, tmp_path):
    same(write(tmp_path / "a.csv", wave, SECONDS, comma=True, quote='"'), wave)
    with pytest.raises(UnreadableError, match=r"26 cells for 13 names: decimal sign and separator are both commas"):
        detect.read_ecg(write(tmp_path / "b.csv", wave, SECONDS, comma=True))


def test_a_decimal_comma_is_found_below_rows_of_whole_numbers(wave, tmp_path):
    whole = wave.copy()
    whole[:, :100] = 0
    path = write(tmp_path / "a.csv", whole, above="# rate=500", separator=";", comma=True)
    path.write_text(path.read_text().replace("0,0000", "0"))
    same(path, whole[:, 100:])  # the zeros at the start are padding


def test_blanks_separate_cells_also_aligned_ones(wave, tmp_path):
    path = write(tmp_path / "a.txt", wave, SECONDS, separator="   ", above="# PhysioNet")
    path.write_text("\n".join("  " + line for line in path.read_text().splitlines()))
    same(path, wave)


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-8-sig", "time"), ("utf-16", "time"), ("cp1252", "time (ms) \xfc"), ("utf-8", "time")]
)
def test_encodings_are_read(wave, tmp_path, encoding, name):
    factor = 1000 if "ms" in name else 1
    path = write(tmp_path / "a.csv", wave, (name, [f"{factor * x:.3f}" for x in TIMES]))
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    same(path, wave)


def stamps(form: str) -> list[str]:
    """Time stamps of 500 samples per second. form: with {h}, {m}, {s} (seconds with decimals) and {d} (date)."""
    return [form.format(h=0, m=int(x // 60), s=f"{x % 60:06.3f}", d="2020-01-31") for x in TIMES]


CLOCKS = {
    "hh:mm:ss.fff": ("time", stamps("{h:02d}:{m:02d}:{s}")),
    "mm:ss.fff": ("Elapsed time", stamps("{m:02d}:{s}")),
    "ISO": ("timestamp", stamps("{d}T00:{m:02d}:{s}")),
    "ISO with zone": ("Timestamp", stamps("{d} 00:{m:02d}:{s}+01:00")),
    "ISO in UTC": ("datetime", stamps("{d}T00:{m:02d}:{s}Z")),
    "day first": ("Date time", stamps("31/01/2020 00:{m:02d}:{s}")),
    "PhysioNet": ("Elapsed time", stamps("[00:{m:02d}:{s} 31/01/2020]")),
    "over midnight": ("time", [f"{'00:00' if x >= 5 else '23:59'}:{(55 + x) % 60:06.3f}" for x in TIMES]),
    "milliseconds": ("time_ms", [f"{1000 * x:.0f}" for x in TIMES]),
    "milliseconds in brackets": ("Time [ms]", [f"{1000 * x:.0f}" for x in TIMES]),
    "microseconds": ("t_us", [f"{1e6 * x:.0f}" for x in TIMES]),
    "epoch": ("timestamp", [f"{1577836800 + x:.3f}" for x in TIMES]),
    "epoch in ms": ("timestamp_ms", [f"{1577836800000 + 1000 * x:.0f}" for x in TIMES]),
    "rounded to 10 ms": ("time", [f"{np.floor(100 * x + 1e-9) / 100:.2f}" for x in TIMES]),
    "rounded clock": ("time", [f"00:00:{np.floor(100 * x + 1e-9) / 100:05.2f}" for x in TIMES]),
}  # fmt: skip


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_time_columns_give_500_samples_per_second(wave, tmp_path, clock):
    same(write(tmp_path / "a.csv", wave, clock), wave)


def test_the_form_of_physionets_export_is_read(wave, tmp_path):
    path = write(tmp_path / "a.csv", wave, ("Elapsed time", stamps("{m:d}:{s}")))
    title, *rows = path.read_text().splitlines()
    quoted = ",".join(f"'{name}'" for name in title.split(","))
    units = ",".join(["'mm:ss.mmm'", *["'mV'"] * 12])
    path.write_text("\n".join([quoted, units, *(f"'{row.replace(',', chr(39) + ',', 1)}" for row in rows)]) + "\n")
    same(path, wave)


@pytest.mark.parametrize("unit", ["uV", "µV", "(mV)", "V"])
def test_a_row_of_units_is_applied(wave, tmp_path, unit):
    per_mv = {"uV": 1e3, "µV": 1e3, "(mV)": 1, "V": 1e-3}[unit]
    units = ",".join([unit] * 12)
    rows = "\n".join(",".join(f"{x * per_mv:.9f}" for x in row) for row in wave.T)
    (tmp_path / "a.csv").write_text(f"# rate=500\n{','.join(LEADS)}\n{units}\n{rows}\n", encoding="utf-8")
    same(tmp_path / "a.csv", wave)


@pytest.mark.parametrize("word", ["", "NA", "NaN", "nan", "null", "None", "-", "N/A", "#N/A", "missing"])
def test_words_for_a_missing_sample_are_gaps(wave, tmp_path, word):
    holed = wave.copy()
    holed[3, 70:80] = holed[11, 0] = holed[0, 4999] = np.nan
    same(write(tmp_path / "a.csv", holed, SECONDS, na=word), holed)


def test_counters_empty_columns_and_text_columns_are_not_channels(wave, tmp_path):
    numbers = [str(k) for k in range(5000)]
    for name in ("", "sample", "Sample #", "index", "sample_no"):
        above = "# rate=500"
        path = write(tmp_path / "a.csv", wave, (name, numbers), above=above, end=",")
        assert detect.read_ecg(path).notes == ()
        same(path, wave)
    path = write(tmp_path / "b.csv", wave, ("Date", ["2020-01-31"] * 5000), above="# rate=500")
    same(path, wave)
    assert detect.read_ecg(path).notes == ("channels skipped: 'Date'",)


KEPT = [*range(2000), *range(2100, 5000)]
REFUSED = {
    "a column of ms without a unit": (
        lambda path, wave: write(path, wave, ("timestamp", [f"{1577836800000 + 1000 * x:.0f}" for x in TIMES])),
        r"steps by 2: in seconds this is 0\.5 samples per second\. Name the column time_ms",
    ),
    "rows that are missing": (
        lambda path, wave: write(path, wave[:, KEPT], ("time", [SECONDS[1][k] for k in KEPT])),
        "time column is not evenly spaced",
    ),
    "words in the time column": (
        lambda path, wave: write(path, wave, ("time", ["noon"] * 5000)),
        "'time' has values that are not times",
    ),
    "no rate": (lambda path, wave: write(path, wave), "contains no sampling rate"),
    "thousands": (
        lambda path, wave: write(path, wave, above="# rate=500", separator=";", comma=True, names=LEADS).write_text(
            path.read_text().replace("\n-0,", "\n1.000,", 1)
        ) and path,
        r"row \d+, column I: '1\.000,\d+' is not a number.*no separator of thousands",
    ),
    "a short row": (
        lambda path, wave: path.write_text(f"# rate=500\n{','.join(LEADS)}\n" + "1,2,3\n" * 5) and path,
        "row 3 has 3 cells for 12 names",
    ),
    "a long row": (
        lambda path, wave: path.write_text("# rate=500\nI,II\n" + "1,2\n" * 3 + "1,2,3,4\n") and path,
        "row 6 has 4 cells for 2 names",
    ),
    "an open quote": (
        lambda path, wave: path.write_text('# rate=500\nI,II\n1,2\n"1,2\n' + "1,2\n" * 9) and path,
        "row 4 has|quote is not closed",
    ),
    "names of other signals": (
        lambda path, wave: path.write_text("# rate=500\nPAP II,Resp I\n" + "1,2\n" * 9) and path,
        "'PAP II', 'Resp I'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_what_a_table_does_not_say_is_named_with_the_cure(wave, tmp_path, make, says):
    with pytest.raises(UnreadableError, match=says) as caught:
        detect.read_ecg(make(tmp_path / "a.csv", wave))
    assert caught.value.cure
    assert "Error" not in str(caught.value)


def test_tables_of_ecgs_are_told_from_others_by_their_first_row():
    ecgs = ("I,II,V1\n", "sep=;\nI;II\n", "# rate=500\nLead I\tLead II\n", "'Elapsed time','I','II'\n", "time DI DII\n")
    others = ("subject_id,study_id,path\n", "0.1,0.2,0.3\n", "PAP I,Resp II\n", "", "record,I21,I42\n", "C3,C4,Fz\n")
    assert all(csv_table.names_leads(text.encode()) for text in ecgs)
    assert not any(csv_table.names_leads(text.encode()) for text in others)


def test_a_table_with_a_page_of_comments_above_its_names_is_listed(tmp_path):
    comments = "".join(f"# line {k} of the device's settings, which nobody reads\n" for k in range(300))
    (tmp_path / "a.csv").write_text(f"{comments}I,II\n1,2\n")
    (tmp_path / "b.csv").write_text(f"{comments}patient,visit\n1,2\n")
    assert list(ecg_folders.find([tmp_path]).participants) == ["a"]


@pytest.mark.parametrize(
    "other", ["Rate: 72 bpm", "Hz = 50 (mains filter)", "Heart rate: 72", "Frequency: 150 high-pass"]
)
@pytest.mark.parametrize("stated", ["sample rate: 500", "rate=500 unit=mV", "Rate: 500 Hz", "fs = 500, unit = mV"])
def test_a_rate_of_something_else_is_no_sampling_rate(wave, tmp_path, stated, other):
    for first, second in ((stated, other), (other, stated)):
        rows = "\n".join(f"{value:.3f},{value:.3f}" for value in wave[0])
        (tmp_path / "a.csv").write_text(f"# {first}\n# {second}\nI,II\n{rows}\n")
        assert detect.read_ecg(tmp_path / "a.csv").rate == 500


def test_two_sampling_rates_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("# sampling rate: 500\n# fs=250\nI,II\n" + "1,2\n" * 9)
    with pytest.raises(UnreadableError, match="two sampling rates, '250' and '500'"):
        detect.read_ecg(tmp_path / "a.csv")
