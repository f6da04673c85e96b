"""The model card of an exported run, generated from what the run recorded."""

import json
from typing import Any

import numpy as np

from eccl_lib.config import command_line
from eccl_lib.config.schema import LEADS
from eccl_lib.data.small_counts import Limit
from eccl_lib.data.splits import SPLITS
from eccl_lib.data.traits import TRAITS, value_text
from eccl_lib.evaluation.calibrate import Calibration, DiseaseCalibration, TraitCalibration
from eccl_lib.evaluation.predict import RESEARCH
from eccl_lib.models.heads import parameters_in_millions
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.portable import EcgModel
from eccl_lib.tasks import tasks_of
from eccl_lib.training import run_scores

COHORTS = {
    "synthetic": "the synthetic cohort of this software: rendered ECGs and hearts, no person. The model has no meaning "
    "for a person",
    "ukb": "UK Biobank's imaging visit: 12-lead resting ECGs with cardiac MRI of the same participants, volunteers who "
    "are healthier than the population",
}
LIMITS = (
    "Not evaluated on another population, device or clinical setting than the data above; the prevalence, and with it "
    "every probability, differs elsewhere.",
    "A prediction near the cohort's mean may only say that the ECG has little information about a trait.",
    "Associations, not causes; not evaluated for fairness between groups.",
    "Needs ten seconds of a resting ECG. Missing leads are zero in the input and cost accuracy.",
)
USE = (
    "**Intended use:** research on ECG representations and on what an ECG tells about the heart.",
    "**Not intended:** diagnosis, triage, treatment, insurance or any decision about a person.",
)
ONNX = """- `model.onnx`: input `ecg_mv`, (B, 12, 5000) float32 in mV at 500 Hz, leads I, II, III, aVR, aVL, aVF, V1 to
  V6, without baseline, and zero in leads without a signal; gives {outputs}.
  Baseline: subtract the moving average over one beat, int(30000 / heart rate per minute) samples; if this is even, both
  ends of the window have weight 1/2; at the edges take the nearest computed value."""


def text(model: EcgModel, known: Calibration | None, limit: Limit, *, has_onnx: bool) -> str:
    """The card as Markdown. known: calibration without small counts."""
    run = model.run
    parts = [f"# {_title(model)}", f"**{RESEARCH}** Made with eccl-lib {run.manifest()['made_with']['eccl_lib']}."]
    parts += [_table("Model", _facts(model)), "\n\n".join(USE)]
    parts += [
        _table("Data", _data(model, limit)),
        _table("Performance on test participants", _scores(model, known, limit)),
    ]
    if isinstance(known, TraitCalibration):
        parts.append(_traits(known))
    parts += ["## Limits\n\n" + "\n".join(f"- {limit}" for limit in LIMITS), _files(model, has_onnx)]
    return "\n\n".join(parts) + "\n"


def _title(model: EcgModel) -> str:
    run = model.run
    task = tasks_of(model.config).get(run.task)
    what = run.task if task is None else task.disease or ("82 cardiac traits" if run.task == "traits" else run.task)
    return f"ECG model: {what}" if model.names else "ECG encoder: masked autoencoder"


def _table(title: str, rows: dict[str, Any]) -> str:
    return "\n".join(
        [f"## {title}", "", "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    )


def _facts(model: EcgModel) -> dict[str, Any]:
    run, config = model.run, model.config
    row = METHODS[run.variant].row if run.variant in METHODS else run.variant
    encoder = f"ViT, width {config.ecg.width}, {config.ecg.depth} blocks, patches of {config.ecg.patch_samples} samples"
    seen = config.view.ecg_leads
    leads = "12 leads" if seen == LEADS else f"12 leads, of which the model reads {' '.join(seen)}"
    changed = ", ".join(f"{name}={json.dumps(value)}" for name, value in command_line.changes(config).items())
    return {
        "method": f"{row} (stage {run.stage}) of ECCL, MICCAI 2024",
        "encoder": "convolutions" if run.variant == "cmae" else encoder,
        "parameters": f"{parameters_in_millions(model.network):.2f} million",
        "input": f"{leads}, 10 s; {config.view.ecg_rate} Hz and scaling `{config.view.ecg_scaling}` inside the model",
        "outputs": f"{len(model.names)}: {', '.join(model.names[:6])}{' ...' if len(model.names) > 6 else ''}",
        **({"settings that differ from the scale's": f"`{changed}`"} if changed else {}),
        "fingerprint": f"`{run.fingerprint}` (config, cohort and parent runs), seed {run.seed}, scale {config.scale}",
    }


def _data(model: EcgModel, limit: Limit) -> dict[str, Any]:
    metrics, cohort = model.run.metrics, model.config.cohort
    rows = {"cohort": COHORTS.get(cohort, f"the store {cohort} of its authors' files")}
    rows["participants"] = ", ".join(
        f"{n} {split}" for split, n in limit.parts({name: metrics["n"][name] for name in SPLITS}).items()
    )
    if "positives" in metrics:
        counts = metrics["positives"]
        rows["with the diagnosis"] = ", ".join(
            f"{limit.of(counts[split], metrics['n'][split])} {split}" for split in SPLITS
        )
    return rows


def _scores(model: EcgModel, known: Calibration | None, limit: Limit) -> dict[str, Any]:
    """Metric with its 95 % interval, and what intervals or probabilities are worth."""
    metrics = model.run.metrics
    if run_scores.few_cases(model.run, "test", limit):
        return {metrics["metric"]: "withheld: few participants"}
    if metrics["metric"] in run_scores.SCORES and (model.run.folder / "predictions.parquet").is_file():
        score, low, high = run_scores.interval(model.run)
        rows = {metrics["metric"]: f"{score:.3f} (95 % interval {low:.3f} to {high:.3f})"}
    else:
        rows = {metrics["metric"]: f"{metrics['test']:.4g}"}
    if isinstance(known, TraitCalibration):
        covered = known.coverage[np.isfinite(known.coverage)]
        if len(covered):
            reach = f"{covered.min():.1%} to {covered.max():.1%} by trait"
            rows["coverage of 95 % prediction intervals"] = f"{covered.mean():.1%} ({reach})"
    if isinstance(known, DiseaseCalibration) and np.isfinite(known.observed):
        rows["probabilities"] = f"{known.method}; mean {known.predicted:.1%}, observed {known.observed:.1%}"
        rows["Brier score, calibration slope"] = f"{known.brier:.3f}, {known.test_slope:.2f}"
    return rows


def _traits(known: TraitCalibration) -> str:
    lines = [
        "## Traits",
        "",
        "| trait | unit | r | half width of the 95 % interval | coverage |",
        "|---|---|---|---|---|",
    ]
    for trait, r, radius, coverage in zip(TRAITS, known.r, known.radius, known.coverage, strict=True):
        cells = [value_text(value) if np.isfinite(value) else "withheld" for value in (r, radius, coverage)]
        lines.append(f"| {trait.name} | {trait.unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _files(model: EcgModel, has_onnx: bool) -> str:
    outputs = "`outputs` (B, K) and `features` (B, D)" if model.names else "`features` (B, D)"
    lines = [
        '- `model.safetensors`, `config.json`, `outputs.json`: `eccl_lib.load("FOLDER")(x)`, preprocessing included.',
        *([ONNX.format(outputs=outputs)] if has_onnx else []),
        "- `calibration-*.json`: intervals or probabilities for `eccl predict FILES --weights FOLDER`.",
    ]
    return "## Files\n\n" + "\n".join(lines)
