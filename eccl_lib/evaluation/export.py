"""A run as files for others: safetensors with config, ONNX, and a model card. Nothing of single participants."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError, MissingError, install
from eccl_lib.config.schema import LEADS
from eccl_lib.data import ecg
from eccl_lib.data.small_counts import limit_of
from eccl_lib.evaluation import calibrate, model_card
from eccl_lib.evaluation.calibrate import Calibration, TraitCalibration
from eccl_lib.evaluation.predictor import cohort_at_hand
from eccl_lib.io.files import (
    remove_left_folders,
    sha256,
    temporary_folder,
    write_atomically,
    write_json,
    write_sealed,
    write_text,
)
from eccl_lib.io.progress import Log
from eccl_lib.pipeline.portable import EcgModel
from eccl_lib.tasks import tasks_of
from eccl_lib.training.runs import MANIFEST, OUTPUTS, save_tensors

INSTALL = install("export")
BESIDE = "export"  # name of the temporary folder in --out
TOLERANCE = 1e-4  # largest difference between onnxruntime and torch, relative to the largest output
FILES = ("config.json", OUTPUTS, "model.safetensors")
KEPT = ("torch", "eccl_lib", "python")  # of a manifest's ``made_with``; the rest describes the machine


class OnnxGraph(nn.Module):
    """What the ONNX file computes: (B, 12, 5000) mV at 500 Hz without baseline to outputs in their units and features.

    The steps of ``EcgModel`` after the removal of the baseline: rounding to microvolts, resampling, scaling, network.
    """

    def __init__(self, model: EcgModel) -> None:
        super().__init__()
        self.model, self.rate = model, model.config.view.ecg_rate
        self.step = ecg.RATE // self.rate
        if self.step * self.rate != ecg.RATE:
            raise ConfigError(f"view.ecg_rate is {self.rate}; ONNX needs a divisor of {ecg.RATE}")
        self.register_buffer("taps", torch.from_numpy(_taps(self.step)).float())

    def forward(self, mv: Tensor) -> tuple[Tensor, ...]:
        """mv: (B, 12, 5000). Returns outputs (B, K), if the model has a head, and features (B, D)."""
        view = self.model.config.view
        scaled = ecg.scale(_whole(self.resampled(_whole(1000 * mv))), view)
        features = self.model.network.encoder(scaled)
        if not self.model.names:
            return (features,)
        return self.model.network.head(features) * self.model.spread + self.model.centre, features

    def resampled(self, uv: Tensor) -> Tensor:
        """``ecg.resample`` as a convolution. uv: (B, 12, 5000). Returns (B, 12, T)."""
        if self.step == 1:
            return uv
        # resample_poly filters the deviation from the line between the first and the last sample.
        first, slope = uv[..., :1], (uv[..., -1:] - uv[..., :1]) / (ecg.SAMPLES - 1)
        line = first + slope * torch.arange(ecg.SAMPLES, dtype=uv.dtype, device=uv.device)
        flat = (uv - line).reshape(-1, 1, ecg.SAMPLES)
        filtered = nn.functional.conv1d(flat, self.taps[None, None], stride=self.step, padding=len(self.taps) // 2)
        return filtered.reshape(-1, len(LEADS), ecg.SAMPLES // self.step) + line[..., :: self.step]


def _whole(uv: Tensor) -> Tensor:
    """Rounded and limited as int16."""
    return torch.round(uv).clamp(-32768, 32767)


def _taps(step: int) -> np.ndarray:
    """The symmetric filter by which ``ecg.resample`` reduces the rate, from its response to an impulse."""
    if step == 1:
        return np.ones(1)
    from scipy.signal import firwin  # as resample_poly designs it: a Kaiser window over ten periods

    return firwin(20 * step + 1, 1.0 / step, window=("kaiser", 5.0))


def write(model: EcgModel, folder: Path, log: Log) -> list[Path]:
    """Write all files of a model into a new folder and return them; the model is moved to the CPU.

    Raises ConfigError where the folder has files, MissingError where small counts need a calibration that is missing.
    """
    remove_left_folders(folder, BESIDE)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder}: it exists and is not an empty folder; nothing is overwritten")
    known = _calibration(model, log)
    with temporary_folder(folder, BESIDE) as beside:  # an error leaves no part of an export
        _write(model.cpu(), known, beside, log)
        return [path.replace(folder / path.name) for path in sorted(beside.iterdir()) if path.name[0] != "."]


def _write(model: EcgModel, known: Calibration | None, folder: Path, log: Log) -> None:
    run, limit = model.run, limit_of(model.config)
    manifest = run.manifest()
    write_json(folder / "config.json", run.config)
    write_sealed(folder / OUTPUTS, shown_outputs(run.outputs, known))
    save_tensors(folder / "model.safetensors", run.weights())
    if known is not None:
        calibrate.write(folder, calibrate.file_name([model], LEADS), known)
    if missing := _onnx(model, folder / "model.onnx"):
        log(f"model.onnx is left out: {missing}")
    write_text(folder / "README.md", model_card.text(model, known, limit, has_onnx=not missing))
    made_with = {name: manifest["made_with"][name] for name in KEPT if name in manifest["made_with"]}
    digests = {name: sha256(folder / name) for name in ("config.json", "model.safetensors")}
    content = {"status": "done", "fingerprint": run.fingerprint, "files": digests, "made_with": made_with}
    write_sealed(folder / MANIFEST, content)


def _calibration(model: EcgModel, log: Log) -> Calibration | None:
    """The calibration of one run without small counts; None if its stage has none or the cohort is not here."""
    if model.run.task not in tasks_of(model.config) or not model.names:
        return None
    known = calibrate.of([model], LEADS, cohort_at_hand(model.config))
    limit = limit_of(model.config)
    if known is None and limit.least:
        raise MissingError(
            "the export withholds numbers of few participants, and their counts are not known here. Run eccl export "
            "where the cohort is; the new folder can be taken elsewhere."
        )
    if known is None:
        log("the cohort is not here and the run has no calibration: no interval and no probability is exported")
    return None if known is None else known.shown(limit)


def shown_outputs(content: dict[str, Any], known: Calibration | None) -> dict[str, Any]:
    """outputs.json without mean and SD of traits that few participants have; these traits become NaN."""
    if not isinstance(known, TraitCalibration):
        return content
    hidden = np.isnan(known.mean) & (known.n_train > 0)
    scale = {name: np.where(hidden, np.nan, content[name]).tolist() for name in ("centre", "spread")}
    return content | scale


def _onnx(model: EcgModel, path: Path) -> str:
    """Write the ONNX file and compare it with torch. Returns why it is left out, else ""."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed ({INSTALL})"
    try:
        graph = OnnxGraph(model).eval()
    except ConfigError as error:
        return str(error)
    names = ["outputs", "features"] if model.names else ["features"]
    example = torch.from_numpy(_example(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        options = {"input_names": ["ecg_mv"], "output_names": names, "dynamo": True, "verbose": False}
        program = torch.onnx.export(graph, (example,), dynamic_shapes={"mv": {0: torch.export.Dim("batch")}}, **options)
    write_atomically(path, lambda beside: program.save(str(beside), external_data=False))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        mv = _example(batch)
        found, expected = session.run(None, {"ecg_mv": mv}), graph(torch.from_numpy(mv))
        for ours, theirs in zip(found, expected, strict=True):
            reach = max(1.0, float(theirs.abs().nan_to_num().max()))
            if not np.allclose(ours, theirs.numpy(), rtol=0, atol=TOLERANCE * reach, equal_nan=True):
                path.unlink()
                return "onnxruntime gives other values than torch; report this to the developers"
    return ""


def _example(batch: int) -> np.ndarray:
    """(batch, 12, 5000) float32 mV of noise."""
    return np.random.default_rng(0).normal(0, 0.3, (batch, len(LEADS), ecg.SAMPLES)).astype(np.float32)
