"""A finished run as one module with its preprocessing, from its folder alone: ``eccl_lib.load``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from eccl_lib.config.errors import MissingError
from eccl_lib.config.load import of_run
from eccl_lib.config.method_schema import Arm
from eccl_lib.config.schema import LEADS, Config
from eccl_lib.data import ecg
from eccl_lib.data.formats import detect
from eccl_lib.data.records import EcgRecord
from eccl_lib.io import paths, regular
from eccl_lib.models.build import new_autoencoder, new_ecg_model
from eccl_lib.models.heads import Aligned, Supervised
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.weights import frozen
from eccl_lib.training.runs import Run

Source = EcgRecord | str | Path | np.ndarray | Tensor
STAGES = ("pretrain_ecg", "align", "finetune", "third_stage", "probe")  # whose models read ECGs


class EcgModel(nn.Module):
    """The ECG model of a finished run with its preprocessing, in eval mode and without gradient.

    ``model(x)`` and ``model.embed(x)`` take a file, an ``EcgRecord``, a sequence of these, or arrays (B, 12, 5000) in
    mV at 500 Hz with the leads in the order of ``LEADS``. names: of the outputs, such as I21 or the field ids of the
    traits; empty for an encoder without a head. binary: whether an output is a logit, not a value in its unit.
    network: the model without preprocessing; its input is the output of ``scale``.
    """

    def __init__(self, network: nn.Module, config: Config, run: Run) -> None:
        super().__init__()
        self.network, self.config, self.run = network, config, run
        content = run.outputs
        self.names, self.binary = tuple(content["names"]), tuple(content["binary"])
        for name in ("centre", "spread"):
            self.register_buffer(name, torch.tensor(content[name], dtype=torch.float32))
        self.requires_grad_(False).eval()

    @property
    def has_projection(self) -> bool:
        """Whether the model projects into the space that is shared with cardiac MRI."""
        return isinstance(self.network, Aligned)

    def forward(self, ecgs: Source | Sequence[Source]) -> Tensor:
        """Outputs of ECGs: logits of diseases, traits in their units. Returns (B, outputs) float32.

        Raises UnreadableError for an ECG that cannot be used, ValueError for a run without a head.
        """
        return self.outputs(self.scale(self.preprocess(ecgs)))

    def outputs(self, scaled: Tensor) -> Tensor:
        """Outputs of scaled ECGs. scaled: (B, 12, T), from ``scale``. Returns (B, outputs)."""
        if not self.names:
            raise ValueError(f"{self.run.stage} has no outputs, only features: use embed")
        return self.network(scaled) * self.spread + self.centre

    @torch.no_grad()
    def embed(self, ecgs: Source | Sequence[Source], *, projected: bool = False) -> Tensor:
        """Features of ECGs, the encoder's output. Returns (B, D) float32.

        projected: in the space shared with cardiac MRI, (B, shared width) with unit norm. Raises ValueError for a run
        without this projection, UnreadableError for an ECG that cannot be used.
        """
        return self.features(self.scale(self.preprocess(ecgs)), projected=projected)

    def features(self, scaled: Tensor, *, projected: bool = False) -> Tensor:
        """``embed`` of scaled ECGs. scaled: (B, 12, T), from ``scale``."""
        if projected and not self.has_projection:
            raise ValueError(f"{self.run.stage} has no projection into the space shared with cardiac MRI")
        found = self.network.encoder(scaled)
        return self.network.project_ecg(found) if projected else found

    def preprocess(self, ecgs: Source | Sequence[Source]) -> np.ndarray:
        """ECGs as the store keeps them, (B, 12, 5000) int16 uV at 500 Hz without baseline (Sec. 3.1).

        Leads without a signal are zero.
        """
        found = [ecg.preprocess(record) for record in records(ecgs)]
        for stored, _, flags in found:
            ecg.silence_unusable(stored, ecg.usable_leads(flags))
        return np.stack([stored for stored, _, _ in found])

    def scale(self, stored: np.ndarray) -> Tensor:
        """The network's input. stored: (B, 12, 5000) int16 uV. Returns (B, 12, T) float32 on the model's device."""
        view = self.config.view
        return ecg.scale(torch.from_numpy(ecg.to_view(stored, view.ecg_rate)).to(self.centre.device), view)


def records(ecgs: Source | Sequence[Source]) -> list[EcgRecord]:
    """ECGs in memory. ecgs: a file, an ``EcgRecord``, a sequence of these, or (B, 12, 5000) or (12, 5000) in mV.

    Raises UnreadableError for a file that is no ECG, ValueError for an array of another shape.
    """
    if isinstance(ecgs, EcgRecord):
        return [ecgs]
    if isinstance(ecgs, str | Path):
        with regular.named(ecgs):
            return [detect.read_ecg(ecgs)]
    if not isinstance(ecgs, np.ndarray | Tensor):
        return [record for each in ecgs for record in records(each)]
    array = np.asarray(ecgs.detach().cpu() if isinstance(ecgs, Tensor) else ecgs, dtype=np.float64)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[1:] != (len(LEADS), ecg.SAMPLES):
        raise ValueError(f"the ECGs have shape {array.shape}, not (B, {len(LEADS)}, {ecg.SAMPLES}) in mV at 500 Hz")
    return [EcgRecord(signal, ecg.RATE) for signal in array]


def load(folder: Path | str) -> EcgModel:
    """The ECG model of a finished run, from its folder alone: no cohort, store or parent run is read.

    Raises MissingError where the folder is no finished run, is no run of an ECG model, or was made by a version that
    did not yet write outputs.json; DamagedError where a file differs from its checksum.
    """
    return of(Run.at(paths.expanded(folder)))


def of(run: Run) -> EcgModel:
    """``load`` for a run."""
    stage = run.outputs["stage"]
    if stage not in STAGES:
        raise MissingError(f"{run.folder} is a run of {stage}, which has no ECG model; give one of {', '.join(STAGES)}")
    config = of_run(run.config)
    return EcgModel(frozen(_network(run, config), run), config, run).cpu()


def with_initial_weights(model: EcgModel) -> EcgModel:
    """The same model before any training, on the same device: a reference for what training changed."""
    network = _network(model.run, model.config)
    return EcgModel(network, model.config, model.run).to(model.centre.device)


def _network(run: Run, config: Config) -> nn.Module:
    """The module of a run with initial weights."""
    if run.stage == "pretrain_ecg":
        return new_autoencoder(config)
    arm = Arm("probe") if run.stage == "probe" else METHODS[run.variant].arm
    model: Supervised = new_ecg_model(config, len(run.outputs["names"]), arm)
    return model
