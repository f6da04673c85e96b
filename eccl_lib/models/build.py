"""Models with initial weights that depend only on the seed, and the device of a run."""

import os
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from eccl_lib.config import registry
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.method_schema import Arm, with_cmr
from eccl_lib.config.schema import DISEASES, N_TRAITS, Config
from eccl_lib.config.seeds import seed_of
from eccl_lib.models.cmae import CrossModalAutoencoder, EcgAutoencoder
from eccl_lib.models.cmr_encoders import cmr_encoder
from eccl_lib.models.ecg_vit import EcgEncoder
from eccl_lib.models.heads import Aligned, Supervised
from eccl_lib.models.mae import MaskedAutoencoder


def build_seeded(config: Config, make: Callable[[], nn.Module]) -> nn.Module:
    """The model on the run's device, with initial weights from the seed; without weights inside ``heads.on_meta``.

    make: builds the model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed))
        model = make()
    return model if torch.get_default_device().type == "meta" else model.to(device(config))


def ecg_samples(config: Config) -> int:
    """T, the number of samples of an ECG at the model's rate."""
    return 10 * config.view.ecg_rate


def new_autoencoder(config: Config) -> MaskedAutoencoder:
    """The masked autoencoder of the ECG."""
    return build_seeded(config, lambda: MaskedAutoencoder(config.ecg, config.mae, ecg_samples(config)))


def new_cmr_model(config: Config, outputs: int) -> Supervised:
    """The CMR encoder of ``config.cmr.architecture`` with a task head. outputs: size of the head's output."""

    def make() -> Supervised:
        encoder = cmr_encoder(config)
        return Supervised(encoder, encoder.num_features, outputs).to(memory_format=torch.channels_last)

    return build_seeded(config, make)


def vit(config: Config) -> EcgEncoder:
    """The paper's ViT on the ECG (Sec. 3.1)."""
    encoder = EcgEncoder(config.ecg, ecg_samples(config))
    encoder.pooling = config.align.pooling
    return encoder


def convolution(config: Config) -> nn.Module:
    """The encoder of the ECG autoencoder of row CMAE."""
    encoder = EcgAutoencoder(config.cmae, ecg_samples(config)).encoder
    encoder.num_features = config.cmae.latent
    return encoder


# Architecture to a builder that takes the Config. Input: (B, 12, T), scaled by ``data.ecg.scale``; ``num_features`` is
# D of the output.
ECG_ENCODERS = registry.ECG_ENCODERS.define({"vit": vit, "convolution": convolution})


def new_ecg_model(config: Config, outputs: int, arm: Arm) -> Supervised | Aligned:
    """An arm's ECG encoder with a task head of ``outputs`` outputs, and both projections if the arm has a teacher."""

    def make() -> Supervised:
        encoder = ECG_ENCODERS[arm.encoder](config)
        model = Supervised(encoder, encoder.num_features, outputs)
        if arm.teacher is None:
            return model
        with torch.device("meta"):
            cmr_width = cmr_encoder(with_cmr(config, arm.teacher)).num_features
        align = config.align
        if arm.objective != "clip":  # the other losses have no options
            align = replace(align, contrastive="clip", auxiliary="none")
        auxiliary = N_TRAITS + len(DISEASES) if align.auxiliary != "none" else 0
        return Aligned(model, cmr_width, align, unit=arm.unit_norm, auxiliary=auxiliary)

    return build_seeded(config, make)


def new_pair(config: Config) -> CrossModalAutoencoder:
    """The cross-modal autoencoder of the row CMAE."""
    pair = build_seeded(config, lambda: CrossModalAutoencoder(config.cmae, config.view))
    return pair.to(memory_format=torch.channels_last)


def visible_gpus(config: Config) -> tuple[str, ...]:
    """The GPUs that a run on this machine may use, as values of CUDA_VISIBLE_DEVICES; none for a run on the CPU."""
    if device(config).type != "cuda":
        return ()
    named = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    return tuple(named or map(str, range(torch.cuda.device_count())))


def device(config: Config) -> torch.device:
    """The configured device of a run; ``auto`` is a GPU where there is one, else the CPU.

    Raises ConfigError where a GPU is asked for and torch finds none.
    """
    if config.runtime.device == "cuda" and not torch.cuda.is_available():
        build = "" if torch.version.cuda else f", because torch {torch.__version__} is a build for the CPU"
        raise ConfigError(f"runtime.device is cuda, and torch finds no GPU{build}. Choose auto or cpu")
    if config.runtime.device != "auto":
        return torch.device(config.runtime.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
