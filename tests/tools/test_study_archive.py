"""The committed results of the study give the tables of its runs, also after the runs are gone."""

import json

import numpy as np
import pandas as pd
import pytest

from eccl_lib.config.schema import TASKS
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import features as latent
from eccl_lib.evaluation import latent_scores, table1
from eccl_lib.metrics import scores
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.training.run_scores import measured_and_predicted
from tests.conftest import tiny_config
from tests.evaluation.test_table1 import SEEDS, features, grid, quiet  # noqa: F401
from tools import study_archive, study_results

NUMBERS = {"table1_cells.csv": "mean", "table1_seeds.csv": "test", "claims.csv": "difference", "traits.csv": "r"}


@pytest.fixture(scope="module")
def archives(grid, tmp_path_factory):  # noqa: F811
    """The files of Table 1 from the runs, and the archive that was filled one seed after the other."""
    (config, data), (table, archive) = grid, (tmp_path_factory.mktemp(name) for name in ("table", "archive"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent, "before_alignment", features)
        patch.setattr(latent, "after_alignment", features)
        table1.write(config, tuple(METHODS), TASKS, SEEDS, table, quiet)
        for seed in SEEDS:  # as if only the runs of this seed were there
            patch.setattr(study_archive, "SEEDS", [seed])
            lines = study_archive.add(config, data, archive)
    assert len(lines) == len(METHODS) * len(TASKS) * len(SEEDS)
    for old, new in study_results.RENAMED.items():
        (table / old).rename(table / new)
    return table, archive


def test_tables_of_the_archive_are_those_of_the_runs(grid, archives, tmp_path, monkeypatch):  # noqa: F811
    (config, data), (table, archive) = grid, archives
    monkeypatch.setenv("ECCL_RUNS", str(tmp_path / "no runs"))
    study_results.write_table(config, data, SEEDS, archive)
    for name, column in NUMBERS.items():
        expected, found = pd.read_csv(table / name), pd.read_csv(archive / name)
        same = [each for each in expected.select_dtypes(exclude="number") if each != "verdict"]
        pd.testing.assert_frame_equal(found[same], expected[same])
        np.testing.assert_allclose(found[column], expected[column], atol=5e-3)  # one tied pair changes an AUC by .004
    for name in ("retrieval.csv", "separation.csv"):  # from ranks and purities, which are exact
        pd.testing.assert_frame_equal(pd.read_csv(archive / name), pd.read_csv(table / name))


def test_provenance_of_the_archive_is_that_of_the_runs(grid, archives):  # noqa: F811
    table, archive = archives
    expected = json.loads((table / "table1.json").read_text())
    found = json.loads(json.dumps(study_results.facts(*grid, SEEDS, archive)))
    assert found["runs_sha256"] == expected["runs_sha256"] and found["runs"] == expected["runs"]
    assert found["cpu_seconds"]["total"] == expected["cpu_seconds"]["total"]
    stages_of = {
        name: {k: part[k] for k in ("runs", "seconds")} for name, part in expected["cpu_seconds"]["stages"].items()
    }
    assert found["cpu_seconds"]["stages"] == stages_of
    assert found["test_positives"] == expected["test_positives"] and found["seeds"] == expected["seeds"]


def test_finished_cells_are_exported_with_their_predictions_and_no_id(tiny_runs, tmp_path):
    config = tiny_config("traits", **{"align.epochs": 1, "align.warmup_epochs": 0})
    run = stages.train(config, "scratch", quiet)
    lines = study_archive.add(config, open_cohort.load(config, quiet), tmp_path)
    assert lines["row"].tolist() == ["W/O SSL; W/O CL"] and lines["task"].tolist() == ["traits"]
    written = study_archive.read_provenance(tmp_path).iloc[0]
    assert np.isclose(written["test"], run.metrics["test"], atol=1e-5) and written["updates"] == run.metrics["updates"]
    assert written["cpu"] and written["instruction_set"]
    predicted = np.load(tmp_path / "predictions" / "scratch-traits.npz")["seed0"]
    measured = np.load(tmp_path / "measured.npz")["traits"]
    expected = measured_and_predicted(run)
    np.testing.assert_allclose(predicted, expected[1], rtol=2e-3)
    np.testing.assert_array_equal(measured, expected[0].astype(np.float32))
    assert np.isclose(scores.mean_r(predicted.astype(float), measured.astype(float)), run.metrics["test"], atol=2e-3)
    eids = set(run.predictions["eid"])
    assert not any(eid.encode() in path.read_bytes() for path in tmp_path.rglob("*.csv") for eid in eids)


def test_runs_of_other_settings_are_refused(grid, archives, tmp_path):  # noqa: F811
    lines = study_archive.read_provenance(archives[1])
    other = lines.tail(1).assign(run="align/eccl/traits/seed1-00000000")
    with pytest.raises(study_archive.OtherRuns, match="seed1-00000000 was trained with other settings than"):
        study_archive.merged(lines, other)
    pd.testing.assert_frame_equal(study_archive.merged(lines, lines.head(0)), lines)


def test_only_seeds_with_all_their_cells_are_complete():
    lines = pd.DataFrame(study_archive.places((0, 1, 3)), columns=["row", "task", "seed"])
    assert study_archive.complete_seeds(lines) == [0, 1]
    assert study_archive.complete_seeds(lines.drop(index=0)) == []


def test_seeds_without_ranks_are_left_out_of_retrieval(archives, tmp_path):
    found = study_archive.read_latents(archives[1], (*SEEDS, 4))
    assert sorted({seed for _, seed in found}) == list(SEEDS)
    assert len(latent_scores.seeds_of(found, "I21")) == len(SEEDS)
    assert not study_archive.read_latents(tmp_path, SEEDS)
