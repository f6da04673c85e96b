"""One alignment epoch with a small ECG encoder and a Swin-T at 224 px: CMR features computed once, or at each step.

The single computation of the cached features is not included. It costs one forward pass of the CMR encoder per
participant, as one epoch of the reference does.
"""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least
from eccl_lib.models.build import new_cmr_model, new_ecg_model

PARTICIPANTS, BATCH = {"cpu": 40, "cuda": 512}, {"cpu": 10, "cuda": 128}  # half are in train; 128: the paper's batch
CLOSE = {"cpu": 1e-5, "cuda": 1e-3}  # depending on the batch size, cuDNN may round the inputs of a convolution to TF32
TOWER = {"ecg.patch_samples": 250, "ecg.width": 64, "ecg.depth": 2, "ecg.heads": 2}  # 240 tokens

OUTPUTS = 82  # traits


def prepare(folder: Path, device: str = "cpu") -> Pair:
    """An epoch over the training participants. Checks that the cached features equal those of single clips.

    The reference's encoder runs in the precision of the training.
    """
    import numpy as np
    import torch

    from bench import pretend
    from eccl_lib.config.load import load
    from eccl_lib.config.method_schema import ECCL
    from eccl_lib.config.schema import RuntimeConfig
    from eccl_lib.data import cmr
    from eccl_lib.io.progress import silent
    from eccl_lib.pipeline.jobs import ecg_job
    from eccl_lib.pipeline.steps import AlignmentStep
    from eccl_lib.training.datasets import CineDataset, predict_in_batches
    from eccl_lib.training.loop import Loop

    batch = BATCH[device]
    config = load("paper", disease="traits", overrides={**TOWER, "align.batch": batch, "runtime.device": device})
    data = pretend.cohort(PARTICIPANTS[device], config)
    clips = CineDataset(data, config)
    encoder = new_cmr_model(config, OUTPUTS).requires_grad_(False).eval().encoder
    cached = predict_in_batches(lambda part: encoder(clips.of(part)), np.arange(len(data)), size=batch, source=clips)
    seen: dict[str, object] = {}  # rows and features of the reference's last step

    def loop(naive: bool):
        job = ecg_job(config, ECCL, data, new_ecg_model(config, OUTPUTS, ECCL), cached)
        if naive:
            job.step.__class__ = Naive
        return Loop(job, 0, folder, "", RuntimeConfig(), silent)

    class Naive(AlignmentStep):
        """Runs the CMR encoder at each step, on augmented clips."""

        def encode(self, batch):
            x = self.ecgs.augmented(batch)
            with torch.no_grad():
                draws = batch.draw(cmr.AUGMENT_DRAWS, -1)
                features = encoder(cmr.augment(clips.of(batch.rows), config.augment, draws))
            seen.update(rows=batch.rows, features=features)
            return self.model.forward_pair(x, features)

    loops = loop(naive=False), loop(naive=True)

    def same(*nothing):
        rows = data.index("train")[:4]
        with torch.no_grad():
            one_by_one = torch.cat([encoder(clips.of(rows[k : k + 1])) for k in range(len(rows))]).cpu().numpy()
        apart = np.linalg.norm(cached[rows] - one_by_one, axis=1) / np.linalg.norm(one_by_one, axis=1)
        if not apart.max() <= CLOSE[device]:
            raise ValueError(f"cached features differ from those of single clips by {apart.max():.1e} of their norm")
        if np.array_equal(seen["features"].float().cpu().numpy(), cached[seen["rows"]]):
            raise ValueError("the reference did not compute features of its own")

    return Pair(lambda: epoch(loops[0]), lambda: epoch(loops[1]), same, device=device)


def epoch(loop) -> None:
    """Run all updates of one epoch, with the learning rate of the first epoch after warm-up."""
    loop.job.model.train()
    for rows in loop.job.batches(0):
        loop.run_step(rows, 40.0)


CASE = Case(
    "one alignment epoch, small ECG encoder, Swin-T at 224 px",
    "the frozen CMR encoder runs on augmented clips at each step",
    prepare,
    (at_least("ratio", 10),),
    minutes=10,
    place=5,
    on_gpu=(at_least("ratio", 10),),
)
