"""A random cohort in memory with the paper's shapes, for cases that measure training but not its results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES, Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.traits import TRAITS


def cohort(participants: int, config: Config) -> Cohort:
    """Smooth random ECGs and clips; half of the participants are in train, a quarter each in val and test."""
    generator = np.random.default_rng(0)
    time = np.linspace(0, 10, 5000)
    rates = generator.uniform(0.8, 2.0, (participants, 12, 1))
    ecg = (800 * np.sin(2 * np.pi * rates * time) ** 15).astype(np.int16)
    size, frames = config.store.clip_size, config.store.clip_frames
    clips = generator.integers(0, 256, (participants, size // 8, size // 8, frames), dtype=np.uint8)
    splits = np.resize(["train", "train", "val", "test"], participants)
    return Cohort(
        folder=Path("pretend"),
        fingerprint="pretend",
        table=pd.DataFrame({"eid": [f"p{k}" for k in range(participants)], "split": splits}),
        ecg=ecg,
        clips=clips.repeat(8, axis=1).repeat(8, axis=2),
        traits=generator.normal(size=(participants, len(TRAITS))).astype(np.float32),
        labels=generator.random((participants, len(DISEASES))) < 0.5,
        quarantine=pd.DataFrame(),
    )
