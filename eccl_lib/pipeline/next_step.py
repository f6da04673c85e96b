"""What to run after a stage, for the summary at its end."""

import shlex

from eccl_lib.config import command_line
from eccl_lib.config.load import load
from eccl_lib.config.schema import Config
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.training.runs import Run


def after(config: Config, name: str, run: Run) -> str:
    """The notebook and the command that follow a finished run; empty where none does.

    config, name: as they were asked for, see ``stages.train``.
    """
    own_tasks = config.probe.tasks != load(config.scale, cohort=config.cohort).probe.tasks
    if name == "probe" or (name == "pretrain_ecg" and config.cohort.startswith("ecg-") and own_tasks):
        tasks = " ".join(map(shlex.quote, config.probe.tasks))
        return f"eccl probe --tasks {tasks} {command_line.line(config, disease=False)}"
    if name == "pretrain_ecg" and config.cohort.startswith("ecg-"):  # no CMR to align with
        return f"eccl embed --cohort {config.cohort} --weights {shlex.quote(str(run.folder))} --out embeddings.parquet"
    if name == "probe_cmr" or config.cohort.startswith("cmr-"):
        return ""
    notebook, command = _of_pairs(name)
    words = command_line.line(config, disease=command != "eccl table1")
    return f"notebook {notebook}, or: {command} {words}"


def _of_pairs(name: str) -> tuple[str, str]:
    """Notebook and command after a stage or a row, on a cohort with both modalities."""
    stages = {
        "pretrain_ecg": ("03_pretrain_cmr.ipynb", "eccl train pretrain_cmr"),
        "pretrain_cmr": ("04_align.ipynb", "eccl train eccl"),
        "eccl": ("05_baselines.ipynb", "eccl table1"),
    }
    if name in stages:
        return stages[name]
    if name in METHODS:
        return "06_table1.ipynb", "eccl table1"
    return "05_baselines.ipynb with method cmae", "eccl train cmae"  # after an autoencoder or the pair of them
