"""The planner's prediction of the cost of three trainings, compared with the actual cost.

On a CPU: CPU time, and memory without mapped files. On a GPU: wall-clock time, and the memory of the GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.harness import Case, at_most, meter
from eccl_lib.data import open_cohort

SMALL = {
    "synthetic.participants": 120,
    "synthetic.file_participants": 0,
    "store.clip_frames": 25,
    "store.clip_size": 56,
    "mae.epochs": 40,
    "cmr_training.epochs": 12,
    "align.epochs": 20,
}
KINDS = ("pretrain_ecg", "cmr_sup", "eccl")


def prepare(folder: Path, device: str = "cpu") -> dict[str, Any]:
    """Demo-size models on the traits: the masked autoencoder, the CMR encoder, the alignment.

    off, memory_off: the largest difference of predicted / actual from 1 among the three.
    """
    import torch

    from eccl_lib.config.load import load
    from eccl_lib.io.progress import silent
    from eccl_lib.pipeline.stages import spec

    torch.set_num_threads(1)
    config = load("demo", disease="traits", overrides={**SMALL, "runtime.device": device})
    data = open_cohort.load(config, silent)
    found: dict[str, Any] = {"off": 0.0, "memory_off": 0.0}
    for kind in KINDS:
        predicted, taken = _both(spec(config, kind), data)
        found[kind] = {"predicted": predicted, "taken": taken}
        for name, k in (("off", 0), ("memory_off", 1)):
            found[name] = max(found[name], abs(predicted[k] / taken[k] - 1))
    return found


def _both(job: Any, data: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """(seconds, bytes), predicted and actual. Parents are trained first; the prediction does not include them."""
    import torch

    from eccl_lib.io.progress import silent
    from eccl_lib.training.cost import Peak

    for parent in job.parents():
        parent.train(silent)
    said = job.plan(data)
    device = "cuda" if said.gpu else "cpu"
    with Peak(torch.device(device)) as peak:
        taken = meter(device).seconds(lambda: job.train(silent))
    return (said.seconds, float(said.memory)), (taken, float(peak.bytes))


CASE = Case(
    "planner: predicted cost of three trainings",
    "actual cost",
    prepare,
    (at_most("off", 0.3, "{:.0%} of CPU time"), at_most("memory_off", 0.3, "{:.0%} of memory")),
    place=14,
    on_gpu=(at_most("off", 0.3, "{:.0%} of wall-clock time"), at_most("memory_off", 0.3, "{:.0%} of memory")),
)
