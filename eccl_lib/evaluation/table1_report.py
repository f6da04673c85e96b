"""What the report on a finished Table 1 (``eccl report``) shows: facts from the runs and the files of the table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from eccl_lib.config.errors import MissingError
from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort
from eccl_lib.data.ingest import report as ingest_report
from eccl_lib.data.small_counts import limit_of
from eccl_lib.data.splits import SPLITS, has_folds
from eccl_lib.evaluation import subgroups
from eccl_lib.evaluation.cohort_summary import cohort_table
from eccl_lib.evaluation.predictions import Scores, gather
from eccl_lib.evaluation.scale_table import scale_table
from eccl_lib.io import paths
from eccl_lib.io.files import read_json
from eccl_lib.io.progress import Log, format_seconds
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import Task, tasks_of
from eccl_lib.training.runs import MANIFEST, Run

TABLES = ("table1", "reference", "table1_cells", "table1_differences", "claims", "against_controls", "separation")
IN_TABLE, UNFINISHED, RESUMED = "in Table 1", "unfinished (interrupted or failed)", "resumed after an interruption"
SYNTHETIC = (
    "A synthetic cohort: a model of the heart generates participants, and ECG and CMR of each show the same heart. "
    "Scores on it show how the methods compare; they do not estimate performance on patients."
)
UK_BIOBANK = "UK Biobank's participants with a 12-lead ECG and a cine CMR, as the user's files contain them."


@dataclass(frozen=True)
class Content:
    """What the page shows. frames: the tables of ``table1.write`` by name. provenance: table1.json.

    config: has the diseases of the table.
    """

    config: Config
    folder: Path
    provenance: dict[str, Any]
    frames: dict[str, pd.DataFrame]
    people: pd.DataFrame
    excluded: pd.DataFrame
    subgroups: pd.DataFrame
    models: pd.DataFrame
    departures: pd.DataFrame
    runs: dict[str, int]
    facts: dict[str, str]

    @property
    def tasks(self) -> dict[str, Task]:
        """All tasks that the table can have, by key."""
        return tasks_of(self.config)


def gather_content(config: Config, log: Log = print) -> Content:
    """Read the files of Table 1, its runs and its cohort. Raises MissingError with the command if there is no table.

    Raises ConfigError for a cohort that can have none.
    """
    open_cohort.require_arrays(config.cohort)
    folder = paths.figures_dir(config.scale, config.cohort)
    if not (folder / "table1.json").is_file():
        command = f"eccl table1 --scale {config.scale} --cohort {config.cohort}"
        raise MissingError(f"{folder} has no Table 1; this command makes it: {command}")
    provenance = read_json(folder / "table1.json")
    frames = {name: pd.read_csv(folder / f"{name}.csv") for name in TABLES if (folder / f"{name}.csv").is_file()}
    config = replace(config, diseases=tuple(sorted(provenance.get("diseases", {}).items())))
    known = tasks_of(config)
    data, tasks = open_cohort.load(config, log), [task for task in known if task in set(frames["table1_cells"]["task"])]
    scores = gather(config, provenance["rows"], tasks, provenance["seeds"])
    runs = _counted(config, [run for each in scores.values() for row in each.runs for run in row])
    has_eccl = "eccl" in provenance["rows"]
    content = Content(
        config=config,
        folder=folder,
        provenance=provenance,
        frames=frames,
        people=cohort_table(data, config).reindex(SPLITS),
        excluded=_excluded(data, config),
        subgroups=subgroups.table(config, data, scores) if has_eccl else pd.DataFrame(),
        models=_models(scores),
        departures=scale_table(config),
        runs=runs,
        facts={},
    )
    content.facts.update(facts(content, data, scores))
    return content


def _excluded(data: cohort.Cohort, config: Config) -> pd.DataFrame:
    """Reasons why participants or recordings were excluded, without texts and numbers of a file: reason, n."""
    counts = ingest_report.reasons(data.quarantine).value_counts()
    return pd.DataFrame({"reason": counts.index, "n": limit_of(config).parts(counts.to_dict()).values()})


def _models(scores: Mapping[str, Scores]) -> pd.DataFrame:
    """One row per row of Table 1: how it is trained, millions of parameters of the stored model, updates."""
    records = []
    first = scores.get("traits") or next(iter(scores.values()))
    for key, name, runs in zip(first.rows, first.names, first.runs, strict=True):
        size = parameters(runs[0]) / 1e6
        updates = sorted(
            {run.metrics["updates"] for each in scores.values() for run in each.runs[first.rows.index(key)]}
        )
        span = f"{updates[0]:,}" if len(updates) == 1 else f"{updates[0]:,} to {updates[-1]:,}"
        records.append({"row": name, **METHODS[key].facts, "million parameters": round(size, 3), "updates": span})
    return pd.DataFrame(records)


def parameters(run: Run) -> int:
    """Number of weights in a run's model, without reading them."""
    with safe_open(run.path("model.safetensors"), "np") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def _counted(config: Config, of_table: list[Run]) -> dict[str, int]:
    """Counts of runs: in the table, finished and unfinished ones in the folder of this scale, and resumed ones."""
    root = paths.scale_root(config.scale, config.cohort)
    manifests = [read_json(path) for path in root.glob(f"*/*/*/*/{MANIFEST}")]
    finished = sum(manifest.get("status") == "done" for manifest in manifests)
    counts = {IN_TABLE: len(of_table), "finished, with prerequisites and other runs": finished}
    counts[UNFINISHED] = len(manifests) - finished
    return counts | {RESUMED: sum(run.timing.get("resumed", 0) > 0 for run in of_table)}


def facts(content: Content, data: cohort.Cohort, scores: Mapping[str, Scores]) -> dict[str, str]:
    """What is known for the checklists, as text. A fact that is not known has no entry."""
    config, provenance, view = content.config, content.provenance, content.config.view
    synthetic = config.cohort == "synthetic"
    n = {split: f"{len(data.index(split)):,}" for split in ("train", "val", "test")}
    cases = ", ".join(f"{count} {content.tasks[code].column}" for code, count in provenance["test_positives"].items())
    missing = np.isnan(data.traits[data.index("test")]).mean()
    packages = ", ".join(f"{name} {number}" for name, number in provenance["packages"].items())
    seeds = len(provenance["seeds"])
    eccl_updates = next((row.updates for row in content.models.itertuples() if row.row == "ECCL"), None)
    known = {
        "cohort": config.cohort,
        "title": title(config),
        "source": SYNTHETIC if synthetic else UK_BIOBANK,
        "participants": f"{len(data):,}",
        **n,
        "excluded": str(limit_of(config).count(len(data.quarantine))),
        "split_rule": "published folds" if has_folds(data.table, config) else "a hash of the participant's id decides",
        "cases": cases,
        "outcomes": _outcomes(config),
        "missing": f"{missing:.1%} of the trait values of test participants are missing; they count neither in the "
        "loss nor in r. Participants without a complete ECG are excluded.",
        "preprocessing": "Docs and notebook 01: baseline removal by seasonal decomposition, cropping of the CMR to the "
        "heart, scaling of each lead; the same for all participants.",
        "ecg_input": f"12 leads, 10 s, {view.ecg_rate} Hz",
        "cmr_input": f"middle short-axis slice, {view.clip_frames} frames, {view.clip_size} x {view.clip_size} pixels",
        "and_cmr": " and CMR",
        "and_seeds": " and training seeds" if seeds > 1 else " (one training seed)",
        "negatives": str(config.align.negatives_per_positive),
        "rows": str(len(provenance["rows"])),
        "predicted": _predicted(scores),
        "tasks": str(len(scores)),
        "seeds": str(seeds),
        "controls": str(len(content.frames["reference"])),
        "runs": str(content.runs[IN_TABLE]),
        "unfinished": str(content.runs[UNFINISHED]),
        "resumed": str(content.runs[RESUMED]),
        "hours": f"{provenance['cpu_seconds']['total'] / 3600:.1f} hours of {_clock(provenance)}",
        "machine": f"{provenance['machine']['cpu']}, {provenance['machine']['cores']} cores",
        "packages": packages,
        "commit": ", ".join(sorted({made["commit"][:8] for made in provenance["made_with"]})),
        "protocol": "docs/study.md, committed before the first run."
        if config.scale == "study"
        else "None precedes the runs of this scale; docs/study.md is that of the study.",
        "fingerprint": provenance["cohort_fingerprint"][:16],
    }
    if eccl_updates:
        known["updates"] = eccl_updates
    return known


def _predicted(scores: Mapping[str, Scores]) -> str:
    """What the tasks predict, as text: 4 diseases and 82 cardiac traits."""
    diseases = [each.task.disease for each in scores.values() if each.task.is_disease]
    parts = [f"{len(diseases)} disease{'s' * (len(diseases) > 1)}"] if diseases else []
    traits = {name for each in scores.values() if not each.task.is_disease for name in each.task.names}
    return " and ".join([*parts, *([f"{len(traits)} cardiac traits"] if traits else [])])


def _outcomes(config: Config) -> str:
    if config.cohort == "synthetic":
        return (
            "Diseases and 82 cardiac traits follow from the simulated heart, with measurement noise (docs/traits.md)."
        )
    codes = ", ".join(config.codes)
    return f"Diagnoses {codes} (ICD-10) in hospital records; 82 traits from UK Biobank's automated analysis of CMR."


def title(config: Config) -> str:
    """The title of the page."""
    cohort_name = {"synthetic": "a synthetic cohort", "ukb": "UK Biobank"}.get(config.cohort, config.cohort)
    return f"Predicting cardiac traits and diseases from the ECG with knowledge from CMR: ECCL on {cohort_name}"


def times(provenance: Mapping[str, Any]) -> list[dict[str, str | int]]:
    """Time of each stage: stage, runs, total, median of a run."""
    return [
        {"stage": name, "runs": each["runs"], _clock(provenance): format_seconds(each["seconds"])}
        | {"median of a run": format_seconds(each["median"])}
        for name, each in provenance["cpu_seconds"]["stages"].items()
    ]


def _clock(provenance: Mapping[str, Any]) -> str:
    """The kind of the times: CPU time, or wall-clock time of a GPU."""
    return provenance["cpu_seconds"].get("clock", "CPU time")
