"""Every relative link of README, docs, notebooks and the figures' page leads to a file and a heading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eccl_lib.io import paths
from tools.book import __main__ as book
from tools.book import api, html, links

PAGES = [
    paths.ROOT / "README.md",
    paths.DEMO_FIGURES / "README.md",
    *sorted((paths.ROOT / "docs").glob("*.md")),
    *sorted((paths.ROOT / "notebooks").glob("*.ipynb")),
]
NEXT = [path.stem for path in PAGES if path.suffix == ".ipynb"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name if page.parent.name != "demo" else "demo")
def test_no_relative_link_is_broken(page: Path):
    assert links.broken(page) == []


def test_every_notebook_ends_with_the_next_one():
    for name, following in zip(NEXT, [*NEXT[1:], NEXT[0]], strict=True):
        cells = json.loads((paths.ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        last = "".join([cell["source"] for cell in cells if cell["cell_type"] == "markdown"][-1])
        assert f"]({following}.ipynb)" in last, name


def test_broken_links_of_files_and_headings_are_found(tmp_path: Path):
    (tmp_path / "other.md").write_text("# Some `Title`, here\n\n```\n# no heading\n```\n", encoding="utf-8")
    page = tmp_path / "page.md"
    good = "[a](other.md) [b](other.md#some-title-here) [c](https://example.org/x) ![d](other.md) `[e](no.md)`"
    page.write_text(f"# Own\n\n{good} [f](#own)\n", encoding="utf-8")
    assert links.broken(page) == []
    page.write_text("[a](gone.md) [b](other.md#no-heading) ![c](gone.png) [d](#own)\n", encoding="utf-8")
    assert [fault.split(": ")[1].split()[0] for fault in links.broken(page)] == [
        "gone.md",
        "other.md#no-heading",
        "gone.png",
        "#own",
    ]


def test_notebooks_are_read_by_their_markdown_cells(tmp_path: Path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "[a](gone.md)"]},
        {"cell_type": "code", "source": ["x = '[b](also_gone.md)'"]},
    ]
    page = tmp_path / "page.ipynb"
    page.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert links.broken(page) == ["page.ipynb: gone.md does not exist"]


def test_the_contents_have_every_page_once_and_only_pages_that_exist():
    names = [name for group in book.contents().values() for name in group]
    written = {path.relative_to(paths.ROOT).as_posix() for path in PAGES}
    assert len(names) == len(set(names))
    assert written == {name for name in names if not name.startswith("api/")}


def test_api_pages_have_the_signature_and_docstring_of_public_definitions_only():
    pages = api.pages(paths.ROOT / "eccl_lib")
    assert "### clip\\_loss" in pages["eccl_lib"] or "### clip_loss" in pages["eccl_lib"]
    assert "def clip_loss(z_ecg: Tensor, z_cmr: Tensor" in pages["eccl_lib"]
    assert "### _" not in "".join(pages.values())


def test_an_unresolved_reference_stops_the_book():
    renderer = html.Renderer("page", lambda url: url)
    link = {"type": "link", "url": "gone.md", "children": [{"type": "text", "value": "x"}]}
    with pytest.raises(html.BrokenLink, match=r"page: the link 'gone.md'"):
        renderer.render(link)
    with pytest.raises(html.BrokenLink, match="leads nowhere"):
        renderer.render({"type": "crossReference", "label": "gone", "children": []})
    assert renderer.render({**link, "url": "/here"}) == '<a href="/here">x</a>'


def test_without_node_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(book.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install mystmd"):
        book.read_by_myst(tmp_path)
