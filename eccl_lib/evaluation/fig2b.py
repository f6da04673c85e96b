"""Fig. 2b: ECCL with other ECG encoders; one factor varies at a time: patch length, width or depth."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data import open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.evaluation import claims
from eccl_lib.evaluation.measured_runs import MeasuredRuns
from eccl_lib.io.progress import Log
from eccl_lib.metrics import bootstrap, comparison
from eccl_lib.metrics.comparison import Difference
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


def seeds_of(config: Config) -> range:
    """The seeds of Fig. 2b, counted from that of the config."""
    return range(config.seed, config.seed + config.variants.seeds)


def specs(config: Config, seeds: Iterable[int] | None = None) -> list[RunSpec]:
    """The ECCL run of every point and seed, each once. seeds: by default those of Fig. 2b."""
    points, seeds = dict.fromkeys(point for _, point in plan(config)), seeds or seeds_of(config)
    return [spec(replace(point, seed=seed), "eccl") for point in points for seed in seeds]


PLACE = ("panel", "tokens", "width", "depth")


def compare(config: Config, log: Log = print) -> pd.DataFrame:
    """The table of Fig. 2b from finished runs of all its seeds."""
    return table(measure(config, open_cohort.load(config, log), seeds_of(config)))


def measure(config: Config, data: Cohort, seeds: Iterable[int]) -> MeasuredRuns:
    """Scores of the finished runs with these seeds; all share the draws of participants.

    The frame has panel, tokens, parameters, width, depth, seed, score, run, and seconds: CPU time of both stages of the
    ECG.
    """
    places = (({"panel": panel}, replace(point, seed=seed)) for panel, point in plan(config) for seed in seeds)
    return MeasuredRuns.of(places, lambda own: _score(own, data), DRAWS)


def _score(config: Config, data: Cohort) -> tuple[dict[str, object], np.ndarray] | None:
    """One encoder with one seed; None if it is not finished."""
    run = expected(config, "eccl", data)
    if not run.done:
        return None
    measured, predicted = measured_and_predicted(run)
    samples = 10 * config.view.ecg_rate
    size = {"tokens": int(np.prod(grid(config.ecg, samples)))}
    size["parameters"] = round(1e6 * parameters_in_millions(on_meta(EcgEncoder, config.ecg, samples)))
    size |= {"width": config.ecg.width, "depth": config.ecg.depth}
    seconds = sum(part.timing["cpu_seconds"] for part in (run, expected(config, "pretrain_ecg", data)))
    facts = size | {"seconds": seconds, "seed": run.seed, "score": run.metrics["test"], "run": run.name}
    return facts, bootstrap.mean_r_draws(predicted[None], measured, DRAWS)


def table(measured: MeasuredRuns) -> pd.DataFrame:
    """One row per point and seed: panel, tokens, parameters, width, depth, seconds, seed, r, mean, low, high.

    seconds: mean over seeds. seed, r: of this seed. mean, low, high: over seeds, with the 95 % interval over test
    participants and seeds.
    """
    parts = []
    for runs in measured.by_place(PLACE).values():
        mean = runs.mean()
        facts = {"seconds": runs.frame["seconds"].mean(), "mean": mean.value, "low": mean.low, "high": mean.high}
        parts.append(runs.frame.rename(columns={"score": "r"}).assign(**facts))
    columns = ["panel", "tokens", "parameters", "width", "depth", "seconds", "seed", "r", "mean", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns]


# Claims of the paper on Fig. 2b: panel, column of the size, and the smaller size that the largest one is compared with.
CLAIMS = {
    "more patches give a higher mean r": ("patches", "tokens", 0),
    "a wider ViT gives a higher mean r": ("width", "width", -2),
    "a deeper ViT gives a higher mean r": ("depth", "depth", -2),
}


def claims_table(measured: MeasuredRuns) -> pd.DataFrame:
    """The paper's claims on Fig. 2b: claim, difference, low, high, p, p_holm, seeds, verdict (docs/study.md).

    The most patches are compared with the fewest, the widest and the deepest ViT with the next smaller one.
    """
    found: dict[str, Difference] = {}
    for text, (panel, column, smaller) in CLAIMS.items():
        of_panel = measured.rows((measured.frame["panel"] == panel).to_numpy()).by_place([column])
        if len(of_panel) > 1:
            sizes = sorted(size for (size,) in of_panel)
            compared = of_panel[sizes[-1],].minus(of_panel[sizes[smaller],])
            found[f"{text} ({sizes[-1]:,} against {sizes[smaller]:,})"] = compared
    p_holm, seeds = comparison.holm(np.array([each.p for each in found.values()])), measured.frame["seed"].nunique()
    return pd.DataFrame(
        {"claim": text, "difference": each.value, "low": each.low, "high": each.high, "p": each.p, "p_holm": p}
        | {"seeds": seeds, "verdict": claims.verdict(each, p)}
        for (text, each), p in zip(found.items(), p_holm, strict=True)
    )
