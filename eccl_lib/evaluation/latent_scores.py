"""What the tables of retrieval and of separation need from ECCL's embeddings of the test participants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import features
from eccl_lib.metrics import embedding, retrieval

WHEN = ("before", "after")  # alignment


@dataclass(frozen=True)
class LatentScores:
    """Scores of n test participants for one task and seed, before and after alignment.

    ranked: by moment and direction of retrieval, as ``retrieval.ranked``. purity: by moment, the share of the five
    nearest ECGs with the same label, (n,); empty for the traits.
    """

    ranked: dict[str, dict[str, retrieval.Ranked]]
    purity: dict[str, np.ndarray]


ByTaskAndSeed = Mapping[tuple[str, int], LatentScores]


def measure(config: Config, data: Cohort, tasks: Sequence[str], seeds: Sequence[int]) -> ByTaskAndSeed:
    """Scores of the finished ECCL models. Raises MissingError with the command if one is missing."""
    return {(task, seed): _of_model(replace(config, disease=task, seed=seed), data) for task in tasks for seed in seeds}


def _of_model(config: Config, data: Cohort) -> LatentScores:
    rows = data.index("test")
    found = (features.before_alignment(config, data, rows), features.after_alignment(config, data, rows))
    ranked = {when: retrieval.ranked(latent.z_ecg, latent.z_cmr) for when, latent in zip(WHEN, found, strict=True)}
    if config.disease not in config.codes:
        return LatentScores(ranked, {})
    positive = data.label_of(config.disease)[rows]
    purity = {when: embedding.purity(latent.ecg, positive) for when, latent in zip(WHEN, found, strict=True)}
    return LatentScores(ranked, purity)


def seeds_of(latents: ByTaskAndSeed, task: str) -> list[LatentScores]:
    """The scores of one task, by rising seed."""
    return [latents[key] for key in sorted(latents) if key[0] == task]
