"""Relative links of Markdown pages and notebooks, and whether they lead to a file and a heading."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

LINK = re.compile(r"(?<!`)!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:")  # https:, mailto:
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def text_of(path: Path) -> str:
    """The Markdown of a page: the file itself, or the Markdown cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def relative_links(text: str) -> Iterator[str]:
    """Targets of the links and images of a Markdown text that do not lead to another site. Code is left out."""
    for match in LINK.finditer(CODE.sub("", text)):
        if not OUTSIDE.match(match[1]):
            yield match[1]


def anchors(text: str) -> set[str]:
    """Names to which ``#name`` can point: the headings in lower case with hyphens."""
    found: set[str] = set()
    for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines():
        if heading := re.match(r"#{1,6}\s+(.*?)\s*$", line):
            found.add(anchor(heading[1]))
    return found


def anchor(heading: str) -> str:
    """Name of a heading in a link."""
    plain = re.sub(r"[`*]", "", heading).lower()
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", plain).strip())


def broken(page: Path) -> list[str]:
    """Relative links of a page that lead to no file, or to no heading of it."""
    own, wrong = text_of(page), []
    for link in relative_links(own):
        name, _, heading = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists():
            wrong.append(f"{page.name}: {link} does not exist")
        elif heading and heading not in anchors(text_of(target)):
            wrong.append(f"{page.name}: {link} names no heading of {target.name}")
    return wrong
