"""How far a score of the study moves on another type of processor: one seed under other instruction sets.

``python -m tools.instruction_sets --seed 3`` trains two cells of the study again with PyTorch and oneDNN limited to
older instruction sets (about 12 CPU minutes), and writes figures/study/instruction_sets.csv. The cohort and the parent
runs of this seed are those of ``eccl study`` (ECCL_RUNS).
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
from eccl_lib.pipeline.stages import spec
from eccl_lib.training.runs import Run

CELLS = (("scratch", "traits"), ("eccl", "I42"))
SETTINGS = {
    "as detected": {},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "no AVX": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    shared, records, reference = paths.scale_root("study", "synthetic"), [], {}
    for name, setting in SETTINGS.items():
        with tempfile.TemporaryDirectory() as root:
            for row, task, run in train(setting, shared, Path(root), seed):
                score, predicted = run.metrics["test"], measured_and_predicted(run)[1]
                first, base = reference.setdefault((row, task), (score, predicted))
                r = float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, base.T, strict=True)]))
                made_with = {key: run.manifest()["made_with"][key] for key in ("instruction_set", "cpu", "commit")}
                record = {
                    "setting": name,
                    "row": row,
                    "task": task,
                    "seed": seed,
                    "test": score,
                    "difference": score - first,
                }
                records.append(record | {"r_of_predictions": r} | made_with)
    frame = pd.DataFrame(records)
    write_atomically(TABLE, lambda path: frame.to_csv(path, index=False, float_format="%.5f"))
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
