"""TODO."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from eccl_lib.config.method_schema import Arm, with_cmr
from eccl_lib.config.schema import Config
from eccl_lib.config.seeds import seed_of
from eccl_lib.models.cmae import CrossModalAutoencoder, EcgAutoencoder
from eccl_lib.models.cmr_encoders import cmr_encoder
from eccl_lib.models.ecg_vit import EcgEncoder
from eccl_lib.models.heads import Aligned, Supervised
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.tasks import Problem


def build_seeded(config: Config, make: Callable[[], nn.Module]) -> nn.Module:
    """The model on its device, first weights from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed))
        return make().to(device(config))


def ecg_samples(config: Config) -> int:
    """T of the ECGs that models see."""
    return 10 * config.view.ecg_rate


def new_autoencoder(config: Config) -> MaskedAutoencoder:
    """The masked autoencoder of the ECG."""
    return build_seeded(config, lambda: MaskedAutoencoder(config.ecg, config.mae, ecg_samples(config)))


def new_cmr_model(problem: Problem) -> Supervised:
    """The CMR encoder of ``config.cmr.architecture`` with a head."""

    def make() -> Supervised:
        encoder = cmr_encoder(problem.config)
        return Supervised(encoder, encoder.num_features, problem.targets.task.outputs).to(
            memory_format=torch.channels_last
        )

    return build_seeded(problem.config, make)


def new_ecg_model(problem: Problem, arm: Arm) -> Supervised | Aligned:
    """An arm's ECG encoder with its head; with both projections where the arm has a teacher."""
    config = problem.config

    def make() -> Supervised:
        if arm.encoder == "convolution":
            encoder, width = EcgAutoencoder(config.cmae, ecg_samples(config)).encoder, config.cmae.latent
        else:
            encoder, width = EcgEncoder(config.ecg, ecg_samples(config)), config.ecg.width
        model = Supervised(encoder, width, problem.targets.task.outputs)
        if arm.teacher is None:
            return model
        with torch.device("meta"):
            cmr_width = cmr_encoder(with_cmr(config, arm.teacher)).num_features
        return Aligned(model, cmr_width, config.align, unit=arm.objective == "clip")

    return build_seeded(config, make)


def new_pair(config: Config) -> CrossModalAutoencoder:
    """CMAE's pair of autoencoders."""
    return build_seeded(config, lambda: CrossModalAutoencoder(config.cmae, config.view)).to(
        memory_format=torch.channels_last
    )


def device(config: Config) -> torch.device:
    """The device a run uses: as configured, or a GPU where there is one."""
    if config.runtime.device != "auto":
        return torch.device(config.runtime.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
