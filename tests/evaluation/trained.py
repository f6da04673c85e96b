"""The ECCL runs of all five tasks on the tiny cohort, and ECG files."""

from dataclasses import replace

import numpy as np

from eccl_lib.config.schema import LEADS
from eccl_lib.data import synthetic
from eccl_lib.pipeline import stages
from eccl_lib.tasks import TASKS
from tests.conftest import tiny_config


def train_all(seeds=(0,), **overrides):
    """The finished runs by task; of several seeds, those of the last one."""
    for seed in seeds:
        config = tiny_config(seed=seed, **overrides)
        runs = {task: stages.train(replace(config, disease=task), "eccl", lambda line: None) for task in TASKS}
    return runs


def signal_of(index=0):
    """(12, 5000) mV, one participant of the tiny cohort as recorded."""
    return synthetic.render_ecg(tiny_config().synthetic, index).signal


def write_csv(path, index=0, leads=LEADS):
    """An ECG of the tiny cohort as CSV with only these leads. Returns the path."""
    rows = np.array([LEADS.index(lead) for lead in leads])
    lines = "\n".join(",".join(f"{value:.4f}" for value in row) for row in signal_of(index)[rows].T)
    path.write_text(f"# rate=500\n{','.join(leads)}\n{lines}\n")
    return path
