"""One update of alignment at the paper's size: ViT-B on 600 tokens, with a frozen Swin-T."""

from __future__ import annotations

import statistics
from pathlib import Path

from bench.harness import Case, at_least, meter
from eccl_lib.models.build import new_cmr_model, new_ecg_model

BATCH = {
    "cpu": 2,  # a step takes ten core seconds
    "cuda": 16,  # fits into 24 GB; the stored attention of the reference needs about 0.5 GB more per pair
}
CLOSE, ROUNDS = 1e-4, {"cpu": 3, "cuda": 9}
TINY_LR = 1e-9  # both functions share one model, whose weights must not change


def prepare(folder: Path, device: str = "cpu") -> dict[str, object]:
    """Compare with an eager loop: attention matrices stored, each loss read, the CMR encoder run on augmented clips.

    Both use the precision of a training on this device, without compilation.
    """
    import numpy as np
    import torch

    from bench import pretend
    from eccl_lib import losses
    from eccl_lib.config.load import load
    from eccl_lib.config.method_schema import ECCL
    from eccl_lib.config.schema import RuntimeConfig
    from eccl_lib.data import cmr, ecg
    from eccl_lib.io.progress import silent
    from eccl_lib.pipeline.jobs import ecg_job
    from eccl_lib.tasks import targets_of
    from eccl_lib.training import performance
    from eccl_lib.training.batch import Batch
    from eccl_lib.training.datasets import CineDataset, EcgDataset
    from eccl_lib.training.loop import Loop

    size, runtime = BATCH[device], RuntimeConfig()
    overrides = {"align.batch": size, "align.lr": TINY_LR, "runtime.device": device}
    config = load("paper", disease="traits", overrides=overrides)
    data = pretend.cohort(4 * size, config)
    clips, signals, targets = CineDataset(data, config), EcgDataset(data, config), targets_of(config, data)
    teacher = new_cmr_model(config, targets.task.outputs).requires_grad_(False).eval().encoder
    model, rows = new_ecg_model(config, targets.task.outputs, ECCL), data.index("train")[:size]
    features = np.random.default_rng(0).normal(size=(len(data), teacher.num_features)).astype(np.float32)
    loop = Loop(ecg_job(config, ECCL, data, model, features), 0, folder, "", runtime, silent)
    update = torch.optim.Adam(loop.parameters.values(), lr=TINY_LR)
    wanted = targets.standardize().to(device)

    def ours():
        _attention(model, fused=True)
        model.train()
        loop.run_step(rows, 40.0)

    def reference():
        _attention(model, fused=False)
        _attention(teacher, fused=False)
        model.train()
        generator = torch.Generator(device).manual_seed(0)
        with performance.autocast(torch.device(device), runtime):
            batch = Batch.of(rows, generator)
            x = ecg.augment(signals.of(rows), config.augment, batch.draw(ecg.AUGMENT_DRAWS, -1))
            with torch.no_grad():
                seen = teacher(cmr.augment(clips.of(rows), config.augment, batch.draw(cmr.AUGMENT_DRAWS, -1)))
            outputs, z_ecg, z_cmr = model.forward_pair(x, seen)
            task = targets.loss(outputs, wanted[rows])
            contrastive = losses.clip_loss(z_ecg, z_cmr, model.temperature())
            loss = contrastive + task
        update.zero_grad()
        loss.backward()
        update.step()
        return float(loss.detach()), float(contrastive.detach()), float(task.detach())

    def same():
        model.eval()
        found = []
        for fused in (True, False):
            _attention(model, fused)
            with torch.no_grad():
                found.append(model.encoder(signals.of(rows)))
        torch.testing.assert_close(*found, rtol=CLOSE, atol=CLOSE)

    measure = meter(device)
    if device != "cpu":
        ours(), reference()  # allocates the optimisers' moments and the kernels' workspace
    peaks = [measure.peak_mb(call) for call in (ours, reference)]  # this also warms up both functions
    same()
    times = [[measure.seconds(call) / size for call in (ours, reference)] for _ in range(ROUNDS[device])]
    ratios = sorted(theirs / own for own, theirs in times)
    ours_seconds, reference_seconds = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "ratio": statistics.median(ratios),
        "spread": [round(ratios[0], 4), round(ratios[-1], 4)],
        "seconds": ours_seconds,
        "reference_seconds": reference_seconds,
        "peak_mb": peaks[0],
        "reference_peak_mb": peaks[1],
    }


def _attention(model, fused: bool) -> None:
    """Set timm's option: the fused attention kernel, or softmax(q k^T) as a tensor."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused


CASE = Case(
    "one alignment step per pair, ViT-B on 600 tokens, Swin-T",
    "eager loop: attention matrices in memory, host waits at each step, CMR forward pass",
    prepare,
    (at_least("ratio", 1.1),),
    memory=True,
    minutes=10,
    place=6,
    on_gpu=(at_least("ratio", 1.25),),
)
