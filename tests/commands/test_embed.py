"""``eccl embed``: embeddings of files and of a cohort are those of the run's encoder."""

import numpy as np
import pandas as pd
import pytest

import eccl_lib
from eccl_lib.data import open_cohort
from eccl_lib.pipeline import stages
from tests.conftest import eccl, tiny_config
from tests.evaluation.trained import write_csv


@pytest.fixture(scope="module")
def runs(shared_runs):
    return {name: stages.train(tiny_config(), name, lambda line: None).folder for name in ("pretrain_ecg", "eccl")}


def features(table):
    return table[[name for name in table if name[0] == "f" and name[1:].isdigit()]].to_numpy()


def test_files_have_the_features_of_the_encoder_and_a_bad_one_its_reason(runs, tmp_path, capsys):
    folder = tmp_path / "ecgs"
    folder.mkdir()
    paths = [write_csv(folder / f"{k}.csv", k) for k in range(2)]
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4")
    out = tmp_path / "e.parquet"
    assert eccl("embed", folder, "--weights", runs["pretrain_ecg"], "--out", out) == 0
    table = pd.read_parquet(out)
    assert list(table["status"]) == ["read", "read", "not read"]
    assert table["reason"][2] == "the file is a PDF"
    expected = eccl_lib.load(runs["pretrain_ecg"]).embed(paths).numpy()
    assert features(table)[:2] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(features(table)[2]).all()
    assert "2 of 3 ECGs, 32 features each" in capsys.readouterr().err
    assert eccl("embed", folder, "--weights", runs["pretrain_ecg"], "--out", out) == 2  # nothing is overwritten
    assert eccl("embed", folder / "scan.pdf", "--weights", runs["pretrain_ecg"], "--out", tmp_path / "n.csv") == 1


@pytest.mark.parametrize("projected", [False, True])
def test_a_cohort_has_one_row_a_participant(runs, tmp_path, projected):
    out = tmp_path / "e.parquet"
    more = ["--projected"] if projected else []
    assert eccl("embed", "--cohort", "synthetic", "--weights", runs["eccl"], "--out", out, *more) == 0
    table, data = pd.read_parquet(out), open_cohort.load(tiny_config(), lambda line: None)
    assert list(table["eid"]) == list(data.table["eid"])
    assert list(table["split"]) == list(data.table["split"])
    model = eccl_lib.load(runs["eccl"])
    expected = model.features(model.scale(np.asarray(data.ecg[:5])), projected=projected).numpy()
    assert features(table)[:5] == pytest.approx(expected, abs=1e-4)
    if projected:
        assert np.linalg.norm(features(table), axis=1) == pytest.approx(1.0, abs=1e-5)


def test_wrong_words_are_refused_with_the_cure(runs, tmp_path, capsys):
    out, file = tmp_path / "e.parquet", write_csv(tmp_path / "a.csv")
    for words, said in (
        ([], "give either files or folders, or --cohort"),
        ([file, "--cohort", "synthetic"], "give either files or folders, or --cohort"),
        ([file, "--projected"], "has no projection; leave out --projected"),
        (["--cohort", "ecg-none"], "ecg-none"),
    ):
        assert eccl("embed", *words, "--weights", runs["pretrain_ecg"], "--out", out) == 2
        assert said in capsys.readouterr().err
    assert eccl("embed", file, "--weights", tmp_path, "--out", out) == 2
    assert "no folder of a finished run" in capsys.readouterr().err
    assert eccl("embed", file, "--weights", runs["eccl"], "--out", tmp_path / "e.json") == 2
    assert not out.exists()
