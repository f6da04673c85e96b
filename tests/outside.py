"""The package ``my_extensions`` of docs/extending.md, installed in a temporary folder from the code on that page."""

import re
import sys
import tomllib
from pathlib import Path

from eccl_lib.config import registry

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
REGISTRIES = [each for each in vars(registry).values() if isinstance(each, registry.Registry)]


def blocks(language):
    """The code blocks of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def install_page(folder, monkeypatch):
    """Install the page's package."""
    for code in blocks("python"):
        path = folder / re.match(r"# (my_extensions/\w+\.py)\n", code)[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    points = tomllib.loads("\n".join(blocks("toml")))["project"]["entry-points"]
    install(folder, monkeypatch, "my-extensions", points)


def install(folder, monkeypatch, package, points):
    """Make a package of this folder known, in version 1.2, until the end of the test. points: group to entries."""
    record = folder / f"{package.replace('-', '_')}-1.2.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in each.items()) for group, each in points.items()]
    (record / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv(registry.WARNED, raising=False)
    for each in REGISTRIES:
        for name in ("_entries", "_packages", "_faults"):
            monkeypatch.setattr(each, name, dict(getattr(each, name)))
        monkeypatch.setattr(each, "_loaded", False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_extensions"]:
        monkeypatch.delitem(sys.modules, name)
