"""Provenance of Table 1: cohort, runs, code, versions, CPU time; no participant data and no host name."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation.predictions import Scores
from eccl_lib.io import paths
from eccl_lib.pipeline.stages import spec, waves

PACKAGES = ("numpy", "pandas", "safetensors", "scikit-learn", "scipy", "timm", "torch", "torchvision")


def facts(config: Config, data: Cohort, scores_by_task: Mapping[str, Scores]) -> dict[str, Any]:
    """Content of ``table1.json``. scores_by_task: the predictions of the table."""
    first = next(iter(scores_by_task.values()))
    runs = [run for scores in scores_by_task.values() for row in scores.runs for run in row]
    runs.sort(key=lambda run: run.name)
    prevalence = data.labels.mean(axis=0).round(4).tolist()
    positives = data.labels[data.index("test")].sum(axis=0).tolist()
    return {
        "scale": config.scale,
        "cohort": config.cohort,
        "cohort_fingerprint": data.fingerprint,
        "participants": len(data.table),
        "test": len(data.index("test")),
        "prevalence": dict(zip(DISEASES, prevalence, strict=True)),
        "test_positives": dict(zip(DISEASES, positives, strict=True)),
        "rows": list(first.rows),
        "seeds": list(first.seeds),
        "runs": [run.name for run in runs],
        "runs_sha256": digest(run.fingerprint for run in runs),
        "made_with": _distinct(run.manifest()["made_with"] for run in runs),
        "cpu_seconds": cpu_seconds(config, data, scores_by_task),
        "commit": commit(),
        "packages": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()},
    }


def digest(fingerprints: Iterable[str]) -> str:
    """SHA-256 of the full fingerprints, one per line; run names contain only their first eight digits."""
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()


def _distinct(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without duplicates."""
    return list({tuple(sorted(record.items())): record for record in records}.values())


def cpu_seconds(config: Config, data: Cohort, scores_by_task: Mapping[str, Scores]) -> dict[str, Any]:
    """CPU time of all runs and their parent runs, each counted once: in total, by stage, by kind of job."""
    cells = [
        spec(replace(config, disease=task, seed=seed), key)
        for task, scores in scores_by_task.items()
        for key in scores.rows
        for seed in scores.seeds
    ]
    stages: dict[str, list[float]] = {}
    kinds: dict[str, list[float]] = {}
    for job in (job for wave in waves(cells) for job in wave):
        seconds = job.seconds(data)
        stages.setdefault(job.stage, []).append(seconds)
        kinds.setdefault(job.kind, []).append(seconds)
    total = sum(sum(values) for values in stages.values())
    return {"total": round(total, 1), "stages": _counted(stages), "kinds": _counted(kinds)}


def _counted(groups: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        name: {"runs": len(values), "seconds": round(sum(values), 1), "median": round(float(np.median(values)), 2)}
        for name, values in groups.items()
    }


def commit() -> dict[str, Any] | None:
    """Commit of this checkout and whether eccl_lib has uncommitted changes; None without a git checkout."""
    try:
        name = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "eccl_lib")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"hash": name, "code_changed_since": bool(changed)}


def _git(*words: str) -> str:
    result = subprocess.run(["git", "-C", str(paths.ROOT), *words], capture_output=True, text=True, check=True)
    return result.stdout.strip()
