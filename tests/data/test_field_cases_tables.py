"""Tables that a spreadsheet has saved again stop with column, value and cure, or are read: no trait is lost."""

from __future__ import annotations

import re

import numpy as np
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.ingest import participants_table
from eccl_lib.data.ukb import diagnoses, tables
from eccl_lib.data.ukb.masking import masked
from eccl_lib.io.paths import ROOT

CASES = ROOT.parent / "shared" / "data" / "field_cases" / "61_table_excel"


def stops(path, reason: str, cure: str = "original export") -> None:
    with pytest.raises(UnreadableError) as error:
        tables.read_tables([path])
    assert re.search(reason, error.value.reason), error.value.reason
    assert re.search(cure, error.value.cure), error.value.cure


def written(folder, content: str, encoding: str = "utf-8"):
    path = folder / "table.csv"
    path.write_bytes(content.encode(encoding))
    return path


@pytest.mark.skipif(not CASES.is_dir(), reason=f"the folder of field cases is not there: {CASES}")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("comma", r"comma.csv: the column p24100_i2 has a decimal comma, as in '120,5' \(6 such cells\)"),
        ("half_sci", r"column eid has a number in scientific notation, as in '1.00E\+06' \(3 such cells\)"),
        ("sci", r"column eid has a number in scientific notation, as in '1.00000E\+06' \(3 such cells\)"),
    ],
)
def test_61_table_excel_stops_with_column_value_and_count(name, reason):
    stops(CASES / f"{name}.csv", reason)


@pytest.mark.skipif(not CASES.is_dir(), reason=f"the folder of field cases is not there: {CASES}")
def test_61_table_excel_with_a_line_of_the_separator_is_read():
    table, notes = tables.read_tables([CASES / "sep.csv"])
    assert notes == []
    assert table.index.tolist() == [str(10**6 + k) for k in range(6)]
    assert tables.as_number(table, 24100, 2).tolist() == [0, 1, 2, 3, 4, 5]


CELLS = {
    "1234,5": "decimal comma",
    "-12,5": "decimal comma",
    ",5": "decimal comma",
    "1,5E+02": "decimal comma",
    "1.234,5": "thousands separator",
    "1 234,5": "thousands separator",
    "1'234.5": "thousands separator",
    "1\u00a0234": "thousands separator",
    "1.234.567": "thousands separator",
    "12. Mai": "date in place of a number",
    "Mrz 56": "date in place of a number",
    "12-May": "date in place of a number",
    "01.05.2018": "date in place of a number",
    "#WERT!": "error of a spreadsheet",
    "#####": "error of a spreadsheet",
    "55,3 %": "percent",
}


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("cell", CELLS)
def test_one_rewritten_number_among_valid_ones_stops(tmp_path, cell, separator):
    rows = ["eid;p31;p24100_i2", "9000001;0;120", "9000002;1;121.5", f'9000003;0;"{cell}"']
    path = written(tmp_path, "\n".join(rows).replace(";", separator))
    stops(path, f"p24100_i2 has an? {CELLS[cell]}.*{re.escape(repr(cell))} \\(1 cell\\)")


DATES = [
    "01.03.2018",
    "1/3/2018",
    "03-01-18",
    "2018/03/01",
    "01.03.2018 00:00",
    "1. Mai 2018",
    "43160",
    "#####",
    "Mar 1, 2018",
]


@pytest.mark.parametrize("field", ["p53_i2", "p131298", "p41280_a0"])
@pytest.mark.parametrize("cell", DATES)
def test_one_rewritten_date_among_valid_ones_stops(tmp_path, field, cell):
    rows = [f"eid;{field}", "9000001;2018-03-01", "9000002;", f'9000003;"{cell}"']
    stops(written(tmp_path, "\n".join(rows)), f"{field} has .*{re.escape(repr(cell))}", "YYYY-MM-DD")


@pytest.mark.parametrize("cell", ["1.00E+06", "1,00E+06", "9E6", "9.000.001", "9 000 001", "9000001,0", "#####"])
def test_one_rewritten_id_stops(tmp_path, cell):
    rows = ["eid;p24100_i2", "9000002;120", f'"{cell}";121']
    stops(written(tmp_path, "\n".join(rows)), f"column eid has .*{re.escape(repr(cell))}", "ids are lost")


VALID = ["120", "120.5", "1.2e2", " 120 ", "-15.2", "", "NA"]


def test_valid_cells_of_all_forms_are_read(tmp_path):
    rows = ["eid,p31,p53_i2,p24100_i2"] + [
        f'"90000{k:02d}","1","2018-03-01 00:00:00","{v}"' for k, v in enumerate(VALID)
    ]
    table, notes = tables.read_tables([written(tmp_path, "\r\n".join(rows))])
    assert notes == []
    numbers = tables.as_number(table, 24100, 2).to_numpy()
    np.testing.assert_array_equal(numbers, [120, 120.5, 120, 120, -15.2, np.nan, np.nan])


def test_texts_of_the_coding_and_lists_of_dates_are_no_rewritten_dates(tmp_path):
    rows = [
        "eid,p131298,p41270,p41280_a0",
        "9000001,Code has no event date,\"['I21']\",2016-01-02",
        "9000002,1900-01-01,,",
    ]
    table, _ = tables.read_tables([written(tmp_path, "\n".join(rows))])
    assert diagnoses.labels(table, "ever")[:, 0].tolist() == [True, True]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["eid,p24100_i2", "9000001,high", "9000002,low"], "p24100_i2 has no valid value in 2 cells, as in 'high'"),
        (["eid,p31", "9000001,Frau", "9000002,Mann"], "p31 has no valid value in 2 cells, as in 'Frau'"),
        (["eid,p21003_i2", "9000001,sixty"], "p21003_i2 has no valid value in 1 cells"),
    ],
)
def test_a_field_without_any_valid_value_stops(tmp_path, rows, reason):
    stops(written(tmp_path, "\n".join(rows)), reason, "[Ee]xport")


def test_some_invalid_words_are_noted(tmp_path):
    rows = ["eid,p31,p24100_i2", "9000001,0,120", "9000002,unknown,not done"]
    _, notes = tables.read_tables([written(tmp_path, "\n".join(rows))])
    assert notes == [
        "table 1: field 31, instance 0: 1 cells are neither female nor male (0, 1) and count as missing",
        "table 1: field 24100, instance 2: 1 cells are not numbers and count as missing",
    ]


def test_unquoted_decimal_commas_in_a_comma_separated_table_are_named(tmp_path):
    path = written(tmp_path, "eid,p31,p24100_i2\n9000001,1,120\n9000002,1,120,5\n")
    stops(path, "row 3 of the table has 4 cells", "commas within numbers")


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", "sep=\t\n"])
def test_a_line_of_the_separator_is_left_out(tmp_path, first):
    separator = first[4]
    path = written(tmp_path, first + f"eid{separator}p24100_i2\n9000001{separator}120\n", "utf-8-sig")
    assert tables.as_number(tables.read_table(path), 24100, 2).tolist() == [120]
    labels = written(tmp_path, first + f"id{separator}I21\na{separator}1\nb{separator}0\n", "utf-8-sig")
    assert participants_table.read(labels, ["a", "b"])["I21"].tolist() == ["1", "0"]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("id;24103\na;55,3\nb;60\n", "column 24103 has a decimal comma, as in '55,3' .1 cell."),
        ("id;age\na;60\nb;old\n", "column age has 1 cells that are not numbers, as in 'old'"),
        ("id;sex\na;weiblich\nb;m\u00e4nnlich\n", "column sex has no known value in 2 cells, as in 'weiblich'"),
    ],
)
def test_the_users_own_table_of_labels_names_column_and_value(tmp_path, table, reason):
    with pytest.raises(UnreadableError, match=reason):
        participants_table.rows(participants_table.read(written(tmp_path, table), ["a", "b"]), ["a", "b"])


def test_an_unknown_sex_in_the_users_own_table_is_noted(tmp_path):
    labels = participants_table.read(written(tmp_path, "id,sex\na,F\nb,diverse\n"), ["a", "b"])
    found = participants_table.rows(labels, ["a", "b"])
    assert found.frame["sex"].tolist() == ["female", None]
    assert "1 cells of the column sex are neither female nor male and count as missing" in found.notes


def test_a_measured_value_is_not_masked_as_an_id():
    number = str(10**6)
    for unit in ("Hz", "samples", "bytes", "voxels", "ms"):
        assert masked(f"the rate is {number} {unit}") == f"the rate is {number} {unit}"
    for text in ("{} has no ECG", "of {}, 12 images", "{}_20205_2_0.xml", "'{}'", "{};120,5", "{},0", "{} Hzx"):
        assert number not in masked(text.format(number))
