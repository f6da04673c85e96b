"""Every name of the library that a notebook uses exists, so that a renamed function is found before notebooks run."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from eccl_lib.io import paths

NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))


def unknown(source: str) -> list[str]:
    """Names that are imported from the library, or attributes of its modules, and do not exist."""
    tree, modules, missing = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "eccl_lib":
            parent = importlib.import_module(node.module)
            for alias in node.names:
                found = getattr(parent, alias.name, None) or _module(f"{node.module}.{alias.name}")
                if found is None:
                    missing.append(f"{node.module}.{alias.name}")
                elif isinstance(found, ModuleType):
                    modules[alias.asname or alias.name] = found
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    of_modules = [(node.value.id, node.attr) for node in used if node.value.id in modules]
    return [
        *missing,
        *(f"{name}.{attribute}" for name, attribute in of_modules if not hasattr(modules[name], attribute)),
    ]


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def code_of(path: Path) -> str:
    """All code cells of a notebook, without the lines of IPython's own commands."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return "\n".join(line for cell in cells for line in cell.splitlines() if not line.startswith(("%", "!")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_name_of_the_library_in_a_notebook_exists(path):
    assert unknown(code_of(path)) == []


def test_a_renamed_function_is_found():
    code = "from eccl_lib.data import ecg, nothing\nfrom eccl_lib.io.paths import ROOT, other\necg.no_such(ecg.scale)"
    assert unknown(code) == ["eccl_lib.data.nothing", "eccl_lib.io.paths.other", "ecg.no_such"]
