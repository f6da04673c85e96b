"""Tabular exports in all their styles, labels by date, traits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config import DISEASES
from eccl_lib.data import diagnoses, headers, tables
from eccl_lib.data.records import UnreadableError
from eccl_lib.data.traits import TRAITS


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
        ("eid", None),
        ("I21", (131298, 0, 1)),
        ("I25", None),
    ],
)
def test_every_export_style_names_its_field(header, key):
    assert headers.field_of(header) == key


STYLES = {
    "platform": ("eid", "p24103_i2", "p31", "p53_i2", ","),
    "extract": ("participant.eid", "participant.p24103_i2", "participant.p31", "participant.p53_i2", ","),
    "ukbconv csv": ("eid", "24103-2.0", "31-0.0", "53-2.0", ","),
    "ukbconv r": ("f.eid", "f.24103.2.0", "f.31.0.0", "f.53.2.0", "\t"),
    "stata": ("n_eid", "n_24103_2_0", "n_31_0_0", "ts_53_2_0", "\t"),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_all_styles_give_one_table(tmp_path, style, encoding):
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
def test_unusable_tables_are_refused(tmp_path, text, reason):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UnreadableError, match=reason):
        tables.read_table(tmp_path / "t.csv")
    with pytest.raises(UnreadableError, match="opened"):
        tables.read_table(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    "cell", ['["I10", "I219"]', "['I10', 'I219']", "I10|I219", "I10,I219", ' ["I10","I219"] ', "[I10, I219]"]
)
def test_lists_of_codes_are_read_in_any_writing(cell):
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
        {"p131298": "1900-01-01"},  # diagnosed, when is unknown
        {"p131298": "2037-07-07"},  # placeholder: healthy
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


def test_codes_in_columns_of_their_own_mean_the_same_as_a_list(tmp_path):
    text = "eid,41270-0.0,41270-0.1,41280-0.0,41280-0.1,53-2.0\n9000001,I10,I480,2001-01-01,2020-01-01,2016-05-01\n"
    (tmp_path / "t.csv").write_text(text)
    table = tables.read_table(tmp_path / "t.csv")
    assert diagnoses.labels(table, "incident").tolist() == [[False, False, True, False]]
    assert not diagnoses.labels(table, "prevalent").any()


def test_dates_are_needed_for_dated_labels(tmp_path):
    (tmp_path / "t.csv").write_text("eid,p131298\n9000001,2001-01-01\n")
    table = tables.read_table(tmp_path / "t.csv")
    assert diagnoses.labels(table, "ever")[0, 0]
    with pytest.raises(UnreadableError, match="imaging date"):
        diagnoses.labels(table, "prevalent")


def test_traits_keep_negative_strain_and_leave_missing_as_nan(tmp_path):
    names = [f"p{trait.field_id}_i2" for trait in TRAITS]
    cells = [str(-k / 2) for k in range(82)]
    cells[5] = ""
    (tmp_path / "t.csv").write_text(f"eid,{','.join(names[::-1])}\n9000001,{','.join(cells[::-1])}\n")
    values = tables.traits(tables.read_table(tmp_path / "t.csv"))
    assert values.shape == (1, 82)
    wanted = -np.arange(82, dtype=np.float32) / 2
    wanted[5] = np.nan
    np.testing.assert_array_equal(values[0], wanted)
