"""Let timm import where torchvision's compiled operators cannot be loaded.

A CPU build of torch beside the registry's torchvision (built against CUDA) leaves ``torchvision::nms`` undeclared, and
importing torchvision, hence timm, fails. No model here uses that operator, so its schema is enough.
"""

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

_declared: list[torch.library.Library] = []  # kept alive: a collected Library takes its schemas with it


def declare_missing_operators() -> bool:
    """Declare ``nms`` and ``qnms`` where the extension does not load. True where that was needed."""
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
