"""Fig. 2a and 2d of the study, from the ECCL models of one seed.

``python -m tools.study_maps --seed 4`` trains ECCL of all tasks with this seed where it is missing (ECCL_RUNS), and
writes fig2a and fig2d (PNG and SVG) and modalities.csv into figures/study.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd

from eccl_lib import grid
from eccl_lib.config.load import load
from eccl_lib.config.schema import TASKS, Config
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import features, latent_space
from eccl_lib.figures.style import stamp_synthetic
from eccl_lib.io import paths
from eccl_lib.io.files import write_atomically
from eccl_lib.io.progress import silent
from eccl_lib.notebooks.notebook import write_figure
from eccl_lib.pipeline.stages import spec


def write(config: Config, data: Cohort, folder: Path) -> pd.DataFrame:
    """Fig. 2a of the traits, Fig. 2d of all diseases, and modalities.csv, which is returned. ECCL must be trained.

    modalities.csv: seed, alignment (before, after), silhouette of ECG and CMR, low, high (95 % interval over test
    participants), purity (share of the nearest neighbours of the same modality).
    """
    rows, of_traits = data.index("test"), replace(config, disease="traits")
    latents = {"before": features.before_alignment(of_traits, data, rows)}
    latents["after"] = features.after_alignment(of_traits, data, rows)
    maps = tuple(latent_space.SharedMap.of(latent, config.seed) for latent in latents.values())
    drawn = {"fig2a": latent_space.fig2a(*latents.values(), maps)}
    if diseases := latent_space.fig2d(latent_space.disease_maps(config, data, rows)):
        drawn["fig2d"] = diseases["umap_diseases"]
    for name, figure in drawn.items():
        stamp_synthetic(figure)
        write_figure(figure, folder, name)
    records = [
        (config.seed, when, *latent_space.silhouette_interval(latent), latent_space.modality_purity(latent))
        for when, latent in latents.items()
    ]
    frame = pd.DataFrame(records, columns=["seed", "alignment", "silhouette", "low", "high", "purity"])
    write_atomically(folder / "modalities.csv", lambda path: frame.to_csv(path, index=False, float_format="%.4f"))
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    config = load("study", seed=parser.parse_args().seed)
    grid.train_all([spec(replace(config, disease=task), "eccl") for task in TASKS], config)
    print(write(config, open_cohort.load(config, silent), paths.STUDY_FIGURES).to_string(index=False))


if __name__ == "__main__":
    main()
