"""The files of Table 1 from runs with random predictions: every number is computed a second time here."""

import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from eccl_lib.config.errors import DamagedError, MissingError
from eccl_lib.config.schema import DISEASES, TASKS
from eccl_lib.data import open_cohort, small_counts
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation import controls, provenance, table1, table1_text
from eccl_lib.evaluation import features as latent
from eccl_lib.evaluation.predictions import gather
from eccl_lib.io import machine, paths
from eccl_lib.io.paths import PAPER_TABLE, ROOT
from eccl_lib.metrics import bootstrap, calibration, comparison
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import spec, waves
from eccl_lib.tasks import TASKS as DETAILS
from tests.conftest import tiny_config

SEEDS = (0, 1)
SECONDS = 2.5
# The tiny cohort has a high prevalence: only with 1 : 1 are there several subsets and a prior shift.
ONE_TO_ONE = {f"{section}.negatives_per_positive": 1 for section in ("align", "cmr_training")}


def quiet(line):
    pass


def random_predictions(data, task, generator):
    """Predictions that are weakly correlated with the measured values."""
    rows = data.index("test")
    people = pd.DataFrame({"eid": data.table["eid"].to_numpy()[rows], "row": rows})
    if task == "traits":
        names, target = [str(trait.field_id) for trait in TRAITS], data.traits[rows]
    else:
        names, target = [task], data.labels[rows][:, [DISEASES.index(task)]].astype(np.float32)
    score = np.nan_to_num(target) + 2 * np.nanstd(target, axis=0) * generator.standard_normal(target.shape)
    columns = {f"target_{name}": target[:, k] for k, name in enumerate(names)}
    columns |= {f"score_{name}": score[:, k].astype(np.float32) for k, name in enumerate(names)}
    return pd.concat([people, pd.DataFrame(columns)], axis=1)


def test_score(found):
    names = [name.removeprefix("score_") for name in found if name.startswith("score_")]
    if len(names) == 1:
        return roc_auc_score(found[f"target_{names[0]}"], found[f"score_{names[0]}"])
    return float(np.mean([pearson(found, name) for name in names]))


test_score.__test__ = False


def pearson(found, name):
    there = found[f"target_{name}"].notna()
    return np.corrcoef(found.loc[there, f"target_{name}"], found.loc[there, f"score_{name}"])[0, 1]


def finish(job, data, generator):
    run, task, is_row = job.run(data), job.config.disease, job.name in METHODS or job.variant == "swin"
    if run.done:
        return
    predictions = random_predictions(data, task, generator) if is_row else pd.DataFrame({"row": [0]})
    metrics = {"metric": DETAILS[task].metric, "val": 0.5, "test": 0.5, "best_epoch": 2, "epochs": 3, "updates": 6}
    metrics["n"] = {"test": len(predictions)}
    if is_row:
        metrics["test"] = test_score(predictions)
    run.folder.mkdir(parents=True)
    timing = {"seconds": SECONDS, "cpu_seconds": SECONDS}
    run.finish(job.config, torch.nn.Linear(1, 1), pd.DataFrame({"epoch": [1]}), metrics, predictions, timing)


def cells(config):
    return [spec(replace(config, disease=task, seed=seed), key) for key in METHODS for task in TASKS for seed in SEEDS]


@pytest.fixture(scope="module")
def grid(shared_runs):
    """All nine rows, five tasks and two seeds as finished runs. Returns config and cohort."""
    config, generator = tiny_config(**ONE_TO_ONE), np.random.default_rng(0)
    data = open_cohort.load(config, quiet)
    for job in (job for wave in waves(cells(config)) for job in wave):
        if job.is_features:
            job.run(data).cached_array("features", lambda: np.zeros((len(data), 2), np.float32))
        else:
            finish(job, data, generator)
    return config, data


def features(config, data, rows):
    """Random embeddings in place of trained models."""
    generator = np.random.default_rng(config.seed)
    z = generator.standard_normal((2, len(rows), 8))
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    return latent.Latent(z[0], z[0], z[1])


@pytest.fixture(scope="module")
def written(grid, tmp_path_factory):
    """The folder that ``table1.write`` fills."""
    folder = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent, "before_alignment", features)
        patch.setattr(latent, "after_alignment", features)
        table1.write(grid[0], tuple(METHODS), TASKS, SEEDS, folder, quiet)
    return folder


@pytest.fixture(scope="module")
def withheld(grid, tmp_path_factory):
    """As ``written``, with the limit of UK Biobank's data: each disease has few test cases, one trait few values."""
    folder, limited = tmp_path_factory.mktemp("withheld"), small_counts.Limit(least=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent, "before_alignment", features)
        patch.setattr(latent, "after_alignment", features)
        patch.setattr(small_counts, "limit_of", lambda config: limited)
        patch.setattr(provenance, "limit_of", lambda config: limited)
        table1.write(grid[0], tuple(METHODS), TASKS, SEEDS, folder, quiet)
    return folder


def test_no_number_of_few_cases_is_in_any_file_of_the_table(grid, withheld, written):
    positives = grid[1].labels[grid[1].index("test")].sum(axis=0)
    assert ((positives > 0) & (positives < 12)).all()
    for name in sorted(path.name for path in withheld.glob("*.csv")):
        frame = pd.read_csv(withheld / name)
        assert set(frame[small_counts.NOTE]) <= {"counts below 12 withheld", "under 12"}, name
        of_diseases = frame[frame["task"].isin(DISEASES)] if "task" in frame else frame.iloc[:0]
        results = [column for column in of_diseases.select_dtypes("number") if column not in small_counts.NAMING]
        of_all = name == "retrieval.csv"  # of all test participants
        assert of_diseases[results].isna().all(axis=None) != of_all or not len(of_diseases), name
    table = pd.read_csv(withheld / "table1.csv")
    assert table[[f"{table1_text.stem_of(code)}_mean" for code in DISEASES]].isna().all(axis=None)
    assert table["mean_r_mean"].notna().all()
    assert len(pd.read_csv(withheld / "claims.csv")) < len(pd.read_csv(written / "claims.csv"))
    assert not len(pd.read_csv(withheld / "separation.csv"))  # no verdict either
    facts = json.loads((withheld / "table1.json").read_text())
    assert set(facts["test_positives"].values()) == {"under 12"}
    assert facts["small_counts"] == "counts below 12 withheld"
    page = (withheld / "table1.md").read_text()
    assert "withheld" in page and "counts below 12 withheld" in page and not re.search(r"\bnan\b", page)


def predictions(grid, key, task, seed):
    config, data = grid
    return stages.expected(replace(config, disease=task, seed=seed), key, data).predictions


def test_the_table_has_the_papers_rows_and_columns_each_with_limits(written):
    table, paper = pd.read_csv(written / "table1.csv"), pd.read_csv(PAPER_TABLE)
    assert list(table["row"]) == list(paper["row"])
    assert [name for name in table if not name.endswith(("_low", "_high"))] == list(paper)
    for stem in map(table1_text.stem_of, TASKS):
        low, middle, high = (table[f"{stem}_{part}"] for part in ("low", "mean", "high"))
        assert ((low < middle) & (middle < high)).all()


def test_a_cell_is_mean_and_deviation_of_its_seeds(grid, written):
    table = pd.read_csv(written / "table1.csv").set_index("row")
    for key, task in (("triplet", "I48"), ("cmr_sup", "traits")):
        scores = [test_score(predictions(grid, key, task, seed)) for seed in SEEDS]
        stem = table1_text.stem_of(task)
        assert table.loc[METHODS[key].row, f"{stem}_mean"] == pytest.approx(np.mean(scores), abs=1e-5)
        assert table.loc[METHODS[key].row, f"{stem}_std"] == pytest.approx(np.std(scores, ddof=1), abs=1e-5)


def test_a_diseases_cell_has_scikit_learns_average_precision_and_brier_scores(grid, written):
    data = grid[1]
    cell = pd.read_csv(written / "table1_cells.csv").set_index(["row", "task"]).loc[("ViT", "I42")]
    found = [predictions(grid, "vit", "I42", seed) for seed in SEEDS]
    train = data.labels[data.index("train"), DISEASES.index("I42")]
    chunks = round((~train).sum() / train.sum())
    share = chunks * train.sum() / (chunks * train.sum() + (~train).sum())
    assert chunks > 1
    shift = np.log(train.mean() / (1 - train.mean())) - np.log(share / (1 - share))
    precision = [average_precision_score(one["target_I42"], one["score_I42"]) for one in found]
    assert cell["average_precision"] == pytest.approx(np.mean(precision), abs=1e-5)
    for name, added in (("brier_raw", 0), ("brier_shifted", shift)):
        risks = [1 / (1 + np.exp(-(one["score_I42"].astype(float) + added))) for one in found]
        brier = [brier_score_loss(one["target_I42"], risk) for one, risk in zip(found, risks, strict=True)]
        assert cell[name] == pytest.approx(np.mean(brier), abs=1e-5)
    assert cell["prior_shift"] == pytest.approx(shift, abs=1e-5)
    assert cell["positives"] == found[0]["target_I42"].sum() and cell["n"] == len(data.index("test"))


def test_the_prior_does_not_use_the_test_set(grid):
    config, data = grid
    scores = gather(config, ("eccl", "cmr_sup"), ("I48",), SEEDS)["I48"]
    other = replace(data, labels=data.labels.copy())
    other.labels[data.index("test")] = True
    assert table1._priors(config, data, scores) == table1._priors(config, other, scores)
    prior = table1._priors(config, data, scores)[0]
    assert prior.prevalence == pytest.approx(data.labels[data.index("train"), 2].mean())


def test_the_file_of_seeds_has_every_single_score(grid, written):
    seeds = pd.read_csv(written / "table1_seeds.csv")
    assert len(seeds) == 9 * 5 * len(SEEDS) and not seeds.duplicated(["row", "task", "seed"]).any()
    one = seeds[(seeds["row"] == "CMAE") & (seeds["task"] == "I50") & (seeds["seed"] == 1)].iloc[0]
    assert one["test"] == pytest.approx(test_score(predictions(grid, "cmae", "I50", 1)), abs=1e-5)


def test_differences_are_of_the_same_participants_in_both_rows_and_all_seeds(grid, written):
    found = pd.read_csv(written / "table1_differences.csv")
    assert len(found) == 40 and set(found["row"]) == {"ECCL"} and "ECCL" not in set(found["other"])
    one = found[(found["other"] == "Triplet") & (found["task"] == "I21")].iloc[0]
    rows = {key: [predictions(grid, key, "I21", seed) for seed in SEEDS] for key in ("eccl", "triplet")}

    def score(key, who, seeds=SEEDS):
        runs = [rows[key][k] for k in seeds]
        return np.mean([roc_auc_score(one["target_I21"][who], one["score_I21"][who]) for one in runs])

    everybody = np.arange(len(rows["eccl"][0]))
    difference = score("eccl", everybody) - score("triplet", everybody)
    assert one["difference"] == pytest.approx(difference, abs=1e-5)
    by_seed = [test_score(a) - test_score(b) for a, b in zip(*rows.values(), strict=True)]
    assert one["std"] == pytest.approx(np.std(by_seed, ddof=1), abs=1e-5)
    weights = next(bootstrap.draws(len(everybody), 100))  # the first of a set that starts alike
    drawn = []
    for column in weights.T:
        who = np.repeat(everybody, column.astype(int))
        if 0 < rows["eccl"][0]["target_I21"][who].sum() < len(who):
            drawn.append([score("eccl", who, (k,)) - score("triplet", who, (k,)) for k in range(len(SEEDS))])
    expected = comparison.over_participants_and_seeds(np.array(by_seed), np.array(drawn).T)
    assert one["high"] - one["low"] == pytest.approx(expected.high - expected.low, rel=0.25)
    assert one["p"] == pytest.approx(expected.p, abs=0.15)


def test_holm_is_over_all_forty(written):
    found = pd.read_csv(written / "table1_differences.csv")
    first = found["p"].idxmin()
    assert found.loc[first, "p_holm"] == pytest.approx(min(1, 40 * found.loc[first, "p"]), abs=5e-4)
    assert (found["p_holm"] >= found["p"]).all()


def test_every_trait_has_its_r_over_seeds_with_an_interval_and_its_group(grid, written):
    found = pd.read_csv(written / "table1_traits.csv")
    assert found.groupby("row").size().eq(82).all() and found["row"].nunique() == 9
    assert list(found["group"].unique()) == list(dict.fromkeys(trait.group for trait in TRAITS))
    one = found[(found["row"] == "W/ SSL; W/O CL") & (found["short_name"] == "LVM")].iloc[0]
    field = str(next(trait.field_id for trait in TRAITS if trait.short_name == "LVM"))
    r = [pearson(predictions(grid, "ssl", "traits", seed), field) for seed in SEEDS]
    assert one["r"] == pytest.approx(np.mean(r), abs=1e-5)
    assert one["low"] < one["r"] < one["high"]
    table = pd.read_csv(written / "table1.csv").set_index("row")
    assert found.groupby("row")["r"].mean()["ECCL"] == pytest.approx(table.loc["ECCL", "mean_r_mean"], abs=1e-5)


def test_reliability_is_there_raw_and_shifted_for_every_disease_and_row(grid, written):
    found = pd.read_csv(written / "reliability.csv")
    assert len(found.groupby(["row", "task", "kind"])) == 9 * 4 * 2
    assert found["predicted"].between(0, 1).all() and (found["low"] <= found["observed"]).all()
    one = found[(found["row"] == "ECCL") & (found["task"] == "I50") & (found["kind"] == "raw")]
    logits = np.stack([predictions(grid, "eccl", "I50", seed)["score_I50"].astype(float) for seed in SEEDS])
    positive = predictions(grid, "eccl", "I50", 0)["target_I50"].to_numpy() > 0.5
    expected = calibration.reliability(calibration.risk(logits), positive)
    np.testing.assert_allclose(one["observed"], expected["observed"], atol=1e-5)


def test_retrieval_is_there_before_and_after_in_both_directions(written):
    found = pd.read_csv(written / "retrieval.csv")
    assert len(found) == 5 * 2 * 2 * 4
    assert set(found["when"]) == {"before", "after"} and set(found["direction"]) == {"ECG to CMR", "CMR to ECG"}
    assert (found["seeds"] == len(SEEDS)).all() and (found["low"] <= found["high"]).all()


def test_controls_are_in_a_separate_file(written):
    alone = pd.read_csv(written / "reference.csv")
    assert list(alone["row"]) == [*controls.CONTROLS, *controls.NOISE_FREE]
    assert list(alone) == list(pd.read_csv(written / "table1.csv"))
    assert alone["mi_auc_std"].isna().all() and (alone["mi_auc_low"] < alone["mi_auc_high"]).all()


def test_no_participant_is_in_any_file(grid, written):
    people = set(grid[1].table["eid"].astype(str))
    for path in written.iterdir():
        text = path.read_text()
        assert "eid" not in re.findall(r"\w+", text), path.name
        assert not people & set(re.findall(r"\d{7}", text)), path.name


def test_the_provenance_names_cohort_runs_and_time_with_shared_parents_counted_once(grid, written):
    config, data = grid
    facts = json.loads((written / "table1.json").read_text())
    assert facts["cohort_fingerprint"] == open_cohort.fingerprint(config)
    assert (facts["participants"], facts["test"]) == (len(data), len(data.index("test")))
    assert facts["seeds"] == list(SEEDS) and facts["rows"] == list(METHODS)
    assert len(facts["runs"]) == len(set(facts["runs"])) == 9 * 5 * len(SEEDS)
    own = {"align", "finetune", "pretrain_cmr", "pretrain_ecg", "autoencode", "pretrain_pair"}
    spent = facts["cpu_seconds"]["stages"]
    assert own <= set(spent)
    assert spent["pretrain_ecg"] == {"runs": 2, "seconds": 2 * SECONDS, "median": SECONDS}  # one a seed
    assert spent["pretrain_cmr"]["runs"] == 3 * 5 * 2  # three architectures
    assert facts["cpu_seconds"]["total"] == pytest.approx(sum(part["seconds"] for part in spent.values()), abs=0.1)
    assert {"torch", "numpy", "python"} <= set(facts["packages"]) and facts["machine"]["cores"] >= 1


def test_the_same_runs_give_the_same_bytes_in_whatever_order_rows_are_named(grid, tmp_path, monkeypatch):
    monkeypatch.setattr(latent, "before_alignment", features)
    monkeypatch.setattr(latent, "after_alignment", features)
    folders = tmp_path / "one", tmp_path / "two"
    for rows, folder in zip((("ssl", "eccl"), ("eccl", "ssl")), folders, strict=True):
        table1.write(grid[0], rows, ("I21", "traits"), SEEDS, folder, quiet)
    files = sorted(path.name for path in folders[0].iterdir())
    assert len(files) == 13 and files == sorted(path.name for path in folders[1].iterdir())
    for name in files:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_the_commit_is_that_of_git():
    found = machine.commit()
    head = subprocess.run(["git", "-C", str(ROOT), "log", "-1", "--format=%H"], capture_output=True, text=True)
    assert found["commit"] == (head.stdout.strip() or None)


def test_a_checkout_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert machine.commit() == {"commit": None, "clean": None}


def test_a_seed_that_was_not_trained_is_named_with_its_command(grid, tmp_path):
    with pytest.raises(MissingError, match=r"eccl train cmae --scale demo .*--disease I21 --seed 2"):
        table1.write(grid[0], tuple(METHODS), TASKS, (*SEEDS, 2), tmp_path, quiet)
    assert not list(tmp_path.iterdir())


def test_runs_scored_on_different_participants_are_refused(grid, monkeypatch):
    config, data = grid
    runs = {seed: stages.expected(replace(config, disease="I21", seed=seed), "eccl", data) for seed in SEEDS}
    whole = type(runs[0]).predictions.fget

    def reordered(run):
        return whole(run).iloc[::-1] if run == runs[1] else whole(run)

    monkeypatch.setattr(type(runs[0]), "predictions", property(reordered))
    with pytest.raises(DamagedError, match="scored on different participants"):
        gather(config, ("eccl",), ("I21",), SEEDS)


def test_a_part_of_the_grid_gives_a_part_of_the_table(grid, tmp_path):
    (tmp_path / "retrieval.csv").write_text("left by a fuller table")
    long = table1.write(grid[0], ("ssl",), ("I21", "I48"), (0,), tmp_path, quiet)
    table = pd.read_csv(tmp_path / "table1.csv")
    assert list(table["row"]) == ["W/ SSL; W/O CL"] and "mean_r_mean" not in table
    assert len(long) == 2 and long["std"].isna().all()
    assert not (tmp_path / "retrieval.csv").exists() and not (tmp_path / "table1_traits.csv").exists()
    text = (tmp_path / "table1.md").read_text()
    assert "over 1 seed," in text and "±" in text and "minus each other" not in text


def test_the_page_labels_every_number_and_contains_the_published_ones(grid, written):
    text = (written / "table1.md").read_text()
    test = grid[1].index("test")
    n, share = len(test), grid[1].label_of("I21")[test].mean()
    assert f"*here (synthetic cohort, n = {n}, prevalence MI {share:.1%}, " in text
    lines = [line for line in text.split("## ")[0].splitlines() if line.startswith("| ")]
    theirs = table1_text.shown(table1_text.published())
    for row in theirs.index:
        k = next(i for i, line in enumerate(lines) if line.startswith(f"| {row} |"))
        assert f"*here (synthetic cohort, n = {n})*" in lines[k]
        assert lines[k + 1] == f"|  | *paper (UK Biobank, n = 8,308)* | {' | '.join(theirs.loc[row])} |"
    assert not re.search(r"better|worse|outperform|beat", text, re.I)


def test_a_limit_that_rounds_to_zero_keeps_its_sign():
    one = pd.Series({"difference": -0.0, "std": 0.0123, "low": -0.001, "high": 0.02, "p_holm": 0.0004})
    assert table1_text._difference(one) == "+0.000 ± 0.012<br>(-0.00 to +0.02)<br>p < 0.001"
    assert table1_text.signed(0.0004, 3) == "+0.000"


def test_a_cell_as_text_has_mean_deviation_and_interval():
    table = pd.DataFrame(
        {"row": ["ECCL"], "mean_r_mean": [0.4071], "mean_r_std": [0.002], "mean_r_low": [0.391], "mean_r_high": [0.42]}
    )
    assert table1_text.shown(table).loc["ECCL", "Mean R"] == "0.407 ± 0.002 (0.39 to 0.42)"
    assert table1_text.shown(table.assign(mean_r_std=np.nan)).loc["ECCL", "Mean R"] == "0.407 (0.39 to 0.42)"
    assert table1_text.shown(table1_text.published()).loc["CMR_Sup", "CM AUC"] == "0.740 ± 0.052"


def test_methods_table_and_published_cell_are_those_of_the_paper():
    table = table1_text.methods_table()
    assert list(table["row"]) == list(table1_text.published()["row"])
    assert table.loc["eccl", "frozen"] == "CMR Swin" and table.loc["scratch", "pretraining"] == "none"
    assert table1_text.published_cell("ECCL", "I42").endswith("ECCL, CM AUC 0.826 ± 0.012")


def test_retrieval_table_has_before_and_after_in_columns(written):
    frame = pd.read_csv(written / "retrieval.csv")
    table = table1_text.retrieval_table(frame)
    assert list(table) == ["before", "after"] and len(table) == len(frame) / 2
    first = frame[(frame["task"] == "I48") & (frame["metric"] == "median rank") & (frame["when"] == "after")].iloc[0]
    text = f"{first['mean']:,.0f} ({first['low']:,.0f} to {first['high']:,.0f})"
    assert table["after"].xs(("I48", first["direction"], "median rank"), level=[0, 1, 2]).item() == text


def test_wins_count_tasks_with_a_higher_score_and_with_significance():
    frame = pd.DataFrame({"other": ["A", "A", "A", "B"], "difference": [0.1, 0.2, -0.3, -0.1]})
    table = table1_text.wins_table(frame.assign(p_holm=[0.01, 0.2, 0.01, 0.9]))
    assert table.loc["A"].tolist() == [2, 1, 1] and table.loc["B"].tolist() == [0, 0, 0]
