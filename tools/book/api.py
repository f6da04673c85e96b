"""API pages of the book from the docstrings of the library: one page a package, without importing a module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path


def pages(package: Path) -> dict[str, str]:
    """Markdown of every page by its name: one for the modules at the top, one for each package inside."""
    top = sorted(path for path in package.glob("*.py") if path.stem not in ("__init__", "__main__"))
    inner = sorted(folder.parent for folder in package.glob("*/__init__.py"))
    made = {package.name: _page(package.name, _docstring(package / "__init__.py"), top, package)}
    for folder in inner:
        modules = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
        name = f"{package.name}.{folder.name}"
        made[name] = _page(name, _docstring(folder / "__init__.py"), modules, package)
    return made


def _page(name: str, text: str, modules: list[Path], package: Path) -> str:
    parts = [f"# {name}", plain(text)]
    for path in modules:
        parts += _module(path, package)
    return "\n\n".join(part for part in parts if part) + "\n"


def _module(path: Path, package: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
    yield f"## {name}"
    yield plain(ast.get_docstring(tree) or "")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield from _entry(node, node.name)


def _entry(node: ast.FunctionDef | ast.ClassDef, name: str) -> Iterator[str]:
    """A function or class: its name, its signature and its docstring; then the public methods of a class."""
    text = ast.get_docstring(node)
    if not text:
        return
    yield f"### {name}"
    yield f"```python\n{signature(node)}\n```"
    yield plain(text)
    if isinstance(node, ast.ClassDef):
        methods = (part for part in node.body if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"))
        for method in methods:
            yield from _entry(method, f"{name}.{method.name}")


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """The first line of a definition, without its body and decorators."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, node.bases))
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"def {node.name}({ast.unparse(node.args)}){returns}"
    return line if len(line) <= 100 else line.replace("(", "(\n    ", 1).replace(", ", ",\n    ")


def plain(text: str) -> str:
    """A docstring as Markdown: characters that Markdown would read as markup are escaped, tables are kept."""
    escaped = re.sub(r"(?<!`)([*_<>$\[\]{}@~])(?!`)", r"\\\1", re.sub(r"``([^`]+)``", _code, text))
    return re.sub("\x00(.*?)\x01", lambda match: f"`{_decoded(match[1])}`", escaped)


def _code(match: re.Match[str]) -> str:
    return "\x00" + match[1].encode().hex() + "\x01"


def _decoded(text: str) -> str:
    return bytes.fromhex(text).decode()


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
