"""Models of finished runs, frozen: in eval mode and without gradient."""

from eccl_lib.config.method_schema import ECCL, Arm
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.models.build import new_autoencoder, new_ecg_model
from eccl_lib.models.heads import Aligned, Supervised
from eccl_lib.models.mae import MaskedAutoencoder
from eccl_lib.pipeline.features import frozen_cmr_model
from eccl_lib.pipeline.stages import expected, load_pretrained_encoder, spec
from eccl_lib.pipeline.weights import frozen
from eccl_lib.tasks import targets_of


def masked_autoencoder(config: Config, data: Cohort) -> MaskedAutoencoder:
    """The masked autoencoder of the ECG."""
    return frozen(new_autoencoder(config), expected(config, "pretrain_ecg", data))


def frozen_cmr(config: Config, data: Cohort) -> Supervised:
    """The CMR encoder and head (Sec. 2.2)."""
    return frozen_cmr_model(config, data, expected(config, "pretrain_cmr", data))


def ecg_model(config: Config, arm: Arm, data: Cohort) -> Supervised | Aligned:
    """The ECG model of a row."""
    model = new_ecg_model(config, targets_of(config, data).task.outputs, arm)
    return frozen(model, expected(config, arm.key, data))


def unaligned(config: Config, data: Cohort) -> Aligned:
    """The model before ECCL's alignment: pre-trained ECG encoder, head and projections at initial weights."""
    model = new_ecg_model(config, targets_of(config, data).task.outputs, ECCL)
    load_pretrained_encoder(model, spec(config, "eccl"), data)
    return model.requires_grad_(False).eval()
