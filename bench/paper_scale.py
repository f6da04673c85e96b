"""Measure trainings with the paper's shapes and model sizes on generated participants.

``python -m bench.paper_scale --participants 4000 --epochs 20 --seconds 540`` builds the cohort on all cores. It trains
the masked autoencoder, then the CMR encoder and the alignment of each task, at the paper's sizes. The frozen features
that the alignment computes first have their own row, which counts clips. After ``--seconds`` the command stops at a
checkpoint with exit status 75, and the same command resumes; exit status 0 means that all steps are finished. ``--to
FILE`` writes the results; ``--page`` writes them into bench/paper_scale.json and docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from bench.page import PAGE
from eccl_lib.commands.cli import guard
from eccl_lib.config import command_line
from eccl_lib.config.load import load
from eccl_lib.config.schema import TASKS, Config
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.io import paths
from eccl_lib.io.files import read_json, write_json, write_text
from eccl_lib.pipeline import features as features_of_cmr
from eccl_lib.pipeline.stages import expected
from eccl_lib.training.datasets import EVALUATION_BATCH
from eccl_lib.training.runs import Run

UNFINISHED = 75  # exit status: run the same command again
LEAST = 15.0  # seconds; no step starts with less time left
GRACE = 60.0  # seconds for a stage to end after an interrupt
RESULTS = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Step:
    """One command. stage: ``cohort``, ``pretrain_ecg``, ``pretrain_cmr`` or ``align``."""

    stage: str
    config: Config

    @property
    def name(self) -> str:
        """Unique among the steps."""
        of_task = self.stage in ("pretrain_cmr", "align")
        return f"{self.stage} {self.config.disease}" if of_task else self.stage

    def words(self) -> list[str]:
        """The command line."""
        command = ["cohort"] if self.stage == "cohort" else ["train", "eccl" if self.stage == "align" else self.stage]
        return [sys.executable, "-m", "eccl_lib", *command]

    def run(self) -> Run | None:
        """The run of this step; None for the cohort step, or if the cohort is not built."""
        if self.stage == "cohort" or not built(self.config):
            return None
        data = open_cohort.load(self.config)
        return expected(self.config, "eccl" if self.stage == "align" else self.stage, data)

    def done(self) -> bool:
        """Whether this step is finished."""
        if self.stage == "cohort":
            return built(self.config)
        run = self.run()
        return run is not None and run.done


def built(config: Config) -> bool:
    """Whether the cohort is built."""
    folder = paths.cohort_dir(config.scale, config.cohort, open_cohort.fingerprint(config))
    return (folder / "manifest.json").is_file()


class Watch:
    """Samples memory and load of the GPU, if there is one, while a command runs."""

    def __init__(self) -> None:
        self.memory_mb, self.loads, self._over = 0.0, [], threading.Event()

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while (found := gpu("memory.used,utilization.gpu")) and not self._over.wait(2.0):
            memory, load = map(float, found.split(","))
            self.memory_mb = max(self.memory_mb, memory)
            self.loads.append(load)


def gpu(fields: str) -> str:
    """Output of nvidia-smi for the first GPU; empty without a GPU."""
    try:
        asked = [f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
        found = subprocess.run(["nvidia-smi", *asked], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.splitlines()[0].strip() if found.returncode == 0 and found.stdout.strip() else ""


def execute(step: Step, arguments: list[str], seconds: float) -> tuple[int, dict[str, Any]]:
    """Run a step for at most ``seconds``. Returns its exit status (UNFINISHED if stopped) and its measurements."""
    began = time.monotonic()
    with Watch() as watch:
        process = subprocess.Popen([*step.words(), *arguments], cwd=paths.ROOT, start_new_session=True)
        stopped = True
        try:
            stopped = not _ended(process, seconds)
        finally:
            _end(process)
            _, status, usage = os.wait4(process.pid, 0)
    seen = {"clock": time.monotonic() - began, "host_mb": usage.ru_maxrss / 1024, "gpu_mb": watch.memory_mb}
    seen["gpu_load"] = sum(watch.loads) / len(watch.loads) if watch.loads else 0.0
    return UNFINISHED if stopped else os.waitstatus_to_exitcode(status), seen


def _ended(process: subprocess.Popen, seconds: float = 0.0) -> bool:
    """Whether a process ends within ``seconds``; its status stays available for ``os.wait4``."""
    end = time.monotonic() + seconds
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= end:
            return False
        time.sleep(0.1)
    return True


def _end(process: subprocess.Popen) -> None:
    """Interrupt a running step, so that it completes a checkpoint in progress; then kill its process group."""
    if _ended(process):
        return
    try:
        os.kill(process.pid, signal.SIGINT)  # send_signal would consume the exit status
        _ended(process, GRACE)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group has ended
            os.killpg(process.pid, signal.SIGKILL)


def go(steps: list[Step], arguments: dict[str, list[str]], limit: float, notes: Path) -> int:
    """Run the unfinished steps in order. Returns 0, UNFINISHED or the status of the step that failed."""
    end = time.monotonic() + limit if limit else float("inf")
    for step in steps:
        if step.done():
            continue
        left = end - time.monotonic()
        if left < LEAST:
            return UNFINISHED
        print(f"== {step.name}", flush=True)
        status, seen = execute(step, arguments[step.name], left)
        known = read_json(notes) if notes.is_file() else {}
        write_json(notes, known | {step.name: _together(known.get(step.name, {}), seen)})
        if status:
            return status
    return 0


def _together(before: dict[str, float], seen: dict[str, float]) -> dict[str, float]:
    """Merge two measurements of a step: clock times are added; of memory and load the maximum is kept."""
    both = {name: max(before.get(name, 0.0), value) for name, value in seen.items()}
    return both | {"clock": before.get("clock", 0.0) + seen["clock"]}


def measured(steps: list[Step], notes: Path) -> dict[str, Any]:
    """Results of the finished steps."""
    seen, rows = read_json(notes) if notes.is_file() else {}, []
    for step in steps:
        if step.done():
            rows += [*features(step), row(step, seen.get(step.name, {}))]
    return {
        "machine": gpu("name") or harness.machine(),
        "gpu": bool(gpu("name")),
        "steps": rows,
        "left": [step.name for step in steps if not step.done()],
    }


BEGIN = "<!-- paper scale: generated by python -m bench.paper_scale --page -->"
END = "<!-- end of paper scale -->"
PAIRS, EPOCHS = 24_908, 200  # training pairs and epochs of Sec. 3.1
READ = 1024  # clips that are read again to measure the speed of reading alone
HEAD = ("step", "model", "train", "epochs", "seconds", "samples/s", "utilisation", "memory", "test", "at 24,908 x 200")
NONE = "Nothing has been measured at this scale on a GPU yet."


def row(step: Step, seen: dict[str, float]) -> dict[str, Any]:
    """Results of one finished step. seen: measurements of its process."""
    config, memory = step.config, seen.get("gpu_mb") or seen.get("host_mb", 0.0)
    if step.stage == "cohort":
        count = config.synthetic.participants
        return {"step": step.name, "model": "", "n": count, "seconds": seen.get("clock", 0.0), "memory_mb": memory}
    run = step.run()
    timing, metrics = run.timing, run.metrics
    n, epochs = metrics["n"]["train"], metrics["epochs"]
    return {
        "step": step.name,
        "model": _model(step),
        "n": n,
        "epochs": epochs,
        "seconds": timing["seconds"],
        "samples_per_second": timing.get("samples_per_second", n * epochs / timing["seconds"]),
        "utilisation": timing.get("utilisation"),
        "data_wait": timing.get("data_wait"),
        "memory_mb": memory,
        "gpu_load": seen.get("gpu_load", 0.0),
        "metric": f"{metrics['metric']} {metrics['test']:.3f}",
    }


def features(step: Step) -> list[dict[str, Any]]:
    """A row for the computation of the frozen CMR features, if its time was recorded; else no row."""
    if step.stage != "align":
        return []
    config = step.config
    data = open_cohort.load(config, needs=("clips",))
    timing = expected(config, "pretrain_cmr", data).cached_timing(features_of_cmr.file_name(config))
    if "seconds" not in timing:
        return []
    clips, seconds = len(data) * max(1, config.align.views), timing["seconds"]
    name, pace = f"features {config.disease}", clips / max(seconds, 1e-3)
    row = {"step": name, "model": f"frozen {_swin(config)}", "n": clips, "seconds": seconds, "memory_mb": 0.0}
    return [row | {"samples_per_second": pace, "metric": f"reading alone: {reading(data, config):,.0f} clips/s"}]


def reading(data: Cohort, config: Config) -> float:
    """Clips per second that one thread reads from the store, or from the page cache if they are cached."""
    pixels, rows = data.clip_view(config.view), np.arange(min(len(data), READ))
    began = time.perf_counter()
    for start in range(0, len(rows), EVALUATION_BATCH):
        pixels[rows[start : start + EVALUATION_BATCH]]
    return len(rows) / (time.perf_counter() - began)


def _swin(config: Config) -> str:
    return f"Swin {config.cmr.width}, {config.view.clip_size} px x {config.view.clip_frames}"


def _model(step: Step) -> str:
    config, swin = step.config, _swin(step.config)
    vit = f"ViT {config.ecg.width} x {config.ecg.depth}, {_tokens(step)} tokens"
    return {"pretrain_ecg": f"MAE, {vit}", "pretrain_cmr": swin, "align": f"{vit} with frozen {swin}"}[step.stage]


def _tokens(step: Step) -> int:
    ecg = step.config.ecg
    return 12 // ecg.patch_leads * (10 * step.config.view.ecg_rate // ecg.patch_samples)


def table(found: dict[str, Any]) -> str:
    """Markdown table with one line per step, and the machine."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += ["| " + " | ".join(_cells(one)) + " |" for one in found["steps"]]
    return "\n".join(
        [*lines, "", f"{found['machine']}; one process. Not measured: {', '.join(found['left']) or 'none'}."]
    )


def _cells(one: dict[str, Any]) -> list[str]:
    seconds, memory = one["seconds"], f"{one['memory_mb'] / 1000:.1f} GB" if one["memory_mb"] else ""
    if "epochs" not in one:
        pace = f"{one['n'] / seconds:.2f}" if seconds else ""
        return [
            one["step"],
            one["model"],
            f"{one['n']:,}",
            "",
            f"{seconds:.0f}",
            pace,
            "",
            memory,
            one.get("metric", ""),
            "",
        ]
    used = "" if one["utilisation"] is None else f"{one['utilisation']:.0%}"
    hours = seconds / (one["n"] * one["epochs"]) * PAIRS * EPOCHS / 3600  # for EPOCHS passes over PAIRS participants
    counts = [f"{one['n']:,}", f"{one['epochs']}", f"{seconds:.0f}", f"{one['samples_per_second']:.3g}"]
    return [
        one["step"],
        one["model"],
        *counts,
        used,
        memory,
        one["metric"],
        f"{hours:.2g} h" if hours < 100 else f"{hours:,.0f} h",
    ]


def with_table(text: str, found: dict[str, Any] | None) -> str:
    """Page text with a new table between its markers. Raises ValueError if a marker is missing."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/performance.md lacks a marker; restore the two lines {BEGIN!r} and {END!r}")
    return f"{head}{BEGIN}\n{table(found) if found else NONE}\n{END}{tail}"


def update(found: dict[str, Any]) -> None:
    """Write the table into the page."""
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.paper_scale", description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each training")
    parser.add_argument("--tasks", nargs="+", default=["traits"], choices=TASKS, metavar="TASK")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop at a checkpoint after this time; 0: no limit")
    parser.add_argument("--scale", default="paper", help="other scales are only for testing this program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="such as mae.batch=256")
    parser.add_argument("--to", type=Path, help="write the results as JSON")
    parser.add_argument("--page", action="store_true", help=f"write {RESULTS.name} and docs/performance.md")
    return parser.parse_args()


def settings(given: argparse.Namespace) -> list[str]:
    """FIELD=VALUE of all settings that differ from the scale; those of ``--set`` come last and win."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    epochs = [f"{section}.epochs={given.epochs}" for section in ("mae", "cmr_training", "align")]
    ours = [f"synthetic.participants={given.participants}", f"runtime.workers={cores}"]
    return [*ours, *epochs, "runtime.checkpoint_seconds=60", *given.set]


def main() -> int:
    """The command line."""
    given = _arguments()
    chosen = settings(given)
    configs = {
        task: load(given.scale, disease=task, seed=given.seed, overrides=command_line.overrides(chosen))
        for task in given.tasks
    }
    steps = [Step(stage, configs[given.tasks[0]]) for stage in ("cohort", "pretrain_ecg")]
    steps += [Step(stage, configs[task]) for task in given.tasks for stage in ("pretrain_cmr", "align")]
    flags = [f"--set={item}" for item in chosen]
    arguments = {step.name: ["--scale", given.scale, *flags] for step in steps}
    for step in steps[1:]:
        arguments[step.name] += ["--disease", step.config.disease, "--seed", str(given.seed)]
    notes = (
        paths.scale_root(given.scale, "synthetic") / f"paper_scale-{open_cohort.fingerprint(steps[0].config)[:8]}.json"
    )
    notes.parent.mkdir(parents=True, exist_ok=True)
    status = go(steps, arguments, given.seconds, notes)
    found = measured(steps, notes)
    print(table(found))
    if status == UNFINISHED:
        print(f"not finished: {', '.join(found['left'])}; run the same command again to resume", flush=True)
    if given.to:
        given.to.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    if given.page:
        write_json(RESULTS, found)
        update(found)
    return status


if __name__ == "__main__":
    sys.exit(guard(main))
