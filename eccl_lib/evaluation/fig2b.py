"""Fig. 2b: ECCL with other ECG encoders; one factor varies at a time: patch length, width or depth."""

from dataclasses import replace

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort
from eccl_lib.io.progress import Log
from eccl_lib.metrics import bootstrap, comparison
from eccl_lib.models.ecg_vit import EcgEncoder, grid
from eccl_lib.models.heads import on_meta, parameters_in_millions
from eccl_lib.pipeline.stages import RunSpec, expected, spec
from eccl_lib.training.run_scores import measured_and_predicted

DRAWS = 500  # bootstrap draws of participants; their standard deviation then has a relative error of 3 %; ours


def plan(config: Config) -> list[tuple[str, Config]]:
    """Panel ("patches", "width" or "depth") and config of each point; the configured encoder is in every panel."""
    base, variants = replace(config, disease="traits"), config.variants
    sizes = zip(variants.widths, variants.heads, strict=True)
    encoders = {
        "patches": [
            replace(base.ecg, patch_leads=variants.patch_leads, patch_samples=t) for t in variants.patch_samples
        ],
        "width": [replace(base.ecg, width=width, heads=heads) for width, heads in sizes],
        "depth": [replace(base.ecg, depth=depth) for depth in variants.depths],
    }
    return [
        (panel, replace(base, ecg=encoder))
        for panel, varied in encoders.items()
        for encoder in dict.fromkeys([*varied, base.ecg])
    ]


def plan_table(config: Config) -> pd.DataFrame:
    """One row per point of Fig. 2b: panel, patch (leads x samples), width and depth of the ECG encoder."""
    encoders = [(panel, point.ecg) for panel, point in plan(config)]
    rows = [(panel, f"{ecg.patch_leads} x {ecg.patch_samples}", ecg.width, ecg.depth) for panel, ecg in encoders]
    return pd.DataFrame(rows, columns=["panel", "patch", "width", "depth"])


def _of_all_seeds(config: Config) -> list[Config]:
    return [replace(config, seed=config.seed + k) for k in range(config.variants.seeds)]


def specs(config: Config) -> list[RunSpec]:
    """The ECCL run of every point and seed, each once."""
    points = dict.fromkeys(point for _, point in plan(config))
    return [spec(own, "eccl") for point in points for own in _of_all_seeds(point)]


def compare(config: Config, log: Log = print) -> pd.DataFrame:
    """One row per point and seed, from finished runs: panel, tokens, parameters, width, depth, seconds, seed, r, ...

    seconds: CPU time of both stages of the ECG, mean over seeds. seed, r: of this seed. mean, low, high: over seeds,
    with the 95 % interval over test participants and seeds.
    """
    data, planned = open_cohort.load(config, log), plan(config)
    points = {point: _point(point, data) for point in dict.fromkeys(point for _, point in planned)}
    parts = [points[point].assign(panel=panel) for panel, point in planned]
    columns = ["panel", *points[planned[0][1]].columns]
    return pd.concat(parts, ignore_index=True)[columns]


def _point(config: Config, data: cohort.Cohort) -> pd.DataFrame:
    runs = [expected(own, "eccl", data) for own in _of_all_seeds(config)]
    pretrained = [expected(own, "pretrain_ecg", data) for own in _of_all_seeds(config)]
    scores = np.array([run.metrics["test"] for run in runs])
    pairs = [measured_and_predicted(run) for run in runs]
    drawn = np.stack([bootstrap.mean_r_draws(predicted[None], measured, DRAWS) for measured, predicted in pairs])
    interval = comparison.over_participants_and_seeds(scores, drawn)
    samples = 10 * config.view.ecg_rate
    size = {"tokens": int(np.prod(grid(config.ecg, samples)))}
    size["parameters"] = round(1e6 * parameters_in_millions(on_meta(EcgEncoder, config.ecg, samples)))
    size |= {"width": config.ecg.width, "depth": config.ecg.depth}
    size["seconds"] = float(sum(run.timing["cpu_seconds"] for run in (*runs, *pretrained))) / len(runs)
    mean = {"mean": interval.value, "low": interval.low, "high": interval.high}
    return pd.DataFrame({**size, "seed": [run.seed for run in runs], "r": scores, **mean})
