"""Tabular exports in all header styles, disease labels by date, and traits."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.errors import UnreadableError
from eccl_lib.config.schema import DISEASES
from eccl_lib.data.traits import TRAITS
from eccl_lib.data.ukb import columns, diagnoses, tables


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("24100-2.0", (24100, 2, 0)),
        ("f.24100.2.0", (24100, 2, 0)),
        ("n_24100_2_0", (24100, 2, 0)),
        ("s_41270_0_7", (41270, 0, 7)),
        ("ts_53_2_0", (53, 2, 0)),
        ("X24100.2.0", (24100, 2, 0)),
        ("lv_end_diastolic_volume_f24100_2_0", (24100, 2, 0)),
        ("p24100_i2", (24100, 2, 0)),
        ("p41280_a0", (41280, 0, 0)),
        ("p131298", (131298, 0, 0)),
        ("participant.p24100_i2", (24100, 2, 0)),
        ("p20002_i2_a11", (20002, 2, 11)),
        ("LV ejection fraction | Instance 2 (participant - p24103_i2)", (24103, 2, 0)),
        ("LV ejection fraction | Instance 2", (24103, 2, 0)),
        ("LV.ejection.fraction...Instance.2", (24103, 2, 0)),
        ("Date of first in-patient diagnosis - ICD10 | Array 17", (41280, 0, 17)),
        ("Diagnoses - main ICD10", (41202, 0, 0)),
        ("Date I42 first reported (cardiomyopathy)", (131338, 0, 0)),
        ("Date I25 first reported (chronic ischaemic heart disease)", None),
        ("Source of report of I21 (acute myocardial infarction)", None),
        ("LV ejection fraction (old) | Instance 2", None),
        ("P24100_I2", (24100, 2, 0)),
        ("p24100_i2_a", None),
        ("eid", None),
        ("I21", (131298, 0, 1)),
        ("I25", None),
    ],
)
def test_field_of_reads_every_header_style(header, key):
    assert columns.field_of(header) == key


STYLES = {
    "platform": ("eid", "p24103_i2", "p31", "p53_i2", ","),
    "extract": ("participant.eid", "participant.p24103_i2", "participant.p31", "participant.p53_i2", ","),
    "ukbconv csv": ("eid", "24103-2.0", "31-0.0", "53-2.0", ","),
    "ukbconv r": ("f.eid", "f.24103.2.0", "f.31.0.0", "f.53.2.0", "\t"),
    "stata": ("n_eid", "n_24103_2_0", "n_31_0_0", "ts_53_2_0", "\t"),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_all_header_styles_give_the_same_table(tmp_path, style, encoding):
    eid, ef, sex, visit, separator = STYLES[style]
    rows = [
        [eid, "notes é", ef, sex, visit],
        ["9000002", "x", "NA", "1", "2016-05-02"],
        ["9000001", "", "61.5", "0", "2016-05-01"],
    ]
    quoted = [separator.join(f'"{cell}"' for cell in row) for row in rows]
    (tmp_path / "t.csv").write_text("\n".join(quoted) + "\n", encoding=encoding)
    table = tables.read_table(tmp_path / "t.csv")
    assert list(table.index) == ["9000001", "9000002"]
    ef_values = tables.as_number(table, 24103, 2)
    assert ef_values.iloc[0] == 61.5
    assert np.isnan(ef_values.iloc[1])
    assert list(tables.sex(table)) == ["female", "male"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,p31\n1,2\n", "participant ids"),
        ("eid,foo\n9000001,2\n", "none of the fields"),
        ("eid,p31\n9000001,1\n9000001,0\n", "twice"),
        ("", "participant ids"),
    ],
)
def test_unusable_tables_raise_an_error(tmp_path, text, reason):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UnreadableError, match=reason):
        tables.read_table(tmp_path / "t.csv")
    with pytest.raises(UnreadableError, match=r"^nowhere\.csv: the file does not exist"):
        tables.read_table(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    "cell", ['["I10", "I219"]', "['I10', 'I219']", "I10|I219", "I10,I219", ' ["I10","I219"] ', "[I10, I219]"]
)
def test_lists_of_codes_are_read_in_every_notation(cell):
    assert diagnoses.parse_list(cell) == ["I10", "I219"]


def table_of(rows: list[dict[str, str]], tmp_path) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.insert(0, "eid", [str(9_000_001 + k) for k in range(len(rows))])
    frame["p53_i2"] = "2016-05-01"
    frame.to_csv(tmp_path / "t.csv", index=False)
    return tables.read_table(tmp_path / "t.csv")


def test_labels_follow_codes_and_dates(tmp_path):
    rows = [
        {"p41270": '["I10","I219"]', "p41280_a0": "2001-01-01", "p41280_a1": "2010-01-01"},  # before the visit
        {"p41270": '["I219"]', "p41280_a0": "2018-01-01"},  # after it
        {"p41270": '["I252"]', "p41280_a0": "2001-01-01"},  # another disease
        {"p131298": "2016-05-01"},  # on the day
        {"p131298": "1900-01-01"},  # diagnosed, date unknown
        {"p131298": "2037-07-07"},  # placeholder: no diagnosis
        {"p131298": "2017-01-01T00:00:00", "p41270": '["I21.4"]', "p41280_a0": "2015-01-01"},  # earlier of both
        {},
    ]
    table = table_of(rows, tmp_path)
    column = DISEASES.index("I21")
    by_rule = {rule: diagnoses.labels(table, rule)[:, column].tolist() for rule in ("ever", "prevalent", "incident")}
    assert by_rule["ever"] == [True, True, False, True, True, False, True, False]
    assert by_rule["prevalent"] == [True, False, False, True, False, False, True, False]
    assert by_rule["incident"] == [False, True, False, False, False, False, False, False]
    assert not diagnoses.labels(table, "ever")[:, column + 1 :].any()


def test_codes_in_separate_columns_are_equivalent_to_a_list(tmp_path):
    text = "eid,41270-0.0,41270-0.1,41280-0.0,41280-0.1,53-2.0\n9000001,I10,I480,2001-01-01,2020-01-01,2016-05-01\n"
    (tmp_path / "t.csv").write_text(text)
    table = tables.read_table(tmp_path / "t.csv")
    assert diagnoses.labels(table, "incident").tolist() == [[False, False, True, False]]
    assert not diagnoses.labels(table, "prevalent").any()


def test_prevalent_labels_need_the_imaging_date(tmp_path):
    (tmp_path / "t.csv").write_text("eid,p131298\n9000001,2001-01-01\n")
    table = tables.read_table(tmp_path / "t.csv")
    assert diagnoses.labels(table, "ever")[0, 0]
    with pytest.raises(UnreadableError, match="imaging date"):
        diagnoses.labels(table, "prevalent")


def read(tmp_path, text) -> pd.DataFrame:
    (tmp_path / "t.csv").write_text(text)
    return tables.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("header", "without"),
    [
        ("p24103_i2", ["I21", "I42", "I48", "I50"]),
        ("p131298", ["I42", "I48", "I50"]),
        ("I42", ["I21", "I48", "I50"]),
        ("p41270", []),
        ("p41202", []),
    ],
)
def test_diseases_that_no_field_gives_are_known(tmp_path, header, without):
    table = read(tmp_path, f"eid,{header},p53_i2\n9000001,,2016-01-01\n")
    assert diagnoses.without_source(table) == without


def test_prevalent_labels_need_the_dates_of_the_diagnoses(tmp_path):
    table = read(tmp_path, "eid,p41270,p53_i2\n9000001,I21.9,2016-01-01\n")
    assert tables.labels(table, "ever")[0].tolist() == [True, False, False, False]
    for rule in ("prevalent", "incident"):
        with pytest.raises(UnreadableError, match="needs the dates of the diagnoses"):
            tables.labels(table, rule)


UNKNOWN_DATES = ("20180203", "17565", "2018-2-3", "03FEB18", "2018-Feb-03")
DATED = ("p131298", "p53_i2", "p41280", "p41280_a1")


@pytest.mark.parametrize(
    ("header", "date"), [*itertools.product(DATED, UNKNOWN_DATES), ("p41280", "[2018-02-03|20180204]")]
)
def test_dates_of_an_unknown_form_stop_the_reader(tmp_path, header, date):
    with pytest.raises(UnreadableError, match=f"{header} has "):
        read(tmp_path, f"eid,p24103_i2,{header}\n9000001,70,2016-01-01\n9000002,71,{date}\n")


def test_dates_of_sas_and_meanings_of_coding_819_are_read(tmp_path):
    cells = ["03FEB2018:00:00:00", "Code has no event date", "1900-01-01"]
    rows = "\n".join(f"{9000001 + k},{cell}" for k, cell in enumerate(cells))
    table = read(tmp_path, f"eid,p131298\n{rows}\n")
    assert diagnoses.first_dates(table)["I21"].tolist() == ["2018-02-03", "unknown", "unknown"]


def test_traits_keep_negative_strains_and_missing_values_are_nan(tmp_path):
    names = [f"p{trait.field_id}_i2" for trait in TRAITS]
    cells = [str(-k / 2) for k in range(82)]
    cells[5] = ""
    (tmp_path / "t.csv").write_text(f"eid,{','.join(names[::-1])}\n9000001,{','.join(cells[::-1])}\n")
    values = tables.traits(tables.read_table(tmp_path / "t.csv"))
    assert values.shape == (1, 82)
    expected = -np.arange(82, dtype=np.float32) / 2
    expected[5] = np.nan
    np.testing.assert_array_equal(values[0], expected)


def written(path, text: str, encoding: str = "utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_several_tables_are_joined_by_participant(tmp_path):
    one = written(tmp_path / "one.csv", "eid,p31,p24100_i2\n9000001,0,150.0\n9000002,1,\n9000003,1,99\n")
    two = written(tmp_path / "two.txt", "f.eid\tf.24100.2.0\tf.24101.2.0\n9000002\t120\t50\n9000001\t150\t60\n")
    table, notes = tables.read_tables([one, two])
    assert notes == []
    assert list(table.index) == ["9000001", "9000002", "9000003"]
    assert tables.as_number(table, 24100, 2).tolist() == [150, 120, 99]  # 150.0 and 150 are one value
    np.testing.assert_array_equal(tables.as_number(table, 24101, 2), [60, 50, np.nan])
    kept, _ = tables.read_tables([one, two], only={"9000002", "9999999"})
    assert kept.loc["9000002"].equals(table.loc["9000002"])
    assert len(kept) == 1


def test_tables_of_different_participants_are_concatenated(tmp_path):
    one = written(tmp_path / "one.csv", "eid,p31,p24100_i2\n9000001,0,150\n")
    two = written(tmp_path / "two.csv", "eid,p24100_i2,p31\n9000002,120,1\n")
    table, _ = tables.read_tables([one, two])
    assert tables.as_number(table, 24100, 2).tolist() == [150, 120]


def test_tables_that_contradict_each_other_or_have_no_common_participants_raise_errors(tmp_path):
    one = written(tmp_path / "one.csv", "eid,p31,p24100_i2\n9000001,0,150\n9000002,1,\n")
    two = written(tmp_path / "two.csv", "eid,p24100_i2\n9000001,151\n")
    with pytest.raises(UnreadableError, match="24100 is given twice and differs for 1"):
        tables.read_tables([one, two])
    other = written(tmp_path / "three.csv", "eid,p24101_i2\n9000007,60\n9000008,60\n9000009,60\n")
    with pytest.raises(UnreadableError, match="0 participants in common"):
        tables.read_tables([one, other])
    with pytest.raises(UnreadableError, match="no table"):
        tables.read_tables([])


def test_rows_without_an_id_and_cells_that_are_not_numbers_are_counted_in_notes(tmp_path):
    path = written(
        tmp_path / "t.csv", 'eid,p31,p24100_i2\n,1,5\n-4,0,6\n9000001.0,0,n/a\n\n"9000002",1,inf\n9000003,1,-7.5\n'
    )
    table, notes = tables.read_tables([path])
    assert list(table.index) == ["9000001", "9000002", "9000003"]
    np.testing.assert_array_equal(tables.as_number(table, 24100, 2), [np.nan, np.nan, -7.5])
    assert notes == [
        "table 1: skipped 2 rows without a participant's id (withdrawn, or damaged)",
        "table 1: field 24100, instance 2: 2 cells are not numbers and count as missing",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "eid,p31,p24100_i2,\n9000001,0,150,\n",  # an empty column at the end
        "eid,p31,p24100_i2\n9000001,0,150,\n",  # an empty cell at the end of each row
        "eid,p31,p24100_i2\n1,9000001,0,150\n",  # R's row names
        '"eid","p31","p24100_i2"\r\n"9000001","0","150"\r\n',
        "eid;p31;p24100_i2\n9000001;0;150",
        'p24100_i2,note é,eid,p31,p31\n150,"a, b\nc",9000001,0,0\n',
        "\ufeffeid\tp31\tp24100_i2\n9000001\t0\t150\n",
    ],
)
def test_rows_with_an_extra_cell_are_read(tmp_path, text):
    table = tables.read_table(written(tmp_path / "t.csv", text))
    assert list(table.index) == ["9000001"]
    assert tables.as_number(table, 24100, 2).tolist() == [150]
    assert tables.sex(table).tolist() == ["female"]


def test_memory_does_not_depend_on_the_number_of_unused_columns(tmp_path):
    import tracemalloc

    peaks = []
    for width in (100, 4000):
        extra = [f"p{90_000 + k}_i0" for k in range(width)]
        lines = [",".join(["eid", "p31", *extra])]
        lines += [",".join([str(9_000_001 + k), "1", *["123456789"] * width]) for k in range(600)]
        path = written(tmp_path / f"{width}.csv", "\n".join(lines))
        tables.read_table(path)
        tracemalloc.start()
        assert tables.read_table(path).shape == (600, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The wide file has 24 MB; a row of it 40 kB as text and 0.3 MB as cells.
    assert peaks[1] - peaks[0] < 3 * 2**20


@pytest.mark.parametrize(
    "text",
    ["9000001\n9000002\n", "eid\r\n9000001\r\n\r\n9000002", '\ufeff"9000001"\n"9000002"\n', "9000001,\n9000002,x\n"],
)
def test_withdrawals_are_read_as_one_id_per_line(tmp_path, text):
    assert tables.read_withdrawals(written(tmp_path / "w1_20250101.csv", text)) == {"9000001", "9000002"}


@pytest.mark.parametrize("text", ["9000001\nabc\n", "9000001\n-5\n", "9000001 9000002\n", "PK\x03\x04\0\0", "9.0e6\n"])
def test_the_error_for_an_invalid_list_of_withdrawals_does_not_quote_it(tmp_path, text):
    with pytest.raises(UnreadableError, match=r"line \d|binary") as caught:
        tables.read_withdrawals(written(tmp_path / "w1_20250101.csv", text))
    assert "9000001" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "date"),
    [
        ("2016-05-01", "2016-05-01"),
        ("2016-05-01T00:00:00", "2016-05-01"),
        ("2016-05-01 10:00", "2016-05-01"),
        ("01may2016", "2016-05-01"),
        ("1900-01-01", "unknown"),
        ("1902-02-02", "unknown"),
        ("1909-09-09", None),
        ("2037-07-07", None),
        ("Code has no event date", "unknown"),
        ("Code has event date in the future and is presumed to be a place-holder", None),
        ("01/05/2016", "unknown"),
        ("2016-13-40", "unknown"),
    ],
)
def test_event_date_reads_dates_and_coding_819(cell, date):
    assert diagnoses.event_date(cell) == date


def test_diagnoses_after_the_censoring_date_do_not_count(tmp_path):
    table = table_of([{"p131298": "2018-01-01"}, {"p131298": "2020-06-01"}, {"p131298": "1900-01-01"}], tmp_path)
    assert diagnoses.labels(table, "incident", until="2019-12-31")[:, 0].tolist() == [True, False, False]
    assert diagnoses.labels(table, "ever", until="2019-12-31")[:, 0].tolist() == [True, False, True]


def test_columns_named_after_diseases_give_ever_labels_and_zero_means_no_diagnosis(tmp_path):
    rows = [{"I21": "1", "I48": "0"}, {"I21": "2015-03-01", "I48": ""}, {"I21": "", "I48": "False"}]
    table = table_of(rows, tmp_path)
    assert diagnoses.labels(table, "ever")[:, 0].tolist() == [True, True, False]
    assert diagnoses.labels(table, "prevalent")[:, 0].tolist() == [False, True, False]
    assert not diagnoses.labels(table, "ever")[:, 1:].any()


@pytest.mark.parametrize(
    ("codes", "dates", "prevalent"),
    [
        ("I10|I21.9 Acute myocardial infarction, unspecified", {"p41280_a1": "2010-01-01"}, True),
        ("I21.9 Acute myocardial infarction, unspecified", {"p41280_a0": "2010-01-01"}, True),
        ('["I10", null, "I219"]', {"p41280_a1": "2010-01-01", "p41280_a2": "2020-01-01"}, False),
        ("I10|I219", {"p41280": "2020-01-01|2010-01-01"}, True),  # the dates in one cell, too
        ("i219", {"p41280_a0": "2010-01-01"}, True),
        ("I10,I219", {"p41280_a0": "2010-01-01"}, False),  # its own date is missing
    ],
)
def test_each_code_has_the_date_at_the_same_position(tmp_path, codes, dates, prevalent):
    table = table_of([{"p41270": codes, **dates}], tmp_path)
    assert diagnoses.labels(table, "ever")[0, 0]
    assert diagnoses.labels(table, "prevalent")[0, 0] == prevalent


def test_main_diagnoses_alone_give_labels(tmp_path):
    table = table_of([{"p41202": '["I10","I501"]', "p41262_a1": "2010-01-01"}], tmp_path)
    assert diagnoses.labels(table, "prevalent").tolist() == [[False, False, False, True]]


def test_the_first_date_of_a_json_list_belongs_to_the_first_code(tmp_path):
    table = table_of([{"p41270": '["I210","I500"]', "p41280": '["2010-01-01","2017-01-01"]'}], tmp_path)
    dates = diagnoses.first_dates(table).iloc[0]
    assert (dates["I21"], dates["I50"]) == ("2010-01-01", "2017-01-01")
    assert diagnoses.labels(table, "prevalent")[0].tolist() == [True, False, False, False]
