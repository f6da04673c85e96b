"""Features of every participant's clip from a frozen CMR encoder, kept beside the encoder."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from eccl_lib.config.schema import Config
from eccl_lib.config.seeds import seed_of
from eccl_lib.data.cohort import Cohort
from eccl_lib.models.build import build_seeded, new_cmr_model
from eccl_lib.models.cmr_encoders import cmr_encoder
from eccl_lib.models.heads import Supervised
from eccl_lib.pipeline.weights import frozen
from eccl_lib.tasks import targets_of
from eccl_lib.training.batch import Batch
from eccl_lib.training.cost import seconds_of
from eccl_lib.training.datasets import CineDataset, predict_in_batches
from eccl_lib.training.runs import Run


def file_name(config: Config) -> str:
    """Name of the array of ``extract``, without its suffix."""
    return f"features_{config.align.views}_views" if config.align.views else "features"


def frozen_cmr_model(config: Config, data: Cohort, run: Run) -> Supervised:
    """The CMR encoder and head of a finished run (Sec. 2.2)."""
    return frozen(new_cmr_model(config, targets_of(config, data).task.outputs), run)


def extract(config: Config, data: Cohort, run: Run) -> np.ndarray:
    """Features of every clip, computed once. run: of the CMR encoder. Returns (N, D) float32.

    With ``config.align.views`` = K above 0, features of K augmented versions of every clip: (N, K, D).
    """
    return run.cached_array(file_name(config), partial(_views if config.align.views else _plain, config, data, run))


def plain(config: Config, data: Cohort, run: Run) -> np.ndarray:
    """Features of the clips without augmentation, whatever ``config.align.views`` is. Returns (N, D) float32."""
    return run.cached_array("features", partial(_plain, config, data, run))


def head_outputs(config: Config, data: Cohort, run: Run) -> np.ndarray:
    """Output of the run's head for every clip: a logit, or z-scored traits. Returns (N, outputs) float32."""
    head = frozen_cmr_model(config, data, run).head.cpu()
    return head(torch.from_numpy(plain(config, data, run))).numpy()


def _plain(config: Config, data: Cohort, run: Run) -> np.ndarray:
    model, cines = frozen_cmr_model(config, data, run), CineDataset(data, config)
    return predict_in_batches(lambda rows: model.encoder(cines.of(rows)), np.arange(len(data)), source=cines)


def _views(config: Config, data: Cohort, run: Run) -> np.ndarray:
    model, cines = frozen_cmr_model(config, data, run), CineDataset(data, config)

    def encode(view: int, rows: np.ndarray) -> Tensor:
        generator = torch.Generator(cines.device).manual_seed(seed_of(config.seed, view, int(rows[0])))
        return model.encoder(cines.augmented(Batch.of(rows, generator)))

    views, rows = range(config.align.views), np.arange(len(data))
    return np.stack([predict_in_batches(partial(encode, view), rows, source=cines) for view in views], axis=1)


def estimate(config: Config, data: Cohort) -> float:
    """Seconds that ``extract`` will take, from a trial with random weights on 64 clips."""
    rows, cines = np.arange(min(64, len(data))), CineDataset(data, config)
    model = build_seeded(config, lambda: cmr_encoder(config)).eval()
    with torch.no_grad():
        model(cines.of(rows))  # for warm-up
        return seconds_of(lambda: model(cines.of(rows)), cines.device) * len(data) / len(rows)
