"""Learn cardiac-MRI information from ten-second ECGs: the method of the MICCAI 2024 paper ECCL.

The whole package uses the same letters for array shapes:

B batch, C channels (ECG leads or cine frames), T time samples, H W pixels,
L tokens, D feature width, N participants, S slices, F frames.

Importing ``eccl_lib`` alone does not import torch or pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eccl_lib.config.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from eccl_lib.pipeline.portable import EcgModel

__version__ = VERSION


def load(folder: Path | str) -> EcgModel:
    """The ECG model of a finished run as a module with its preprocessing, from the run's folder alone.

    ``load(folder)(x)`` gives the outputs and ``load(folder).embed(x)`` the features of x: a file, an ``EcgRecord``, a
    list of these, or (B, 12, 5000) in mV at 500 Hz. See ``eccl_lib.pipeline.portable.EcgModel``; raises MissingError,
    with the cure, for a folder that is no such run.
    """
    from eccl_lib.pipeline import portable

    return portable.load(folder)
