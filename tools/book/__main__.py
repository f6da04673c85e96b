"""``python -m tools.book``: build the book into ``book/html`` in the folder of ECCL_RUNS.

The pages are copied to ``book/source``, MyST (mystmd) reads them and resolves their references, and ``html.py`` writes
the site. MyST's own themes are not used: it would download them at each build of a fresh checkout.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from eccl_lib.io import paths
from eccl_lib.io.progress import say
from tools.book import api, html, links

ROOT = paths.ROOT
TEMPLATE = "jtex: v1\nmyst: v1\ntitle: book\nversion: 1.0.0\nkind: site\nsource: https://example.org/none\n"
DOCS = ("data", "formats", "segmentation", "traits", "study", "statistics", "real_ecg", "predict", "scales", "cluster")
DOCS += ("performance", "reliability", "elsewhere", "extending", "architecture")
STYLE_ADVICE = "implicit heading reference"  # links to headings, as GitHub makes them, are wanted
MISSING = "make book needs mystmd and Node.js 18 or later: pip install mystmd, and nodejs from your system's packages"


@functools.cache
def contents() -> dict[str, list[str]]:
    """Table of contents: heading to pages, relative to the root of the source."""
    return {
        "": ["README.md", "docs/glossary.md", "figures/demo/README.md"],
        "Notebooks": [f"notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))],
        "Documentation": [f"docs/{name}.md" for name in DOCS],
        "Library": [f"api/{name}.md" for name in api.pages(ROOT / "eccl_lib")],
    }


def stage(source: Path) -> None:
    """Copy the pages, the files to which they link, and the API pages, with the settings of MyST."""
    shutil.rmtree(source, ignore_errors=True)
    made = {f"api/{name}.md": text for name, text in api.pages(ROOT / "eccl_lib").items()}
    for name in (name for group in contents().values() for name in group):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in made:
            target.write_text(made[name], encoding="utf-8")
        else:
            _copy_page(ROOT / name, target, source)
    groups = [
        {"title": title, "children": [{"file": name} for name in names]} for title, names in contents().items() if title
    ]
    toc = [*({"file": name} for name in contents()[""]), *groups]
    config = {"version": 1, "project": {"title": "ECCL", "toc": toc}, "site": {"template": "./template"}}
    (source / "myst.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    (source / "template").mkdir()
    (source / "template" / "template.yml").write_text(TEMPLATE, encoding="utf-8")


def _copy_page(page: Path, target: Path, source: Path) -> None:
    if faults := links.broken(page):
        raise html.BrokenLink("\n".join(faults))
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        target.write_text(_adapted(text, page, source), encoding="utf-8")
        return
    notebook = json.loads(text)
    for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"):
        cell["source"] = _adapted("".join(cell["source"]), page, source)
    target.write_text(json.dumps(notebook), encoding="utf-8")


def _adapted(text: str, page: Path, source: Path) -> str:
    """Text with links that a site can follow: modules to API pages, folders and tests as names, other files copied."""
    pages = {name for group in contents().values() for name in group}

    def adapt(match: re.Match[str]) -> str:
        whole, link = match[0], match[1]
        name = link.partition("#")[0]
        if links.OUTSIDE.match(link) or not name:
            return whole
        path = (page.parent / name).resolve()
        relative = path.relative_to(ROOT)
        if relative.as_posix() in pages:
            return whole
        if relative.parts[0] == "eccl_lib":
            module = ".".join(relative.parts[:2]) if len(relative.parts) > 2 else "eccl_lib"
            return whole.replace(link, os.path.relpath(ROOT / "api" / f"{module}.md", page.parent))
        if path.is_dir() or path.suffix == ".py":
            return whole[whole.index("[") + 1 : whole.rindex("]")]
        (source / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, source / relative)
        return whole

    return links.LINK.sub(adapt, text)


def read_by_myst(source: Path) -> Path:
    """Run MyST. Returns the folder of the site's content. Raises RuntimeError with MyST's messages on a fault."""
    found = Path(sys.executable).with_name("myst")
    program = str(found) if found.is_file() else shutil.which("myst")
    if program is None or shutil.which("node") is None:
        raise RuntimeError(MISSING)
    done = subprocess.run([program, "build", "--site", "--strict"], cwd=source, capture_output=True, text=True)
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    marked = (line.strip() for line in said.splitlines() if "\u26d4" in line or "\u26a0" in line)
    faults = [line for line in marked if STYLE_ADVICE not in line]
    if done.returncode or faults:
        raise RuntimeError("MyST found faults in the book:\n" + ("\n".join(faults) or said))
    return source / "_build" / "site"


def write(site: Path, target: Path) -> int:
    """Write the HTML of all pages. Returns their number. Raises BrokenLink."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(site / "public", target / "files")
    read = [html.read(path) for path in sorted((site / "content").glob("*.json"))]
    places = {data["location"].lstrip("/"): data for data in read}
    index = contents()[""][0]
    files = {data["slug"]: "index.html" if name == index else f"{data['slug']}.html" for name, data in places.items()}
    nav = [
        (title, [(places[name]["frontmatter"]["title"], files[places[name]["slug"]]) for name in names])
        for title, names in contents().items()
    ]

    def address(url: str) -> str:
        if url.startswith("file:"):
            return str(site / "public" / url.removeprefix("file:").lstrip("/"))
        name, mark, heading = url.lstrip("/").partition("#")
        if name in files or not name:
            return files.get(name, "index.html") + mark + heading
        if not (target / "files" / name).is_file():
            raise html.BrokenLink(f"the site has no page and no file {url!r}")
        return f"files/{name}"

    for name, data in places.items():
        title = data["frontmatter"]["title"]
        body = f"<h1>{title}</h1>" + html.Renderer(name, address).render(data["mdast"])
        (target / files[data["slug"]]).write_text(html.page(title, body, nav, files[data["slug"]]), encoding="utf-8")
    return len(places)


def main() -> int:
    """Build the book. Returns the exit status."""
    folder = paths.runs_root() / "book"
    try:
        stage(folder / "source")
        count = write(read_by_myst(folder / "source"), folder / "html")
    except (RuntimeError, html.BrokenLink) as error:
        say(str(error), error=True)
        return 1
    say(f"{count} pages: {folder / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
