"""Train the runs of the study's experiments that figures/study does not have yet, several experiments in one plan.

``python -m tools.study_experiments participants teacher batch --seed 4`` does the work of ``eccl study --experiment``
for one seed, without the runs whose scores or predictions are committed. All runs of a seed need the same type of
processor. Then ``python -m tools.study_results`` adds the finished runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from eccl_lib import grid
from eccl_lib.config.load import load
from eccl_lib.config.schema import Config
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import experiments
from eccl_lib.io import paths
from eccl_lib.pipeline import stages
from eccl_lib.pipeline.stages import RunSpec
from tools import study_archive


def missing(names: Iterable[str], config: Config, data: Cohort, folder: Path) -> list[RunSpec]:
    """The runs of experiments, with the seed of the config, that the archive in ``folder`` has no score of."""
    kept = {name for each in names for name in study_archive.runs_of(each, folder)}
    wanted = dict.fromkeys(own for each in names for own in experiments.specs(each, config, 1))
    return [own for own in wanted if own.run(data).name not in kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=experiments.NAMES)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--plan", action="store_true", help="estimate the time and stop")
    parsed = parser.parse_args()
    config = load("study", seed=parsed.seed, overrides={"runtime.build_missing": True})
    data = open_cohort.load(config, print)
    waves = stages.waves(missing(parsed.names, config, data, paths.STUDY_FIGURES))
    (grid.predict if parsed.plan else grid.run_jobs)(waves, config, print)


if __name__ == "__main__":
    main()
