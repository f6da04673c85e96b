"""One epoch of alignment with a small ECG tower against a Swin-T at 224 px: its features once, or at each step.

The one-off build of the features is not in it: it costs one forward of the CMR encoder a participant, as one epoch of
the reference does.
"""

from __future__ import annotations

from pathlib import Path

from bench.harness import Case, Pair, at_least

PARTICIPANTS, BATCH, CLOSE = 40, 10, 1e-5
TOWER = {"ecg.patch_samples": 250, "ecg.width": 64, "ecg.depth": 2, "ecg.heads": 2}  # 240 tokens


def prepare(folder: Path) -> Pair:
    """An epoch over the training participants; the features that ours reads are those of one clip at a time."""
    import numpy as np
    import torch

    from bench import pretend
    from eccl_lib import stages, trained
    from eccl_lib.config import RuntimeConfig, load
    from eccl_lib.course import Problem
    from eccl_lib.data import cmr
    from eccl_lib.inputs import Clips, in_batches
    from eccl_lib.lineage import ECCL
    from eccl_lib.log import silent
    from eccl_lib.train import Loop

    config = load("paper", disease="traits", overrides={**TOWER, "align.batch": BATCH, "runtime.device": "cpu"})
    data = pretend.cohort(PARTICIPANTS, config)
    clips, problem = Clips(data, config), Problem.of(config, data)
    encoder = trained.new_cmr_model(problem).requires_grad_(False).eval().encoder
    cached = in_batches(lambda part: encoder(clips.of(part)), np.arange(PARTICIPANTS), size=BATCH, source=clips)
    fresh = cached.copy()

    def loop(features):
        model = trained.new_ecg_model(problem, ECCL)
        course = stages.arm_course(config, ECCL, data, model, features)
        return Loop(course.recipe, config.align, 0, folder, "", RuntimeConfig(), silent)

    loops = loop(cached), loop(fresh)  # they read the arrays that they are given, not copies

    def ours():
        epoch(loops[0])

    def reference():
        epoch(loops[1], at_each_step)

    def at_each_step(rows):
        generator = torch.Generator().manual_seed(int(rows[0]))
        with torch.no_grad():
            fresh[rows] = encoder(cmr.augment(clips.of(rows), config.augment, generator)).numpy()

    def same(*nothing):
        rows = data.index("train")[:4]
        with torch.no_grad():
            one_by_one = torch.cat([encoder(clips.of(rows[k : k + 1])) for k in range(len(rows))]).numpy()
        apart = np.linalg.norm(cached[rows] - one_by_one, axis=1) / np.linalg.norm(one_by_one, axis=1)
        if not apart.max() <= CLOSE:
            raise ValueError(f"cached features are {apart.max():.1e} of their norm away from those of one clip")
        if np.array_equal(fresh[rows], cached[rows]):
            raise ValueError("the reference read no features of its own")

    return Pair(ours, reference, same)


def epoch(loop, before=lambda rows: None) -> None:
    """All updates of the first epoch after warm-up."""
    loop.recipe.model.train()
    for rows in loop.recipe.batches(0):
        before(rows)
        loop.run_step(rows, 40.0)


CASE = Case(
    "alignment epoch, small ECG tower, Swin-T at 224 px",
    "frozen CMR encoder run at each step on augmented clips",
    prepare,
    (at_least("ratio", 10),),
    minutes=10,
    place=4,
)
