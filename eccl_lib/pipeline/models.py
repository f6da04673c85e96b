"""Models of finished runs, frozen; and every model as it is before its first update."""

from __future__ import annotations

from torch import nn

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.method_schema import ECCL, Arm
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.models.build import new_autoencoder, new_cmr_model, new_ecg_model
from eccl_lib.models.heads import Aligned, Supervised
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.pipeline.dependencies import cmr_run, ecg_run, pair_run, result_run
from eccl_lib.tasks import Problem
from eccl_lib.training.runs import Run

# First weights.


def load_pretrained_encoder(model: Supervised, arm: Arm, config: Config, data: Cohort) -> None:
    """Copy the pre-trained encoder's weights where the arm has one (Sec. 2.2). Its run has to be finished."""
    if arm.pretraining == "mae":
        model.encoder.load_state_dict(ecg_run(config, data).weights("encoder"))
    if arm.pretraining == "cmae":
        model.encoder.load_state_dict(pair_run(config, data).weights("ecg.encoder"))


def load_initial_weights(model: nn.Module, run: Run | None, prefix: str = "") -> nn.Module:
    """The model with a finished run's weights as its first, those under ``prefix.`` alone; as it is where run is None.

    Raises ConfigError where the run's model has another shape.
    """
    if run is None:
        return model
    part = model.get_submodule(prefix) if prefix else model
    weights, own = run.weights(prefix), part.state_dict()
    wrong = sorted(own.keys() ^ weights.keys()) or [name for name in own if own[name].shape != weights[name].shape]
    if wrong:
        raise ConfigError(
            f"{run.name} cannot be started from: its {wrong[0]} is of another shape than this model's. Give both the "
            "same view, encoder and decoder."
        )
    part.load_state_dict(weights)
    return model


# Finished, frozen: no gradient, no dropout, no drop path.


def masked_autoencoder(config: Config, data: Cohort) -> MaskedAutoencoder:
    """The finished masked autoencoder."""
    return frozen(new_autoencoder(config), ecg_run(config, data))


def frozen_cmr(config: Config, data: Cohort) -> Supervised:
    """The finished CMR encoder and head (Sec. 2.2)."""
    return frozen(new_cmr_model(Problem.of(config, data)), cmr_run(config, data))


def ecg_model(config: Config, arm: Arm, data: Cohort) -> Supervised | Aligned:
    """The finished ECG model of an arm."""
    return frozen(new_ecg_model(Problem.of(config, data), arm), result_run(config, arm, data))


def unaligned(config: Config, data: Cohort) -> Aligned:
    """The model that ECCL's alignment starts from: pre-trained encoder, projections and head at first weights."""
    model = new_ecg_model(Problem.of(config, data), ECCL)
    load_pretrained_encoder(model, ECCL, config, data)
    return model.requires_grad_(False).eval()


def frozen(model: nn.Module, run: Run) -> nn.Module:
    """The model with a finished run's weights, in eval mode, without gradient."""
    model.load_state_dict(run.weights())
    return model.requires_grad_(False).eval()
