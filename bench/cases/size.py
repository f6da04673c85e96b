"""Cost by cohort size: preprocessing, features, an epoch and the table with 1, 2 and 4 times the participants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.harness import Case, at_most, cpu, peak_mb
from eccl_lib.models.build import new_cmr_model, new_ecg_model

TIMES, ROUNDS = (1, 2, 4), 5
FILES, CLIPS, PEOPLE, ROWS = 8, 192, 120, 10_000  # participants at the first size of each part

SETTINGS = {"runtime.device": "cpu", "store.clip_size": 56, "store.clip_frames": 25}


def prepare(folder: Path) -> dict[str, Any]:
    """CPU time per participant for each part and size: the minimum of five rounds, because load can only add time.

    The sizes alternate, so that a change of the load affects all of them. They are large enough that work independent
    of the size, such as work per column of a table, is a small share. The table's sizes reach that of UK Biobank.

    ``uneven``: largest relative difference of the time per participant between two sizes. ``growth_mb``: additional
    memory of four times the participants, in the parts that stream their data (the table is read into memory).
    """
    parts = {"preprocessing": preprocessing, "features": features, "epoch": epoch, "table": table}
    found: dict[str, Any] = {}
    growth = []
    for name, make in parts.items():
        calls = make(folder)
        rounds = [[cpu(call) / count for call, count in calls] for _ in range(ROUNDS)]
        each = [min(times) for times in zip(*rounds, strict=True)]
        found[name] = max(each) / min(each) - 1
        if name != "table":
            growth.append(peak_mb(calls[-1][0]) - peak_mb(calls[0][0]))
    uneven = max(found[name] for name in parts)
    return found | {"uneven": uneven, "growth_mb": max(growth)}


Calls = list[tuple[Callable[[], Any], int]]


def preprocessing(folder: Path) -> Calls:
    """Convert files of a few participants, repeatedly, into rows of the store."""
    from eccl_lib.config.load import load
    from eccl_lib.data.store import fill
    from eccl_lib.data.synthetic import ukb_tree
    from eccl_lib.data.ukb import file_names

    config = load("demo")
    for index in range(8):
        ukb_tree.write_participant(config.synthetic, index, folder / "raw")
    some = [fill.participant(eid, kinds) for eid, kinds in file_names.find(folder / "raw").participants.items()]

    def run(count: int) -> Callable[[], None]:
        def call() -> None:
            for k in range(count):
                fill.process(some[k % len(some)], config)

        call()
        return call

    return [(run(FILES * times), FILES * times) for times in TIMES]


def features(folder: Path) -> Calls:
    """Run a frozen CMR encoder on all clips."""
    import numpy as np

    from bench import pretend
    from eccl_lib.config.load import load
    from eccl_lib.io.progress import silent
    from eccl_lib.tasks import TASKS
    from eccl_lib.training.datasets import CineDataset, predict_in_batches

    config = load("demo", disease="traits", overrides=SETTINGS)
    data = replace(pretend.cohort(CLIPS * TIMES[-1], config), folder=folder, progress=silent)
    clips, encoder = CineDataset(data, config), new_cmr_model(config, TASKS["traits"].outputs).eval().encoder

    def run(count: int) -> Callable[[], Any]:
        return lambda: predict_in_batches(lambda part: encoder(clips.of(part)), np.arange(count), size=32)

    run(CLIPS)()
    return [(run(CLIPS * times), CLIPS * times) for times in TIMES]


def epoch(folder: Path) -> Calls:
    """Train one epoch of the task on the ECG."""
    from bench import pretend
    from eccl_lib.config.load import load
    from eccl_lib.config.method_schema import Arm
    from eccl_lib.config.schema import RuntimeConfig
    from eccl_lib.io.progress import silent
    from eccl_lib.pipeline.jobs import ecg_job
    from eccl_lib.tasks import TASKS
    from eccl_lib.training.loop import Loop

    config = load("demo", disease="traits", overrides=SETTINGS)
    calls: Calls = []
    for times in TIMES:
        data = replace(pretend.cohort(PEOPLE * times, config), folder=folder / str(times), progress=silent)
        data.folder.mkdir()
        model = new_ecg_model(config, TASKS["traits"].outputs, Arm("scratch"))
        loop = Loop(ecg_job(config, Arm("scratch"), data, model, None), 0, folder, "", RuntimeConfig(), silent)

        def call(loop: Loop = loop) -> None:
            loop.job.model.train()
            for rows in loop.job.batches(0):
                loop.run_step(rows, 10.0)

        call()
        calls.append((call, len(data.index("train"))))
    return calls


def table(folder: Path) -> Calls:
    """Convert the tabular export into traits and labels; its rows are repeated under other ids."""
    import pandas as pd

    from eccl_lib.config.load import load
    from eccl_lib.data.synthetic import FIRST_EID, render_table
    from eccl_lib.data.ukb import tables

    first, calls = render_table(load("demo").synthetic, range(500)), []
    for times in TIMES:
        path = folder / f"{times}.csv"
        rows = pd.concat([first] * (ROWS // len(first) * times), ignore_index=True)
        rows.assign(eid=range(FIRST_EID, FIRST_EID + len(rows))).to_csv(path, index=False)

        def call(path: Path = path) -> None:
            read = tables.read_table(path)
            tables.traits(read)
            tables.labels(read, "ever")

        call()
        calls.append((call, ROWS * times))
    return calls


CASE = Case(
    "1, 2 and 4 times the participants: preprocessing, features, epoch, table",
    "the cost per participant at the other sizes",
    prepare,
    (at_most("uneven", 0.10, "{:.0%} apart"), at_most("growth_mb", 20, "{:.0f} MB more")),
    minutes=10,
    place=12,
)
