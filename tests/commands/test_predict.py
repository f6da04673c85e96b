"""``eccl predict``: one row a file, results on standard output, messages on standard error."""

import io
import json
import shutil

import pandas as pd
import pytest
import torch

from eccl_lib.evaluation import predict, prediction_table
from eccl_lib.io.files import read_json, sha256, write_json, write_sealed
from tests.conftest import eccl
from tests.evaluation.trained import train_all, write_csv


@pytest.fixture(scope="module")
def runs(shared_runs):
    train_all()
    return shared_runs / "demo-synthetic"


@pytest.fixture
def folder(tmp_path):
    """Two ECGs and a PDF."""
    place = tmp_path / "ecgs"
    (place / "sub").mkdir(parents=True)
    write_csv(place / "a.csv", 0)
    write_csv(place / "sub" / "a.csv", 1)
    (place / "scan.pdf").write_bytes(b"%PDF-1.4")
    return place


def test_a_folder_gives_one_row_a_file_and_the_unreadable_one_has_its_reason(runs, folder, capsys):
    assert eccl("predict", folder, "--weights", runs) == 0
    printed = capsys.readouterr()
    table = pd.read_csv(io.StringIO(printed.out))
    assert list(table) == prediction_table.columns()
    assert list(table["file"]) == [str(folder / name) for name in ("a.csv", "scan.pdf", "sub/a.csv")]
    assert list(table["status"]) == ["read", "not read", "read"]
    assert table["reason"][1] == "the file is a PDF"
    read = table[table["status"] == "read"]
    assert read[[f"{code}_score" for code in ("I21", "I42", "I48", "I50")]].gt(0).all(axis=None)
    assert read["LVEDV"].notna().all()
    assert read["LVEDV"].nunique() == 2
    assert "2 of 3 files were read" in printed.err
    assert predict.RESEARCH in printed.err


def test_a_file_has_the_same_row_alone_and_among_others(runs, folder, capsys):
    eccl("predict", folder, "--weights", runs, "--json")
    among = json.loads(capsys.readouterr().out)[2]
    assert eccl("predict", folder / "sub" / "a.csv", "--weights", runs, "--json") == 0
    (alone,) = json.loads(capsys.readouterr().out)
    texts = {name for name, value in among.items() if isinstance(value, str)}
    assert {name: alone[name] for name in texts} == {name: among[name] for name in texts}
    numbers = [(alone[name], value) for name, value in among.items() if name not in texts and value is not None]
    assert len(numbers) > 82
    assert [first for first, _ in numbers] == pytest.approx([second for _, second in numbers], rel=1e-4, abs=1e-4)


def test_one_file_is_shown_as_text_with_every_trait_spelled_out(runs, folder, capsys):
    assert eccl("predict", folder / "a.csv", "--weights", runs) == 0
    out = capsys.readouterr().out
    assert "LV end diastolic volume" in out
    assert "low, high: 95 % prediction interval" in out
    assert "percentile: percentage of the test participants with a lower score" in out
    assert "heart failure" in out
    assert predict.WARNING in out
    assert predict.RESEARCH in out


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_results_go_to_a_file_and_never_over_another_one(runs, folder, tmp_path, capsys, suffix):
    out = tmp_path / f"results.{suffix}"
    assert eccl("predict", folder, "--weights", runs, "--out", out) == 0
    assert capsys.readouterr().out == ""
    read = {"parquet": pd.read_parquet, "csv": pd.read_csv, "json": pd.read_json}[suffix]
    table, before = read(out), out.read_bytes()
    assert list(table["status"]) == ["read", "not read", "read"]
    assert eccl("predict", folder / "a.csv", "--weights", runs, "--out", out) == 2
    assert "the file exists and is not overwritten" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_the_status_is_1_where_nothing_was_read_and_no_model_is_needed(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "empty"))
    assert eccl("predict", folder / "scan.pdf", "--scale", "paper") == 1
    printed = capsys.readouterr()
    assert printed.err.strip() == (
        f"{folder / 'scan.pdf'}: the file is a PDF. Give the ECG's signals; an image or a document of them is not read."
    )
    assert eccl("predict", folder / "scan.pdf", tmp_path / "none.csv") == 1


@pytest.mark.parametrize(
    "words", [("--cohort", "ukb"), ("--scale", "demo"), ("--seed", "3"), ("--set", "align.pooling=mean")]
)
def test_an_option_that_the_weights_decide_is_refused(runs, folder, words, capsys):
    assert eccl("predict", folder, "--weights", runs, *words) == 2
    assert f"error: {words[0]}" in (message := capsys.readouterr().err) and "has no effect with --weights" in message


def test_the_runtime_of_loaded_weights_can_be_set(runs, folder, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert eccl("predict", folder / "a.csv", "--weights", runs, "--set", "runtime.device=cuda") == 2
    assert "error: runtime.device is cuda, and torch finds no GPU" in capsys.readouterr().err
    assert eccl("predict", folder / "a.csv", "--weights", runs, "--set", "runtime.device=cpu") == 0


def test_bad_targets_and_weights_are_refused_before_any_work(runs, folder, tmp_path, capsys):
    for words, said in (
        (("--out", tmp_path / "r.xlsx"), "must end in one of .parquet, .csv, .json, .html"),
        (("--out", tmp_path / "none" / "r.csv"), "there is no folder"),
        (("--weights", tmp_path), "contains no finished run of align"),
        (("--weights", runs / "pretrain_ecg"), "contains no finished run of align"),
    ):
        assert eccl("predict", folder / "a.csv", *words) == 2
        assert said in capsys.readouterr().err


def test_the_folder_of_one_run_predicts_its_task_alone(runs, folder, capsys):
    (run,) = (runs / "align" / "eccl" / "I48").iterdir()
    assert eccl("predict", folder, "--weights", run) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table["I48_score"].notna().sum() == 2
    assert table["I21_score"].isna().all()
    assert table["LVEDV"].isna().all()


def test_runs_of_two_cohorts_are_refused_since_one_cohort_calibrates_them(runs, folder, tmp_path, capsys):
    (run,), (traits,) = ((runs / "align" / "eccl" / task).iterdir() for task in ("I48", "traits"))
    copy = shutil.copytree(run, tmp_path / "align" / "eccl" / "I48" / run.name)
    write_json(copy / "config.json", read_json(copy / "config.json") | {"cohort": "ukb"})
    manifest = read_json(copy / "manifest.json")
    manifest["files"]["config.json"] = sha256(copy / "config.json")
    write_sealed(copy / "manifest.json", manifest)
    assert eccl("predict", folder / "a.csv", "--weights", traits, "--weights", copy) == 2
    said = capsys.readouterr().err
    assert "the runs are of different cohorts" in said and f"{copy} (ukb)" in said


def test_the_page_has_a_section_for_each_file_and_loads_nothing(runs, folder, tmp_path):
    write_csv(folder / "<b>&.csv", 2)
    out = tmp_path / "r.html"
    assert eccl("predict", folder, "--weights", runs, "--out", out) == 0
    page = out.read_text()
    assert page.count("<h2 id=f") == 4
    assert "&lt;b&gt;&amp;.csv" in page and "<b>" not in page
    assert "Not read: the file is a PDF." in page
    for sentence in (predict.RESEARCH, predict.WARNING):  # once, before the first number
        assert page.count(sentence) == 1
        assert page.index(f"<p class=warning>{sentence}") < page.index("<table>")
    assert page.index("heart failure (I50): prob") > page.index("</table>")
    assert "left ventricular end diastolic volume" in page
    assert page.count("participants of the training cohort with this score") == 3 * 4
    assert not [word for word in ("http", "src=", "<script", "url(") if word in page]
