"""How far a score of the study moves on another type of processor: one seed under other instruction sets.

``python -m tools.instruction_sets --seed 3`` trains two cells of the study again with PyTorch and oneDNN limited to
older instruction sets (about 12 CPU minutes), and writes figures/study/instruction_sets.csv. The cohort and the parent
runs of this seed are those of ``eccl study`` (ECCL_RUNS). The last lines are the committed cells of Table 1, whose
parents were trained on the processor of the table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.load import load
from eccl_lib.data import open_cohort
from eccl_lib.evaluation.predictions import measured_and_predicted
from eccl_lib.io import paths
from eccl_lib.io.files import write_atomically
from eccl_lib.io.progress import silent
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.stages import spec
from eccl_lib.training.runs import Run
from tools import study_archive

CELLS = (("scratch", "traits"), ("eccl", "I42"))
SETTINGS = {
    "as detected": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "no AVX": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}
MADE_WITH = ("instruction_set", "cpu", "commit")
Measured = tuple[float, np.ndarray, dict[str, str]]  # test score, predictions (N, K), how it was made
TABLE = paths.STUDY_FIGURES / "instruction_sets.csv"


def train(setting: dict[str, str], shared: Path, root: Path, seed: int) -> Iterator[tuple[str, str, Run]]:
    """Train the cells under a setting in the folder ``root``. Yields row, task and the finished run.

    shared: folder of the study, whose cohort and stage-one runs are linked.
    """
    folder = root / shared.name
    folder.mkdir(parents=True)
    for part in ("cohort", "pretrain_ecg", "pretrain_cmr"):
        (folder / part).symlink_to(shared / part)
    for row, task in CELLS:
        command = [sys.executable, "-m", "eccl_lib", "train", row, "--scale", "study", "--disease", task]
        command += ["--seed", str(seed)]
        subprocess.run(command, env={**os.environ, **setting, "ECCL_RUNS": str(root)}, check=True)
        config = load("study", disease=task, seed=seed)
        found = spec(config, row).run(open_cohort.load(config, silent))
        yield row, task, replace(found, folder=folder / found.name)


def of_table(row: str, task: str, seed: int) -> Measured:
    """A committed cell of Table 1."""
    scores = study_archive.read_scores(paths.STUDY_FIGURES, [seed])[task]
    lines = study_archive.read_provenance(paths.STUDY_FIGURES).set_index(study_archive.NAMING)
    line = lines.loc[(METHODS[row].row, task, seed)]
    return float(line["test"]), scores.predicted[scores.rows.index(row), 0], dict(line[list(MADE_WITH)])


def record(setting: str, place: tuple[str, str, int], own: Measured, first: Measured) -> dict[str, object]:
    """A line of the table. own, first: of this setting, and of the instruction set that PyTorch detects."""
    (score, predicted, made_with), (base_score, base, _) = own, first
    r = float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, base.T, strict=True)]))
    numbers = {"test": score, "difference": score - base_score, "r_of_predictions": r}
    return {"setting": setting, **dict(zip(("row", "task", "seed"), place, strict=True)), **numbers, **made_with}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    shared, records, first = paths.scale_root("study", "synthetic"), [], {}
    for name, setting in SETTINGS.items():
        with tempfile.TemporaryDirectory() as root:
            for row, task, run in train(setting, shared, Path(root), seed):
                made_with = {key: run.manifest()["made_with"][key] for key in MADE_WITH}
                own = float(run.metrics["test"]), measured_and_predicted(run)[1], made_with
                records.append(record(name, (row, task, seed), own, first.setdefault((row, task), own)))
    for row, task in CELLS if seed in study_archive.SEEDS else ():
        records.append(record("run of Table 1", (row, task, seed), of_table(row, task, seed), first[row, task]))
    frame = pd.DataFrame(records)
    write_atomically(TABLE, lambda path: frame.to_csv(path, index=False, float_format="%.5f"))
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
