"""Experiments around Table 1 at study scale: learning curves, the gain of alignment, and options of stage two.

docs/study.md describes each experiment. ``specs`` lists its runs, ``measure`` reads the finished ones, and ``tables``
makes the tables of the seeds that are complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from eccl_lib.evaluation.measured_runs import MeasuredRuns
from eccl_lib.io import paths
from eccl_lib.metrics import bootstrap
from eccl_lib.metrics.comparison import Difference
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import RunSpec, spec
from eccl_lib.tasks import TASKS
from eccl_lib.training.run_scores import measured_and_predicted

MADE_WITH = ("commit", "clean", "cpu", "instruction_set")  # what a measured run states of its code and processor
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

    def specs(self, config: Config, seeds: Iterable[int]) -> list[RunSpec]:
        """The runs of all points and seeds, each once."""
        return list(dict.fromkeys(point.spec(config, seed) for point in self.points for seed in seeds))


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
# Reliability: the share of the variance of a trait that is not noise, 1 / (1 + noise variance), in percent.
RELIABILITIES = {
    percent: {f"{stage}.trait_noise": (100 / percent - 1) ** 0.5 for stage in ("align", "cmr_training")}
    for percent in (20, 50)
} | {100: {}}
LEADS_SEEN = {1: {"view.ecg_leads": ["I"]}, 2: {"view.ecg_leads": ["I", "II"]}, 12: {}}
ALL_LEAD_TOKENS = {"ecg.patch_leads": 12, "ecg.patch_samples": 20}
# One scale for all leads: 1 mV becomes 5, which gives the study's ECGs a standard deviation of .9; clipped beyond 5 mV.
VOLTAGE = {"view.ecg_scaling": "fixed", "view.ecg_full_scale_mv": 5.0, "view.ecg_gain": 25.0}

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
    "voltage": VOLTAGE,
    "tokens of all leads": ALL_LEAD_TOKENS,
}

ECCL_PLUS = "ECCL+"


def plus(options: Sequence[str]) -> Experiment:
    """ECCL+, which combines these options of stage two, and ECCL+ without each of several: each minus ECCL."""
    arms = {ECCL: (), ECCL_PLUS: tuple(options)}
    if len(options) > 1:
        arms |= {f"{ECCL_PLUS} without {left}": tuple(o for o in options if o != left) for left in options}
    changes = {name: {key: value for o in own for key, value in OPTIONS[o].items()} for name, own in arms.items()}
    return Experiment(
        "ECCL+",
        "",
        tuple(Point(name, 0, task, "eccl", changed) for name, changed in changes.items() for task in PAPER_TASKS),
        tuple((name, ECCL) for name in arms if name != ECCL),
        seeds=5,
    )


SAME_SETTING = {"align.bank": "align.contrastive"}  # the bank has a contrastive loss of its own

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
    "trait_noise": Experiment(
        "Noise on the training traits",
        "reliability of the training traits, percent",
        _arms(["traits"], RELIABILITIES, ("ssl", "eccl")),
        ((ECCL, SSL),),
    ),
    "leads": Experiment(
        "Leads of the ECG",
        "leads that the ECG encoder sees",
        _arms(["traits"], LEADS_SEEN, ("ssl", "eccl")),
        ((ECCL, SSL),),
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


CHOSEN = ("tokens of all leads", "traits and diseases beside the labels")  # by ``eccl_plus``, in figures/study
EXPERIMENTS["plus"] = plus(CHOSEN)

ENCODERS = "encoders"  # Fig. 2b, which has its own table
NAMES = (*EXPERIMENTS, ENCODERS)


def _encoders(config: Config) -> Config:
    """The config of Fig. 2b: a shorter pre-training for each of its encoders (docs/study.md)."""
    return with_changes(config, SHORT)


def seeds_of(name: str, config: Config, count: int | None = None) -> range:
    """The seeds of an experiment, counted from that of the config; by default as many as the protocol has."""
    planned = _encoders(config).variants.seeds if name == ENCODERS else EXPERIMENTS[name].seeds
    return range(config.seed, config.seed + (count or planned))


def specs(name: str, config: Config, count: int | None = None) -> list[RunSpec]:
    """The runs of an experiment. name: one of ``NAMES``. count: number of seeds, as in ``seeds_of``."""
    seeds = seeds_of(name, config, count)
    return fig2b.specs(_encoders(config), seeds) if name == ENCODERS else EXPERIMENTS[name].specs(config, seeds)


PLACE = ("series", "x", "task")


def naming(name: str) -> tuple[str, ...]:
    """The columns that name a run of an experiment among its measured runs."""
    return (*(fig2b.PLACE if name == ENCODERS else PLACE), "seed")


def write(name: str, config: Config, data: Cohort, count: int | None = None) -> pd.DataFrame:
    """Write an experiment's tables beside the figures, from finished runs. Returns the last one.

    count: number of seeds, as in ``seeds_of``.
    """
    folder = paths.figures_dir(config.scale, config.cohort)
    split = "test" if name == ENCODERS else EXPERIMENTS[name].split
    few = small_counts.hidden_diseases(config, data, split)
    few += ["diseases"] if few else []  # their mean
    measured = measure(name, config, data, seeds_of(name, config, count))
    shown = pd.DataFrame()
    for stem, table in tables(name, config, measured).items():
        hidden = table["task"].isin(few).to_numpy() if "task" in table else None
        shown = small_counts.write_table(folder / f"{stem}.csv", table, config, hidden)
    return shown


def measure(name: str, config: Config, data: Cohort, seeds: Iterable[int], draws: int = DRAWS) -> MeasuredRuns:
    """Scores of the finished runs of an experiment with these seeds; all share the draws of participants.

    The frame has series, x, task, seed, score, updates, cpu_seconds, run, r2_masked of the run's autoencoder, and
    ``MADE_WITH``; that of ``encoders`` is of ``fig2b.measure``.
    """
    if name == ENCODERS:
        return fig2b.measure(_encoders(config), data, seeds)
    split = EXPERIMENTS[name].split
    return MeasuredRuns.of(places(name, config, seeds), lambda own: _score(own, data, split, draws), draws)


def places(name: str, config: Config, seeds: Iterable[int]) -> list[tuple[dict[str, Any], RunSpec]]:
    """Series, x, task and seed of each run of an experiment of ``EXPERIMENTS``, and the run."""
    return [
        ({"series": point.series, "x": point.x, "task": point.task, "seed": seed}, point.spec(config, seed))
        for point in EXPERIMENTS[name].points
        for seed in seeds
    ]


def drawn_scores(task: str, measured: np.ndarray, predicted: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """The score in each bootstrap draw of participants. measured, predicted: (n, outputs). Returns (draws,)."""
    if TASKS[task].is_disease:
        return bootstrap.auc_draws(predicted[:, 0], measured[:, 0] > 0.5, draws)
    return bootstrap.mean_r_draws(predicted[None], measured, draws)


def _score(own: RunSpec, data: Cohort, split: str, draws: int) -> tuple[dict[str, object], np.ndarray] | None:
    """One run; None if it is not finished."""
    run = own.run(data)
    if not run.done:
        return None
    measured, predicted = measured_and_predicted(run) if split == "test" else on_validation(own, data)
    facts = {"score": run.metrics[split], "updates": run.metrics["updates"]}
    facts |= {"cpu_seconds": round(run.timing["cpu_seconds"]), "run": run.name}
    pretrained = next((parent.run(data) for parent in own.parents() if parent.stage == "pretrain_ecg"), None)
    facts["r2_masked"] = np.nan if pretrained is None else pretrained.metrics["r2_masked"]
    facts |= {name: run.manifest()["made_with"][name] for name in MADE_WITH}
    return facts, drawn_scores(own.task, measured, predicted, draws)


def on_validation(own: RunSpec, data: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Measured and predicted values of the validation participants, both (n, outputs), computed once per run."""
    run, job = own.run(data), own.job(data)

    def predict() -> np.ndarray:
        job.model.load_state_dict(run.weights())
        job.model.eval()
        return job.predict("val").astype(np.float32)

    return job.targets.values[job.rows("val")].astype(np.float64), run.cached_array("validation", predict).astype(float)


def tables(name: str, config: Config, measured: MeasuredRuns) -> dict[str, pd.DataFrame]:
    """Tables of the seeds whose runs are all measured, by name of the file; none without a complete seed.

    ``NAME_scores``, ``NAME_means`` and ``NAME_differences``, or ``encoders`` and ``encoders_claims``.
    """
    points = len(fig2b.plan(_encoders(config)) if name == ENCODERS else EXPERIMENTS[name].points)
    complete = measured.of_complete_seeds(points)
    if not len(complete.frame):
        return {}
    if name == ENCODERS:
        return {ENCODERS: fig2b.table(complete), f"{ENCODERS}_claims": fig2b.claims_table(complete)}
    found = {"scores": complete.frame, "means": means(complete)}
    found["differences"] = differences(EXPERIMENTS[name], complete)
    return {f"{name}_{part}": table for part, table in found.items()}


def means(measured: MeasuredRuns) -> pd.DataFrame:
    """One row per point: series, x, task, mean, low, high, seeds, cpu_seconds, r2_masked.

    low, high: 95 % interval over participants and seeds; with one seed, over participants. seeds: their number.
    cpu_seconds: of the last stage; r2_masked: of the autoencoder, missing without one. Both are means over seeds.
    """
    records = []
    for place, runs in measured.by_place(PLACE).items():
        average = runs.frame[["cpu_seconds", "r2_masked"]].mean().to_dict()
        seeds = {"seeds": runs.frame["seed"].nunique()}
        records.append(dict(zip(PLACE, place, strict=True)) | _interval(runs.mean(), "mean") | seeds | average)
    return pd.DataFrame(records)


def differences(experiment: Experiment, measured: MeasuredRuns) -> pd.DataFrame:
    """Each pair at equal x and task: series, other, x, task, difference, low, high, p.

    Where all four diseases exist, a row "diseases" has the difference of their mean AUC.
    """
    by_place = measured.by_place(PLACE)
    by_place |= _means_of_diseases(by_place)
    places = list(dict.fromkeys((x, task) for _, x, task in by_place))
    records = []
    for series, other in experiment.pairs:
        for x, task in places:
            if (series, x, task) in by_place and (other, x, task) in by_place:
                found = by_place[series, x, task].minus(by_place[other, x, task])
                names = {"series": series, "other": other, "x": x, "task": task}
                records.append(names | _interval(found, "difference") | {"p": found.p})
    return pd.DataFrame(records)


def _means_of_diseases(by_place: Mapping[tuple, MeasuredRuns]) -> dict[tuple, MeasuredRuns]:
    """The mean AUC of the four diseases at each place that has all of them, as task "diseases"."""
    found = {}
    for series, x in dict.fromkeys((series, x) for series, x, _ in by_place):
        each = [by_place.get((series, x, disease)) for disease in DISEASES]
        if all(each):
            score = np.mean([runs.frame["score"] for runs in each], axis=0)
            drawn = np.mean([runs.drawn for runs in each], axis=0)
            found[series, x, "diseases"] = MeasuredRuns(each[0].frame.assign(score=score), drawn)
    return found


def eccl_plus(differences: pd.DataFrame) -> list[str]:
    """Options that ECCL+ combines, by the rule of docs/study.md. differences: table of the experiment ``options``."""
    table = differences[differences["other"] == ECCL].set_index(["series", "task"])
    by_option = {
        name: table.loc[[(name, "traits"), (name, "diseases")]]
        for name in OPTIONS
        if {(name, "traits"), (name, "diseases")} <= set(table.index)
    }
    gains = {name: float(rows["difference"].sum()) for name, rows in by_option.items()}
    better = [name for name, rows in by_option.items() if (rows["difference"] > 0).all() and (rows["low"] > 0).any()]
    kept, changed = [], set()
    for name in sorted(better or gains, key=gains.__getitem__, reverse=True)[: None if better else 1]:
        own = {SAME_SETTING.get(key, key) for key in OPTIONS[name]}
        if not changed & own:
            kept.append(name)
            changed |= own
    return kept


def _interval(found: Difference, name: str) -> dict[str, object]:
    return {name: found.value, "low": found.low, "high": found.high}
