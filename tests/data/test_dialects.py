"""One cohort in every dialect gives one store."""

from __future__ import annotations

import numpy as np
import pytest

from eccl_lib.config import load
from eccl_lib.data import diagnoses, synthetic, tables
from eccl_lib.data.synthetic import table_dialects
from eccl_lib.data.synthetic.table_dialects import TABLE_DIALECTS

CONFIG = load("demo").synthetic
RULES = ("ever", "prevalent", "incident")


@pytest.fixture(scope="module")
def frame():
    return synthetic.render_table(CONFIG, range(150))


@pytest.fixture(scope="module")
def default(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "participants.csv"
    frame.to_csv(path, index=False, lineterminator="\n")
    table = tables.read_table(path)
    return table, {rule: diagnoses.labels(table, rule) for rule in RULES}, diagnoses.first_dates(table).fillna("")


@pytest.mark.parametrize("name", TABLE_DIALECTS)
def test_a_table_in_every_dialect_gives_the_same_facts(frame, default, tmp_path, name):
    path = tmp_path / "table"
    path.write_bytes(table_dialects.write(frame, TABLE_DIALECTS[name]))
    table, notes = tables.read_tables([path])
    assert notes == []
    wanted, labels, dates = default
    assert list(table.index) == list(wanted.index)
    np.testing.assert_array_equal(tables.traits(table), tables.traits(wanted))
    assert tables.sex(table).tolist() == tables.sex(wanted).tolist()
    age = [tables.as_number(t, tables.AGE, tables.IMAGING_VISIT) for t in (table, wanted)]
    np.testing.assert_array_equal(*age)
    for rule in RULES:
        np.testing.assert_array_equal(diagnoses.labels(table, rule), labels[rule])
        assert labels[rule].any(axis=0).all()
    assert (diagnoses.first_dates(table).fillna("") == dates).all(axis=None)
