"""Own labels: tasks on the command line, tables, PTB-XL's own tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.errors import ConfigError, UnreadableError
from eccl_lib.data import own_labels
from eccl_lib.data.ingest import ptbxl
from tests.data.conftest import SHARED

WORDS = ("MI:binary", "age:continuous", "superclass:multilabel:NORM,MI")


def table(**columns):
    return pd.DataFrame(columns, dtype=str)


def test_tasks_are_parsed_with_their_kind_and_columns():
    tasks = own_labels.parse(WORDS)
    assert list(tasks) == ["MI", "age", "superclass"]
    assert tasks["superclass"].columns == ("NORM", "MI") and tasks["MI"].columns == ("MI",)
    assert [task.is_binary for task in tasks.values()] == [True, False, True]
    again = own_labels.tasks_from_json(own_labels.OwnLabels(tasks, pd.DataFrame()).tasks_as_json())
    assert again == tasks


@pytest.mark.parametrize("word", ["MI", "MI:yes", ":binary", "MI:binary:a,b", "x:multilabel:a,,b"])
def test_other_words_are_refused_with_the_form(word):
    with pytest.raises(ConfigError, match="NAME:KIND"):
        own_labels.parse([word])


def test_a_name_is_given_once():
    with pytest.raises(ConfigError, match="MI is given twice"):
        own_labels.parse(["MI:binary", "MI:binary"])


def test_empty_cells_are_missing_and_columns_are_shared_between_tasks():
    values = table(MI=["1", "", "0"], NORM=["0", "1", ""], age=["50.5", " 60 ", ""])
    labels = own_labels.from_table(values, own_labels.parse(WORDS), "labels.csv")
    np.testing.assert_array_equal(labels.values["MI"], [1, np.nan, 0])
    np.testing.assert_array_equal(labels.values["age"], [50.5, 60, np.nan])
    tasks, array = labels.of(["age", "superclass"])
    assert [task.name for task in tasks] == ["age", "superclass"] and array.shape == (3, 3)
    with pytest.raises(ConfigError, match=r"no task HF; its tasks are MI, age, superclass"):
        labels.of(["HF"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"MI": ["2"], "NORM": ["0"], "age": ["1"]}, "column MI has 1 cells that do not fit binary, such as '2'"),
        ({"MI": ["yes"], "NORM": ["0"], "age": ["1"]}, "such as 'yes'"),
        ({"MI": ["1"], "NORM": ["0"], "age": ["61,5"]}, "column age has 1 cells that do not fit continuous"),
        ({"MI": ["1"], "age": ["1"]}, "has no column NORM"),
    ],
)
def test_cells_that_do_not_fit_are_named(columns, message):
    with pytest.raises(UnreadableError, match=message):
        own_labels.from_table(table(**columns), own_labels.parse(WORDS), "labels.csv")


STATEMENTS = """,description,diagnostic_class,diagnostic_subclass
NORM,normal,NORM,NORM
IMI,inferior,MI,IMI
ASMI,anteroseptal,MI,AMI
LVH,hypertrophy,HYP,LVH
AFIB,fibrillation,,
"""
ROWS = """ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr
1,7.0,56.0,1,"{'NORM': 100.0, 'SR': 0.0}",3,a/1_lr,b/1_hr
2,8.0,300.0,0,"{'IMI': 15.0, 'AFIB': 0.0, 'LVH': 50.0}",10,a/2_lr,b/2_hr
3,8.0,,,{},10,a/3_lr,b/3_hr
"""


def written(folder: Path, rows: str = ROWS) -> Path:
    (folder / ptbxl.DATABASE).write_text(rows)
    (folder / ptbxl.STATEMENTS).write_text(STATEMENTS)
    return folder


def test_ptbxls_tables_give_classes_fibrillation_sex_age_patient_and_fold(tmp_path):
    facts, labels = ptbxl.read(written(tmp_path))
    assert set(facts.index) == {"a/1_lr", "a/2_lr", "a/3_lr", "b/1_hr", "b/2_hr", "b/3_hr"}
    assert list(labels.values.index) == list(facts.index)
    assert facts.loc["b/2_hr"].tolist()[:2] == ["ptbxl/8", "male"] and facts.loc["a/2_lr", "fold"] == 10
    assert np.isnan(facts.loc["a/2_lr", "age"])  # 300 stands for an age above 89
    second = labels.values.loc["b/2_hr"]
    assert second[["MI", "HYP", "AF", "NORM", "sub_IMI", "sub_AMI", "male"]].tolist() == [1, 1, 1, 0, 1, 0, 1]
    third = labels.values.loc["a/3_lr"]
    assert third[["NORM", "AF"]].tolist() == [0, 0] and np.isnan(third["male"])
    assert labels.tasks["superclass"].columns == ptbxl.SUPERCLASSES and labels.tasks["age"].kind == "continuous"


def test_a_folder_without_both_tables_is_not_ptbxl(tmp_path):
    (tmp_path / ptbxl.DATABASE).write_text(ROWS)
    assert ptbxl.read(tmp_path) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scp_codes", "codes", "no column scp_codes"),
        ("{}", "__import__('os')", "scp_codes"),
        ("{}", "7", "has no codes with likelihoods"),
        ("{}", '"{' + "'a': 1, " * 100_000 + '}"', "has no codes with likelihoods"),
        (",10,a/3_lr", ",,a/3_lr", "1 rows have no strat_fold"),
    ],
)
def test_damaged_tables_of_ptbxl_are_refused(tmp_path, old, new, message):
    with pytest.raises(UnreadableError, match=message):
        ptbxl.read(written(tmp_path, ROWS.replace(old, new)))


@pytest.mark.skipif(not (SHARED / "ptbxl").is_dir(), reason="../shared/data/ptbxl is not there")
def test_the_first_recordings_of_ptbxl_have_their_published_counts():
    facts, labels = ptbxl.read(SHARED / "ptbxl")
    counts = {"NORM": 1051, "STTC": 467, "CD": 410, "MI": 370, "HYP": 215, "AF": 100}
    assert labels.values[list(counts)].sum().astype(int).to_dict() == counts
    assert len(facts) == 1987 and facts["patient"].nunique() == 1850
    assert set(facts["fold"]) == set(range(1, 11))


def labelled(folder, *names):
    paths = [folder / "records" / "0" / f"{name}.hea" for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


PLACED = ROWS.replace("a/", "records/0/").replace("b/", "records/0/")


def test_labels_come_in_the_order_of_the_recordings(tmp_path):
    written(tmp_path, PLACED)
    labels, facts = ptbxl.labels_of(labelled(tmp_path, "2_lr", "1_lr"))
    assert labels.values["MI"].tolist() == [1, 0] and facts["fold"].tolist() == [10, 3]
    assert ptbxl.labels_of(labelled(tmp_path, "8_lr", "9_lr")) == (None, None)


def test_recordings_outside_of_ptbxls_tables_are_named_and_not_mixed_in(tmp_path):
    written(tmp_path, PLACED)
    with pytest.raises(UnreadableError, match=r"1 of 2 recordings are not in ptbxl_database.csv, such as 9_lr.hea"):
        ptbxl.labels_of(labelled(tmp_path, "1_lr", "9_lr"))
