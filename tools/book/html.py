"""Pages of MyST's site content (JSON) as HTML."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Node = dict[str, Any]
SIMPLE = {
    "paragraph": "p",
    "strong": "strong",
    "emphasis": "em",
    "delete": "del",
    "blockquote": "blockquote",
    "listItem": "li",
    "tableRow": "tr",
    "subscript": "sub",
    "superscript": "sup",
    "definitionList": "dl",
    "definitionTerm": "dt",
    "definitionDescription": "dd",
}
HIDDEN = {"comment", "mystComment", "mystTarget", "target"}


class BrokenLink(ValueError):
    """A link of a page leads nowhere; the message names the page and the link."""


class Renderer:
    """HTML of one page. name: for messages. address: gives the address of a page or file of the site."""

    def __init__(self, name: str, address: Callable[[str], str]) -> None:
        self.name, self.address = name, address

    def render(self, node: Node) -> str:
        """HTML of a node and its children. Raises BrokenLink, and ValueError on an unknown kind of node."""
        kind = node["type"]
        if kind in HIDDEN:
            return ""
        if method := getattr(self, f"_{kind.replace('-', '_')}", None):
            return method(node)
        if tag := SIMPLE.get(kind):
            return f"<{tag}>{self.inside(node)}</{tag}>"
        if kind in ("root", "block", "outputs", "glossary", "container", "span"):
            return self.inside(node)
        raise ValueError(f"{self.name}: the book has no HTML for MyST's node {kind!r}; add it to tools/book/html.py")

    def inside(self, node: Node) -> str:
        """HTML of the children."""
        return "".join(self.render(child) for child in node.get("children", ()))

    def _text(self, node: Node) -> str:
        return html.escape(node["value"])

    def _inlineCode(self, node: Node) -> str:
        return f"<code>{html.escape(node['value'])}</code>"

    def _code(self, node: Node) -> str:
        return f'<div class="code">{highlighted(node["value"], node.get("lang") or "text")}</div>'

    def _html(self, node: Node) -> str:
        return node["value"] if re.fullmatch(r"</?(br|sub|sup|b|i)\s*/?>", node["value"].strip()) else ""

    def _break(self, _: Node) -> str:
        return "<br>"

    def _thematicBreak(self, _: Node) -> str:
        return "<hr>"

    def _heading(self, node: Node) -> str:
        level, name = node["depth"], node.get("html_id") or node.get("identifier") or ""
        return f'<h{level} id="{html.escape(name)}">{self.inside(node)}</h{level}>'

    def _list(self, node: Node) -> str:
        tag = "ol" if node.get("ordered") else "ul"
        return f"<{tag}>{self.inside(node)}</{tag}>"

    def _table(self, node: Node) -> str:
        return f'<div class="wide"><table>{self.inside(node)}</table></div>'

    def _tableCell(self, node: Node) -> str:
        tag = "th" if node.get("header") else "td"
        return f"<{tag}>{self.inside(node)}</{tag}>"

    def _image(self, node: Node) -> str:
        return (
            f'<img src="{self._to(node["url"])}" alt="{html.escape(node.get("alt") or "", quote=True)}" loading="lazy">'
        )

    def _link(self, node: Node) -> str:
        return f'<a href="{self._to(node["url"])}">{self.inside(node)}</a>'

    def _crossReference(self, node: Node) -> str:
        if not node.get("resolved"):
            raise BrokenLink(f"{self.name}: the reference {node.get('urlSource') or node.get('label')!r} leads nowhere")
        heading = f"#{node['html_id']}" if node.get("html_id") else ""
        page = self._to(node["url"]) if node.get("url") else ""
        return f'<a href="{page}{heading}">{self.inside(node)}</a>'

    def _math(self, node: Node) -> str:
        number = f'<span class="number">({node["enumerator"]})</span>' if node.get("enumerator") else ""
        return f'<div class="math">{mathml(node)}{number}</div>'

    def _inlineMath(self, node: Node) -> str:
        return mathml(node)

    def _output(self, node: Node) -> str:
        data = node.get("jupyter_data") or {}
        if "text" in data:
            text = data["text"]["content"] if isinstance(data["text"], dict) else data["text"]
            return f'<pre class="output">{html.escape("".join(text))}</pre>'
        found = data.get("data", {})
        for kind in ("image/png", "image/gif"):
            if kind in found:
                return f'<img src="{self._to(found[kind]["path"])}" alt="figure of this cell" loading="lazy">'
        if table := found.get("text/html"):
            kept = re.sub(r"<style.*?</style>", "", self._content(table), flags=re.DOTALL)
            return f'<div class="wide">{kept}</div>'
        if source := found.get("text/markdown"):
            return _source(self._content(source))
        return (
            f'<pre class="output">{html.escape(self._content(found["text/plain"]))}</pre>'
            if "text/plain" in found
            else ""
        )

    def _content(self, part: Node) -> str:
        return part.get("content") or Path(self.address(f"file:{part['path']}")).read_text(encoding="utf-8")

    def _to(self, url: str) -> str:
        if re.match(r"[a-z][a-z0-9+.-]*:", url):
            return html.escape(url, quote=True)
        if not url.startswith("/"):
            raise BrokenLink(f"{self.name}: the link {url!r} leads to no page and no file")
        return html.escape(self.address(url), quote=True)


def mathml(node: Node) -> str:
    """The MathML part of MyST's KaTeX output, which browsers draw without a style sheet or fonts."""
    if not (found := re.search(r"<math.*?</math>", node.get("html", ""), flags=re.DOTALL)):
        raise ValueError(f"MyST cannot read the formula {node['value']!r}")
    return found[0]


def highlighted(source: str, language: str) -> str:
    """Source code with highlighted syntax."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name({"ipython3": "python"}.get(language, language))
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    return highlight(source, lexer, HtmlFormatter())


def _source(text: str) -> str:
    """A displayed source: its module, and the code."""
    name, _, code = text.partition("```python\n")
    code = highlighted(code.removesuffix("```"), "python")
    return f"<p>{html.escape(name.strip(' `' + chr(10)))}</p><div class='code'>{code}</div>"


STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
SCRIPT = "if (innerWidth <= 800) document.querySelector('nav details').open = false"


def page(title: str, body: str, contents: Sequence[tuple[str, Sequence[tuple[str, str]]]], current: str) -> str:
    """A whole page. contents: heading and (title, address) of each part of the table of contents."""
    from pygments.formatters import HtmlFormatter

    parts = []
    for heading, entries in contents:
        parts.append(f"<h2>{html.escape(heading)}</h2>" if heading else "")
        for name, address in entries:
            here = ' aria-current="page"' if address == current else ""
            parts.append(f'<a href="{address}"{here}>{html.escape(name)}</a>')
    style = STYLE + HtmlFormatter().get_style_defs(".code")
    nav = f"<nav><details open><summary>Contents</summary>{''.join(parts)}</details></nav><script>{SCRIPT}</script>"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    body = f"<body>{nav}<main>{body}</main></body>"
    return f'<!doctype html><html lang="en"><head>{head}<style>{style}</style></head>{body}</html>\n'


def read(path: Path) -> Node:
    """The JSON of one page."""
    return json.loads(path.read_text(encoding="utf-8"))
