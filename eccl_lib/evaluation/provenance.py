"""Provenance of Table 1: cohort, runs, code, versions, CPU time; no participant data and no host name."""

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.small_counts import Limit, limit_of
from eccl_lib.evaluation.predictions import Scores
from eccl_lib.io import machine
from eccl_lib.models.build import device
from eccl_lib.pipeline.stages import spec, waves

WALL_CLOCK = "wall-clock time"

PACKAGES = ("numpy", "pandas", "safetensors", "scikit-learn", "scipy", "timm", "torch", "torchvision")


def facts(config: Config, data: Cohort, scores_by_task: Mapping[str, Scores]) -> dict[str, Any]:
    """Content of ``table1.json``. scores_by_task: the predictions of the table."""
    first = next(iter(scores_by_task.values()))
    runs = [run for scores in scores_by_task.values() for row in scores.runs for run in row]
    runs.sort(key=lambda run: run.name)
    made_with = [run.manifest()["made_with"] for run in runs]
    rows_by_task = {task: scores.rows for task, scores in scores_by_task.items()}
    return of_cohort(config, data) | {
        "rows": list(first.rows),
        "seeds": list(first.seeds),
        "runs": [run.name for run in runs],
        "runs_sha256": digest(run.fingerprint for run in runs),
        "made_with": list({tuple(sorted(record.items())): record for record in made_with}.values()),
        "cpu_seconds": cpu_seconds(config, data, rows_by_task, first.seeds),
    }


def of_cohort(config: Config, data: Cohort) -> dict[str, Any]:
    """Facts about the cohort, and the software and machine that computed the table from the predictions.

    prevalence and test_positives are those of the test participants.
    """
    limit, test = limit_of(config), data.index("test")
    labels = {code: data.label_of(code)[test] for code in config.codes}
    return {
        "scale": config.scale,
        "cohort": config.cohort,
        "cohort_fingerprint": data.fingerprint,
        "participants": len(data.table),
        "test": len(test),
        "prevalence": {code: _share(positive, limit) for code, positive in labels.items()},
        "test_positives": limit.counts({code: int(positive.sum()) for code, positive in labels.items()}),
        **({"diseases": dict(config.diseases)} if config.diseases else {}),
        **({"small_counts": limit.note} if limit.note else {}),
        "packages": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "machine": machine.facts(),
    }


def _share(positive: np.ndarray, limit: Limit) -> float | None:
    """The share of cases; None if they are few. positive: (n,) bool."""
    return None if limit.hides(int(positive.sum())) else round(float(positive.mean()), 4)


def digest(fingerprints: Iterable[str]) -> str:
    """SHA-256 of the full fingerprints, one per line; run names contain only their first eight digits."""
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()


def cpu_seconds(
    config: Config, data: Cohort, rows_by_task: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> dict[str, Any]:
    """CPU time of all runs and their parent runs, each counted once: in total, by stage, by kind of job.

    On a GPU it is wall-clock time, and ``clock`` says so. rows_by_task: keys of METHODS, by task.
    """
    cells = [
        spec(replace(config, disease=task, seed=seed), key)
        for task, rows in rows_by_task.items()
        for key in rows
        for seed in seeds
    ]
    jobs = [(job.stage, job.kind, job.seconds(data)) for wave in waves(cells) for job in wave]
    frame = pd.DataFrame(jobs, columns=["stage", "kind", "seconds"])
    total = round(float(frame["seconds"].sum()), 1)
    found = {"total": total, "stages": _counted(frame, "stage"), "kinds": _counted(frame, "kind")}
    return found | ({"clock": WALL_CLOCK} if device(config).type == "cuda" else {})


def _counted(jobs: pd.DataFrame, column: str) -> dict[str, dict[str, float]]:
    return {
        name: {"runs": len(part), "seconds": round(float(part.sum()), 1), "median": round(float(part.median()), 2)}
        for name, part in jobs.groupby(column, sort=False)["seconds"]
    }
