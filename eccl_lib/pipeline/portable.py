"""A finished run as one module with its preprocessing, from its folder alone: ``eccl_lib.load``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from eccl_lib.config.errors import ConfigError, DamagedError, MissingError
from eccl_lib.config.load import of_run
from eccl_lib.config.method_schema import Arm
from eccl_lib.config.schema import LEADS, Config
from eccl_lib.data import ecg
from eccl_lib.data.formats import detect
from eccl_lib.data.records import EcgRecord
from eccl_lib.io import paths, regular
from eccl_lib.models.build import new_autoencoder, new_ecg_model
from eccl_lib.models.heads import Aligned, Supervised, on_meta
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.pipeline.weights import frozen
from eccl_lib.training.runs import Run

Source = EcgRecord | str | Path | np.ndarray | Tensor
# Largest sizes of an ECG model that is loaded: far above any in use, and built in a second without weights.
LARGEST = {"width": 20_000, "depth": 1_000, "decoder_width": 20_000, "decoder_depth": 1_000}
LARGEST |= {"ecg_width": 20_000, "ecg_blocks": 20}
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
    did not yet write outputs.json; DamagedError where a file differs from its checksum or gives no usable model.
    """
    return of(run_at(paths.expanded(folder)))


def run_at(folder: Path) -> Run:
    """``Run.at`` for a folder that may come from elsewhere. Raises MissingError and DamagedError."""
    with _usable(folder):
        run = Run.at(folder)
        if not isinstance(run.outputs["stage"], str) or not isinstance(run.config, dict):
            raise TypeError("outputs.json or config.json")
    return run


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Raise DamagedError for any fault of a folder that may come from elsewhere, and may fit no model at all."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error
    except (DamagedError, MissingError, OSError):
        raise
    except Exception as error:  # safetensors, torch and odd JSON raise a dozen different types
        fault = f"gives no usable model ({type(error).__name__})"
        raise DamagedError(folder, fault, "Copy or export the run again.") from error


def of(run: Run) -> EcgModel:
    """``load`` for a run."""
    with _usable(run.folder):
        stage = run.outputs["stage"]
        if stage not in STAGES:
            known = ", ".join(STAGES)
            raise MissingError(f"{run.folder} is a run of {stage}, which has no ECG model; give one of {known}")
        config = of_run(run.config)
        _check_size(run, config)
        model = EcgModel(frozen(_network(run, config), run), config, run).cpu()
        if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
            raise DamagedError(run.folder, "has weights that are not finite", "Train or copy the run again.")
    return model


def _check_size(run: Run, config: Config) -> None:
    """Raise DamagedError where the config states another model than the file of weights has, before it is allocated."""
    cure = "Copy or export the run again."
    stated = {name: value for part in (config.ecg, config.mae, config.cmae) for name, value in vars(part).items()}
    for name, most in LARGEST.items():
        if stated[name] > most:
            raise DamagedError(run.folder / "config.json", f"states {name} {stated[name]:,}, over {most:,}", cure)
    wanted = {name: list(tensor.shape) for name, tensor in on_meta(_network, run, config).state_dict().items()}
    with safe_open(run.path("model.safetensors"), framework="pt") as file:
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118, this is no dict
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        fault = f"has other weights than its config states, such as {wrong[0][:60]!r}"
        raise DamagedError(run.folder, fault, cure)


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
