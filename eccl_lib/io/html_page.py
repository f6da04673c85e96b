"""Self-contained HTML pages: escaped tables, lists and embedded images; light and dark, wide and narrow screens."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --quiet: #5c5c5c; --line: #c8c8c8; --band: #f4f4f4;
  --error: #a00000; --warning: #7a4d00; --good: #00603f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #161616; --quiet: #a8a8a8; --line: #4a4a4a;
  --band: #212121; --error: #ff9a9a; --warning: #ffc66d; --good: #7fd6b0; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
a { color: inherit; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid var(--quiet); }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:nth-child(even) td { background: var(--band); }
figure { margin: 1rem 0; }
figcaption { color: var(--quiet); max-width: 60rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 3px; }
nav { columns: 16rem; margin: 1rem 0; }
.scroll { overflow-x: auto; }
.error { color: var(--error); font-weight: 600; }
.warning { color: var(--warning); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
.quiet { color: var(--quiet); }
"""


class Markup(str):
    """Text of a cell that is HTML already."""


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """A whole page. parts: HTML of its body. style: further rules of CSS."""
    view = '<meta name=viewport content="width=device-width, initial-scale=1">'
    head = f"<!doctype html>\n<html lang=en>\n<head><meta charset=utf-8>{view}<title>{html.escape(title)}</title>"
    body = "\n".join(parts)
    return f"{head}<style>{STYLE}{style}</style></head>\n<body>\n{body}\n</body></html>\n"


def section(title: str, body: str) -> str:
    """A heading and its content, which scrolls where it is wider than the screen; the anchor is ``anchor(title)``."""
    return f"<h2 id={anchor(title)}>{html.escape(title)}</h2>\n<div class=scroll>{body}</div>"


def anchor(title: str) -> str:
    """The id of a section's heading: letters and digits of the title, joined by hyphens."""
    words = "".join(sign if sign.isalnum() else " " for sign in title.lower()).split()
    return "-".join(words)


def contents(titles: Iterable[str]) -> str:
    """Links to sections."""
    return "<nav>" + "<br>".join(f"<a href=#{anchor(title)}>{html.escape(title)}</a>" for title in titles) + "</nav>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text. kind: error, warning, good or quiet."""
    return f"<p{f' class={kind}' if kind else ''}>{html.escape(text)}</p>"


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table; numbers are aligned on the right, False is shown as an error."""
    top = "".join(f"<th>{html.escape(str(name))}</th>" for name in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def records(rows: Sequence[Mapping[str, Any]], empty: str = "") -> str:
    """A table of dictionaries with the same keys. empty: text without a row."""
    return table(rows[0], [row.values() for row in rows]) if rows else paragraph(empty)


def bullets(lines: Sequence[str], empty: str = "") -> str:
    """A list of plain texts. empty: text without a line."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>" if lines else paragraph(empty)


def image(content: bytes, name: str, caption: str = "") -> str:
    """An embedded PNG. name: text for readers who do not see it."""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    picture = f'<img alt="{html.escape(name, quote=True)}" src="{source}">'
    return f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>" if caption else picture


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    if isinstance(value, bool):
        return f"<td>{'yes' if value else '<span class=error>no</span>'}</td>"
    if isinstance(value, (int, float)):
        return f"<td class=n>{value:,}</td>" if isinstance(value, int) else f"<td class=n>{value:,.4g}</td>"
    return f"<td>{'' if value is None else html.escape(str(value))}</td>"
