"""Fig. 2b: ECCL with other ECG encoders, by number of patches and by model size."""

from dataclasses import replace

import pandas as pd

from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort
from eccl_lib.evaluation import run_summary
from eccl_lib.io.progress import Log
from eccl_lib.models.ecg_vit import EcgEncoder, grid
from eccl_lib.models.heads import on_meta, parameters_in_millions
from eccl_lib.pipeline.stages import RunSpec, expected, spec


def plan(config: Config) -> list[tuple[str, Config]]:
    """Panel ("patches" or "size") and config of each point; the configured encoder is a point of both panels."""
    base = replace(config, disease="traits")
    leads = config.variants.patch_leads
    sizes = [*zip(config.variants.widths, config.variants.heads, strict=True), (base.ecg.width, base.ecg.heads)]
    lengths = [replace(base.ecg, patch_leads=leads, patch_samples=length) for length in config.variants.patch_samples]
    points = [("patches", encoder) for encoder in dict.fromkeys([*lengths, base.ecg])]
    points += [("size", replace(base.ecg, width=width, heads=heads)) for width, heads in dict.fromkeys(sizes)]
    return [(panel, replace(base, ecg=encoder)) for panel, encoder in points]


def plan_table(config: Config) -> pd.DataFrame:
    """One row per point of Fig. 2b: panel, patch (leads x samples) and width of the ECG encoder."""
    rows = [(panel, f"{p.ecg.patch_leads} x {p.ecg.patch_samples}", p.ecg.width) for panel, p in plan(config)]
    return pd.DataFrame(rows, columns=["panel", "patch", "width"])


def specs(config: Config) -> list[RunSpec]:
    """The ECCL run of every point, each once."""
    return [spec(point, "eccl") for point in dict.fromkeys(point for _, point in plan(config))]


def compare(config: Config, log: Log = print) -> pd.DataFrame:
    """One row per point, from its finished run: panel, tokens, parameters, seconds, r, low, high.

    seconds: CPU time of both stages of the ECG. low, high: 95 % interval over test participants.
    """
    data = open_cohort.load(config, log)
    return pd.DataFrame([_point(panel, point, data) for panel, point in plan(config)])


def _point(panel: str, config: Config, data: cohort.Cohort) -> dict[str, object]:
    run = expected(config, "eccl", data)
    r, low, high = run_summary.interval(run, draws=200)
    samples = 10 * config.view.ecg_rate
    rows, columns = grid(config.ecg, samples)
    parameters = round(1e6 * parameters_in_millions(on_meta(EcgEncoder, config.ecg, samples)))
    seconds = run.timing["cpu_seconds"] + expected(config, "pretrain_ecg", data).timing["cpu_seconds"]
    size = {"panel": panel, "tokens": rows * columns, "parameters": parameters, "seconds": seconds}
    return size | {"r": r, "low": low, "high": high}
