"""Let timm import where torchvision's compiled operators cannot be loaded.

A CPU build of torch cannot load the operators of a torchvision that was built against CUDA, as the registry's is. Then
importing torchvision and timm fails at ``torchvision::nms``. No model here uses it, so declaring its schema is enough.
"""

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

_declared: list[torch.library.Library] = []  # keeps the schemas: they end with their Library object


def declare_missing_operators() -> bool:
    """Declare ``nms`` and ``qnms`` if the extension does not load. Returns whether they are declared."""
    if _declared or _extension_loads():
        return bool(_declared)
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return True


def _extension_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")  # finds the package without running it
    folders = (spec and spec.submodule_search_locations) or []
    files = [Path(folder) / f"_C{suffix}" for folder in folders for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    extension = next((path for path in files if path.exists()), None)
    if extension is None:
        return False
    try:
        torch.ops.load_library(extension)
    except OSError:
        return False
    return True
