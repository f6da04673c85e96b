"""Public ECG models as encoders: modules with the published keys. No weights are shipped (docs/real_ecg.md)."""

from pathlib import Path

import torch

from eccl_lib.config.errors import ConfigError
from eccl_lib.models.public import adapter, ecg_jepa, ecgfounder, st_mem
from eccl_lib.models.public.adapter import Adapter, PublicEncoder

ADAPTERS: dict[str, Adapter] = {module.ADAPTER.name: module.ADAPTER for module in (ecgfounder, ecg_jepa, st_mem)}


def load_public(name: str, path: Path, device: torch.device) -> PublicEncoder:
    """A public model with the weights of a file. Raises ConfigError on an unknown name, and as ``adapter.load``."""
    if name not in ADAPTERS:
        raise ConfigError(f"no public model is named {name}; choose one of {', '.join(ADAPTERS)}")
    return adapter.load(ADAPTERS[name], path, device)
