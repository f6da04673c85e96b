"""Experiments around Table 1 at study scale: learning curves, where alignment pays, and options of stage two.

docs/study.md describes each experiment. ``specs`` lists its runs; ``scores``, ``means`` and ``differences`` read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from eccl_lib.config.load import with_changes
from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.config.schema import TASKS as PAPER_TASKS
from eccl_lib.data import small_counts
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import fig2b
from eccl_lib.io import paths
from eccl_lib.io.progress import silent
from eccl_lib.metrics import bootstrap, comparison
from eccl_lib.metrics.comparison import Difference
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import RunSpec, spec
from eccl_lib.tasks import TASKS
from eccl_lib.training.run_scores import measured_and_predicted

DRAWS = 1_000  # bootstrap draws of participants; their standard deviation then has a relative error of 2.2 %; ours
SCRATCH, SSL, CL, ECCL = (METHODS[key].row for key in ("scratch", "ssl", "cl", "eccl"))
ALL_LEADS = "W/O SSL; W/O CL, tokens of all leads"
GAINS = ((SSL, SCRATCH), (CL, SCRATCH), (ECCL, SSL), (ECCL, CL))  # pre-training alone, alignment alone, each added


@dataclass(frozen=True)
class Point:
    """One model of an experiment, for all of its seeds.

    series: a curve or an option. x: its position on the curve. method: key of METHODS. changes: of the config.
    """

    series: str
    x: int
    task: str
    method: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def spec(self, config: Config, seed: int) -> RunSpec:
        """Its run with one seed."""
        config = with_changes(replace(config, disease=self.task, seed=seed), dict(self.changes))
        return spec(config, self.method)


@dataclass(frozen=True)
class Experiment:
    """Models that are compared at equal x and task.

    x: what x counts. pairs: (series, other) whose difference is reported. split: participants that are scored.
    """

    title: str
    x: str
    points: tuple[Point, ...]
    pairs: tuple[tuple[str, str], ...]
    seeds: int = 3
    split: Literal["val", "test"] = "test"

    def specs(self, config: Config) -> list[RunSpec]:
        """The runs of all points and seeds, each once."""
        return list(dict.fromkeys(point.spec(config, seed) for point in self.points for seed in range(self.seeds)))


def _arms(tasks: Iterable[str], changes: Mapping[int, dict[str, Any]], keys: Iterable[str]) -> tuple[Point, ...]:
    return tuple(
        Point(METHODS[key].row, x, task, key, changed)
        for task in tasks
        for x, changed in changes.items()
        for key in keys
    )


EPOCHS = 10  # of stage two at study scale; x updates are x / 10 updates per epoch
UPDATES = {x: {"align.steps_per_epoch": x // EPOCHS} for x in (100, 300, 1_000, 2_000, 4_000)}
PARTICIPANTS = {80: {"align.participants": 80}, 800: {"align.participants": 800}, 8_000: {}}
CMR_UPDATES = {100: {"cmr_training.steps_per_epoch": 10}, 500: {"cmr_training.steps_per_epoch": 50}, 2_000: {}}
BATCHES = {8: {"align.batch": 8}, 32: {}, 128: {"align.batch": 128}}
FOUR = ("scratch", "ssl", "cl", "eccl")
ALL_LEAD_TOKENS = {"ecg.patch_leads": 12, "ecg.patch_samples": 20}

OPTIONS: dict[str, dict[str, Any]] = {
    ECCL: {},
    "feature bank": {"align.bank": True},
    "sigmoid loss": {"align.contrastive": "siglip"},
    "soft targets": {"align.contrastive": "soft"},
    "learned temperature": {"align.learn_temperature": True},
    "task weight 5": {"align.task_weight": 5.0},
    "four views of each CMR": {"align.views": 4},
    "mean pooling": {"align.pooling": "mean"},
    "traits and diseases beside the labels": {"align.auxiliary": "labels"},
    "predictions of the CMR models beside the labels": {"align.auxiliary": "teachers"},
}

SHORT = {"mae.steps_per_epoch": 100}  # pre-training of 2,000 updates at study scale
AUTOENCODERS: dict[str, dict[str, Any]] = {
    SSL: {},
    "normalised target": {"mae.normalise_target": True},
    "masking of whole leads and times": {"mae.masking": "space_time"},
    "60 % masked": {"mae.mask_ratio": 0.6},
    "90 % masked": {"mae.mask_ratio": 0.9},
}

EXPERIMENTS = {
    "updates": Experiment(
        "Learning curves: updates of the last stage",
        "updates",
        _arms(["traits"], UPDATES, FOUR)
        + tuple(Point(ALL_LEADS, x, "traits", "scratch", {**at, **ALL_LEAD_TOKENS}) for x, at in UPDATES.items()),
        (*GAINS, (ALL_LEADS, SCRATCH), (ALL_LEADS, ECCL)),
    ),
    "participants": Experiment(
        "Learning curves: training participants of the last stage",
        "training participants of the last stage",
        _arms(["traits", "I42"], PARTICIPANTS, FOUR),
        GAINS,
    ),
    "teacher": Experiment(
        "Quality of the CMR encoder",
        "updates of the CMR encoder",
        _arms(["traits", "I42"], CMR_UPDATES, ("ssl", "eccl")),
        ((ECCL, SSL),),
    ),
    "batch": Experiment(
        "Size of a batch",
        "participants in a batch",
        _arms(["traits"], BATCHES, ("ssl", "eccl"))
        + tuple(
            Point("ECCL, feature bank", x, "traits", "eccl", {**at, "align.bank": True}) for x, at in BATCHES.items()
        ),
        ((ECCL, SSL), ("ECCL, feature bank", SSL)),
    ),
    "options": Experiment(
        "Options of stage two, on validation participants",
        "",
        tuple(Point(name, 0, task, "eccl", at) for name, at in OPTIONS.items() for task in PAPER_TASKS),
        tuple((name, ECCL) for name in OPTIONS if name != ECCL),
        seeds=2,
        split="val",
    ),
    "autoencoder": Experiment(
        "Options of the masked autoencoder, on validation participants",
        "",
        tuple(Point(name, 0, "traits", "ssl", {**SHORT, **at}) for name, at in AUTOENCODERS.items()),
        tuple((name, SSL) for name in AUTOENCODERS if name != SSL),
        seeds=2,
        split="val",
    ),
}


@dataclass(frozen=True)
class Scored:
    """Scores of one point: of each seed (S,), and of each seed and bootstrap draw of participants (S, B)."""

    point: Point
    by_seed: np.ndarray
    drawn: np.ndarray
    runs: tuple[dict[str, object], ...]


ENCODERS = "encoders"  # Fig. 2b, which has its own table
NAMES = (*EXPERIMENTS, ENCODERS)


def _encoders(config: Config) -> Config:
    """The config of Fig. 2b: a shorter pre-training for each of its encoders (docs/study.md)."""
    return with_changes(config, SHORT)


def specs(name: str, config: Config) -> list[RunSpec]:
    """The runs of an experiment. name: one of ``NAMES``."""
    return fig2b.specs(_encoders(config)) if name == ENCODERS else EXPERIMENTS[name].specs(config)


def write(name: str, config: Config, data: Cohort) -> pd.DataFrame:
    """Write an experiment's tables beside the figures, from finished runs. Returns the last one.

    Files: ``NAME_scores.csv``, ``NAME_means.csv`` and ``NAME_differences.csv``, or ``encoders.csv``.
    """
    if name == ENCODERS:
        tables = {ENCODERS: fig2b.compare(_encoders(config), silent)}
    else:
        experiment = EXPERIMENTS[name]
        points = evaluate(experiment, config, data)
        tables = {f"{name}_scores": scores(points), f"{name}_means": means(points)}
        tables[f"{name}_differences"] = differences(experiment, points)
    folder = paths.figures_dir(config.scale, config.cohort)
    split = "test" if name == ENCODERS else EXPERIMENTS[name].split
    few = small_counts.hidden_diseases(config, data, split)
    few += ["diseases"] if few else []  # their mean
    for stem, table in tables.items():
        hidden = table["task"].isin(few).to_numpy() if "task" in table else None
        shown = small_counts.write_table(folder / f"{stem}.csv", table, config, hidden)
    return shown


def evaluate(experiment: Experiment, config: Config, data: Cohort, draws: int = DRAWS) -> list[Scored]:
    """Scores of all points, from finished runs; all points share the draws of participants."""
    found: dict[RunSpec, tuple[float, np.ndarray, dict[str, object]]] = {}
    for own in experiment.specs(config):
        found[own] = _score(own, data, experiment.split, draws)
    points = []
    for point in experiment.points:
        seeds = [found[point.spec(config, seed)] for seed in range(experiment.seeds)]
        scores, drawn, facts = zip(*seeds, strict=True)
        points.append(Scored(point, np.array(scores), np.stack(drawn), facts))
    return points


def _score(own: RunSpec, data: Cohort, split: str, draws: int) -> tuple[float, np.ndarray, dict[str, object]]:
    run = own.run(data)
    measured, predicted = measured_and_predicted(run) if split == "test" else on_validation(own, data)
    if TASKS[own.task].is_disease:
        drawn = bootstrap.auc_draws(predicted[:, 0], measured[:, 0] > 0.5, draws)
    else:
        drawn = bootstrap.mean_r_draws(predicted[None], measured, draws)
    facts = {"updates": run.metrics["updates"], "cpu_seconds": round(run.timing["cpu_seconds"]), "run": run.name}
    pretrained = next((parent.run(data) for parent in own.parents() if parent.stage == "pretrain_ecg"), None)
    facts["r2_masked"] = np.nan if pretrained is None else pretrained.metrics["r2_masked"]
    return run.metrics[split], drawn, facts


def on_validation(own: RunSpec, data: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Measured and predicted values of the validation participants, both (n, outputs), computed once per run."""
    run, job = own.run(data), own.job(data)

    def predict() -> np.ndarray:
        job.model.load_state_dict(run.weights())
        job.model.eval()
        return job.predict("val").astype(np.float32)

    return job.targets.values[job.rows("val")].astype(np.float64), run.cached_array("validation", predict).astype(float)


def scores(points: Iterable[Scored]) -> pd.DataFrame:
    """One row per run: series, x, task, seed, score, updates, cpu_seconds, run, r2_masked of its autoencoder."""
    return pd.DataFrame(
        {"series": scored.point.series, "x": scored.point.x, "task": scored.point.task, "seed": seed, "score": score}
        | facts
        for scored in points
        for seed, (score, facts) in enumerate(zip(scored.by_seed, scored.runs, strict=True))
    )


def means(points: Iterable[Scored]) -> pd.DataFrame:
    """One row per point: series, x, task, mean, low, high (95 %, over participants and seeds), cpu_seconds, r2_masked.

    cpu_seconds: of the last stage; r2_masked: of the autoencoder, missing without one. Both are means over seeds.
    """
    records = []
    for scored in points:
        mean = comparison.over_participants_and_seeds(scored.by_seed, scored.drawn)
        average = {
            name: float(np.mean([facts[name] for facts in scored.runs])) for name in ("cpu_seconds", "r2_masked")
        }
        records.append(_place(scored.point) | _interval(mean, "mean") | average)
    return pd.DataFrame(records)


def differences(experiment: Experiment, points: Iterable[Scored]) -> pd.DataFrame:
    """Each pair at equal x and task: series, other, x, task, difference, low, high, p.

    Where all four diseases exist, a row "diseases" has the difference of their mean AUC.
    """
    by_place = {(scored.point.series, scored.point.x, scored.point.task): scored for scored in points}
    places = list(dict.fromkeys((x, task) for _, x, task in by_place))
    records = []
    for series, other in experiment.pairs:
        for x, task in places:
            if (series, x, task) in by_place and (other, x, task) in by_place:
                one, two = by_place[series, x, task], by_place[other, x, task]
                found = comparison.over_participants_and_seeds(one.by_seed - two.by_seed, one.drawn - two.drawn)
                records.append(_pair(series, other, x, task, found))
        for x in dict.fromkeys(x for x, _ in places):
            both = [[by_place.get((name, x, disease)) for disease in DISEASES] for name in (series, other)]
            if all(part is not None for side in both for part in side):
                by_seed, drawn = (
                    np.mean([getattr(one, what) - getattr(two, what) for one, two in zip(*both, strict=True)], axis=0)
                    for what in ("by_seed", "drawn")
                )
                found = comparison.over_participants_and_seeds(by_seed, drawn)
                records.append(_pair(series, other, x, "diseases", found))
    return pd.DataFrame(records)


def _place(point: Point) -> dict[str, object]:
    return {"series": point.series, "x": point.x, "task": point.task}


def _pair(series: str, other: str, x: int, task: str, found: Difference) -> dict[str, object]:
    return {"series": series, "other": other, "x": x, "task": task} | _interval(found, "difference") | {"p": found.p}


def _interval(found: Difference, name: str) -> dict[str, object]:
    return {name: found.value, "low": found.low, "high": found.high}
