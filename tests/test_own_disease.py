"""A disease of the user, I25, from files of UK Biobank's form to Table 1, its page, a model card and predictions."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.load import load
from eccl_lib.data import open_cohort
from eccl_lib.data.synthetic import ukb_tree
from eccl_lib.data.ukb.tables import read_table
from eccl_lib.evaluation import cohort_summary
from eccl_lib.io import paths
from eccl_lib.pipeline import stages
from eccl_lib.tasks import default_tasks, disease_names, task_of
from eccl_lib.training.runs import Run
from tests.conftest import TINY, eccl, tiny_config

N = 60
NAME = "coronary disease"
LINE = f"diseases={{I25: {NAME}}}"
SMALL = {
    **{name: value for name, value in TINY.items() if not name.startswith("synthetic.")},
    **{f"{section}.epochs": 1 for section in ("mae", "cmr_training", "align")},
    **{f"{section}.warmup_epochs": 0 for section in ("mae", "cmr_training", "align")},
    "runtime.show_small_counts": "generated data of a test",
    "runtime.build_missing": True,
}
FROM_I25 = ["--scale", "demo", "--cohort", "ukb", "--set", LINE]


def config_of(disease="I25", diseases=True, **overrides):
    own = {"diseases": {"I25": NAME}} if diseases else {}
    return load("demo", cohort="ukb", disease=disease, overrides={**SMALL, **own, **overrides})


def settings():
    return [word for name, value in SMALL.items() for word in ("--set", f"{name}={json.dumps(value)}")]


def with_codes(table: pd.DataFrame) -> pd.DataFrame:
    """The table with I25 among the hospital codes of every third participant, half of them before the visit."""
    for place in range(0, len(table), 3):
        codes = json.loads(table.at[place, "p41270"] or "[]")
        dates = [table.at[place, f"p41280_a{k}"] for k in range(len(codes))]
        date = "2001-01-01" if place % 2 else "2035-01-01"
        listed = sorted([*zip(codes, dates, strict=True), ("I251", date)])
        table.at[place, "p41270"] = json.dumps([code for code, _ in listed])
        for k, (_, day) in enumerate(listed):
            table.at[place, f"p41280_a{k}"] = day
    return table


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with generated participants in UK Biobank's layout; every third one has I25."""
    root, synthetic = tmp_path_factory.mktemp("files"), tiny_config().synthetic
    for index in range(N):
        ukb_tree.write_participant(synthetic, index, root)
    ukb_tree.write_table(synthetic, root)
    path = root / ukb_tree.TABLE
    with_codes(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    return root


def ingest(files, *more):
    given = ["--table", files / ukb_tree.TABLE, "--no-withdrawals", "--scale", "demo", "--workers", "1"]
    return eccl("ingest", "ukb", files, *given, *settings(), *more)


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory):
    """A folder of runs with a store without I25 and, in ``fingerprints``, what its runs were called."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECCL_RUNS", str(folder))
        assert ingest(files) == 0
        yield folder


@pytest.fixture(scope="module")
def before(runs):
    """Fingerprints of the cohort and of some runs before the line of the config existed, and the error without I25."""
    with pytest.raises(MissingError) as caught:
        open_cohort.load(config_of(), print)
    return fingerprints(diseases=False), str(caught.value)


@pytest.fixture(scope="module")
def data(runs, before, files):
    """The cohort after it was built with the line of the config."""
    assert ingest(files, "--set", LINE) == 0
    return open_cohort.load(config_of(), print)


def fingerprints(diseases):
    data = open_cohort.load(config_of("I48", diseases), print)
    of_runs = [
        stages.expected(config_of(task, diseases), name, data).fingerprint
        for task in ("I48", "traits")
        for name in ("pretrain_ecg", "pretrain_cmr", "eccl", "scratch")
    ]
    return [data.fingerprint, *of_runs]


def test_a_store_without_the_code_names_the_command_that_adds_it(before):
    assert re.search(r"no labels of I25\. Build .*\n  eccl ingest ukb .* --set 'diseases=\{", before[1])


def test_labels_have_dates_like_the_four(data, files):
    table = read_table(files / ukb_tree.TABLE).loc[data.table["eid"]]
    places = np.array([int(eid) - ukb_tree.FIRST_EID for eid in table.index])
    assert data.label_of("I25").tolist() == (places % 3 == 0).tolist()
    early = (places % 3 == 0) & (places % 2 == 1)
    for rule, expected in (("prevalent", early), ("incident", (places % 3 == 0) & ~early)):
        assert (
            open_cohort.load(config_of(**{"store.labels": rule}), print).label_of("I25").tolist() == expected.tolist()
        )
    assert data.own is None  # not among the labels of probes
    report = json.loads((data.folder / "report" / "report.json").read_text())
    assert set(report["prevalence"]["ever"]) == {"I21", "I42", "I48", "I50", "I25"}
    assert report["prevalence"]["prevalent"]["I25"]["cases"] == int(early.sum())
    assert "I25" in cohort_summary.cohort_table(data, config_of())


def test_runs_of_other_tasks_keep_their_fingerprints(data, before):
    assert fingerprints(diseases=True) == before[0] == fingerprints(diseases=False)


def test_a_run_of_the_code_depends_on_its_labels_and_not_on_its_name(data):
    first = stages.expected(config_of(), "scratch", data)
    renamed = load("demo", cohort="ukb", disease="I25", overrides={**SMALL, "diseases": {"I25": "another name"}})
    assert stages.expected(renamed, "scratch", data).fingerprint == first.fingerprint
    changed = {**data.diagnoses, "I25": ~data.diagnoses["I25"]}
    data.diagnoses, kept = changed, data.diagnoses
    try:
        assert stages.expected(config_of(), "scratch", data).fingerprint != first.fingerprint
    finally:
        data.diagnoses = kept


def test_the_command_of_a_run_gives_its_config(data):
    own = stages.spec(config_of(), "pretrain_cmr")
    assert own.config.diseases == (("I25", NAME),) and '--set \'diseases={"I25": "coronary disease"}\'' in own.command
    for task in ("I48", "traits"):
        assert not stages.spec(config_of(task), "pretrain_cmr").config.diseases
    assert not stages.spec(config_of(), "pretrain_ecg").config.diseases


@pytest.fixture(scope="module")
def table(data):
    words = ["--rows", "scratch", "eccl", "--tasks", "I48", "I25", "--jobs", "1"]
    assert eccl("table1", *words, *FROM_I25, *settings()) == 0
    return paths.figures_dir("demo", "ukb")


def test_table_1_has_the_code_and_its_name(table):
    cells = pd.read_csv(table / "table1_cells.csv")
    assert set(cells["task"]) == {"I48", "I25"}
    assert set(cells.loc[cells["task"] == "I25", "column"]) == {NAME}
    wide = pd.read_csv(table / "table1.csv")
    assert wide["I25_AUC_mean"].between(0, 1).all() and "af_auc_mean" in wide
    text = (table / "table1.md").read_text()
    assert f"{NAME} AUC" in text
    published = next(line for line in text.splitlines() if "paper (UK Biobank" in line and line.startswith("|"))
    assert published.split("|")[-2].strip() == ""  # the paper has no value of this disease
    assert set(pd.read_csv(table / "separation.csv")["task"]) == {"I48", "I25"}
    assert set(pd.read_csv(table / "retrieval.csv")["task"]) == {"I48", "I25"}
    facts = json.loads((table / "table1.json").read_text())
    assert facts["diseases"] == {"I25": NAME} and facts["test_positives"]["I25"] > 0


def test_the_report_has_the_name_without_the_line_of_the_config(table, capsys):
    words = [word for word in FROM_I25 if word not in ("--set", LINE)]
    assert eccl("report", *words, *settings()) == 0
    page = (table / "report.html").read_text()
    assert f"<th>{NAME} AUC</th>" in page and f"<td>{NAME}</td>" in page
    differences = page.split(">Differences</h2>")[1].split("</table>")[0]
    assert re.findall("<th>(.*?)</th>", differences) == ["ECCL minus", "AF", NAME]


def test_a_run_is_exported_and_predicts_under_its_name(table, data, tmp_path, files, capsys):
    run = stages.expected(config_of(), "eccl", data)
    assert Run.at(run.folder).config["diseases"] == {"I25": NAME}
    assert eccl("export", run.folder, "--out", tmp_path / "model") == 0
    assert f"# ECG model: {NAME}" in (tmp_path / "model" / "README.md").read_text()
    ecg = next(files.rglob("*_20205_2_0.xml"))
    assert eccl("predict", ecg, "--weights", run.folder, "--out", tmp_path / "out.html") == 0
    assert f"{NAME} (I25), probability" in (tmp_path / "out.html").read_text()
    assert eccl("predict", ecg, "--weights", run.folder, "--out", tmp_path / "out.csv") == 0
    assert 0 < pd.read_csv(tmp_path / "out.csv")["I25_score"].item() < 1


def test_an_unknown_code_names_the_line_that_adds_it(capsys):
    assert eccl("train", "scratch", "--disease", "I25", "--cohort", "ukb") == 2
    assert "diseases: {I25: name of the disease}" in capsys.readouterr().err
    assert eccl("table1", "--tasks", "I48", "I25", "--cohort", "ukb") == 2
    assert "diseases: {I25: name of the disease}" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"diseases: \{I26: name of the disease\}"):
        task_of(config_of(), "I26")


def test_the_synthetic_cohort_refuses_further_diseases(capsys):
    assert eccl("train", "scratch", "--disease", "I25", "--set", LINE) == 2
    said = capsys.readouterr().err
    assert "empty for the synthetic cohort, which has I21, I42, I48, I50 alone" in said
    assert "diseases is {'I25': " in said


def test_default_tasks_are_the_papers_and_the_configs():
    assert default_tasks(config_of()) == ("I21", "I42", "I48", "I50", "traits", "I25")
    assert default_tasks(config_of("I48", diseases=False)) == ("I21", "I42", "I48", "I50", "traits")
    assert disease_names(config_of())["I25"] == NAME and task_of(config_of()).title == f"{NAME} (I25)"
