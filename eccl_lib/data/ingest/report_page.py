"""The report as one self-contained HTML page: tables, histograms, and figures of twelve ECGs and crops."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eccl_lib.data.cohort import Cohort
from eccl_lib.io.files import write_atomically, write_text

STATISTICS = ("n", "mean", "sd", "p5", "p25", "p50", "p75", "p95")
RATE = 500  # samples per second of a stored ECG
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: .5rem 0; }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #888; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
td:nth-child(3), td.n { white-space: nowrap; }
tr:nth-child(even) td { background: #f6f6f6; }
img { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
.error { color: #a00000; font-weight: 600; }
.warning { color: #8a5a00; font-weight: 600; }
.quiet { color: #666; }
"""


def write(folder: Path, content: Mapping[str, Any], data: Cohort, rows: Sequence[int]) -> Path:
    """Write ``index.html`` with embedded figures, and the figures as PNG files. rows: recordings that are drawn."""
    figures = {"ecg": _ecgs(data, rows), "crops": _crops(data, rows), "traits": _traits(content["traits"])}
    images = {name: _png(folder / f"{name}.png", figure) for name, figure in figures.items() if figure is not None}
    write_text(folder / "index.html", page(content, images))
    return folder / "index.html"


def page(content: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """The HTML of the page. images: name to PNG."""
    parts = [
        "<h1>Report on the store</h1>",
        f"<p class=quiet>{html.escape(content['small counts'].capitalize())}. The figures show recordings of"
        " participants: this page is as confidential as the data.</p>",
        _section("Participants", _pairs(content["counts"])),
        _section("Excluded participants and files", _table(content["quarantine"], "None.")),
        _section("Skipped files", _pairs(content["files passed over"], "None.")),
        _section("Notes on the tables", _list(content["tables"], "None.")),
        _section("Identities between traits", _table(content["identities"])),
        _section("ECG quality", _pairs(content["quality"], "The store has no ECGs.")),
        _section("Location of the heart", _pairs(content["segmentation"], "The store has no cines.")),
        _section("Notes of the file readers", _pairs(content["notes of the readers"], "None.")),
        _section("Sex, age and heart rate", _pairs(content["people"]["sex"]) + _numbers(content["people"])),
        _section("Prevalence", _prevalence(content["prevalence"])),
        _section("Splits", _table(content["splits"], "No stratum is large enough to check.")),
        _section("Leakage", _leaks(content["leakage"])),
        _section("Twelve preprocessed ECGs, lead II", _image(images.get("ecg"), "ECGs")),
        _section("Twelve crops: first frame, and the frame that differs most", _image(images.get("crops"), "crops")),
        _section("The 82 traits", _image(images.get("traits"), "histograms") + _trait_table(content["traits"])),
    ]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>UK Biobank store</title><style>{STYLE}</style>"
    return head + "<body>" + "\n".join(parts) + "</body></html>\n"


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n<div class=scroll>{body}</div>"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else '<span class=error>no</span>'}</td>"
    if isinstance(value, (int, float)):
        return f"<td class=n>{value:,}</td>" if isinstance(value, int) else f"<td class=n>{value:,.4g}</td>"
    return f"<td>{'' if value is None else html.escape(str(value))}</td>"


def _rows(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _table(rows: Sequence[Mapping[str, Any]], empty: str = "") -> str:
    return _rows(rows[0], [row.values() for row in rows]) if rows else f"<p>{html.escape(empty)}</p>"


def _pairs(counts: Mapping[str, Any], empty: str = "") -> str:
    return _rows(("", "n"), counts.items()) if counts else f"<p>{html.escape(empty)}</p>"


def _list(lines: Sequence[str], empty: str) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>" if lines else f"<p>{empty}</p>"


def _numbers(demographics: Mapping[str, Any]) -> str:
    names = [name for name in ("age", "heart rate") if name in demographics]
    return _rows(("", *STATISTICS), [(name, *map(demographics[name].get, STATISTICS)) for name in names])


def _prevalence(rules: Mapping[str, Mapping[str, Any]]) -> str:
    header = [word for rule in rules for word in (rule, "%")]
    names = next(iter(rules.values()))
    rows = [(name, *(value for cases in rules.values() for value in cases[name].values())) for name in names]
    return _rows(("", *header), rows)


def _leaks(leaks: Sequence[Mapping[str, str]]) -> str:
    lines = [
        f"<li><span class={leak['level']}>{leak['level']}</span> {leak['kind']}: {html.escape(leak['what'])}</li>"
        for leak in leaks
    ]
    return f"<ul>{''.join(lines)}</ul>" if lines else "<p>No leakage of the eight kinds was found.</p>"


def _trait_table(traits: Sequence[Mapping[str, Any]]) -> str:
    columns = ("name", "unit", *STATISTICS)
    rows = [[str(trait["field"]), *(trait.get(column) for column in columns)] for trait in traits]
    return _rows(("field", *columns), rows)


def _image(content: bytes | None, name: str) -> str:
    if content is None:
        return "<p>No data, or too few participants for a figure.</p>"
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'


def _png(path: Path, figure: Any) -> bytes:
    write_atomically(path, lambda beside: figure.savefig(beside, format="png", dpi=110, metadata={"Software": None}))
    return path.read_bytes()


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, np.ndarray]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    return figure, axes


def _ecgs(data: Cohort, rows: Sequence[int]) -> Any:
    if not len(rows) or data.ecg is None:
        return None
    figure, axes = _figure((len(rows) + 1) // 2, 2, 11, 0.95 * ((len(rows) + 1) // 2))
    for ax, row in zip(axes, rows, strict=False):
        lead = data.ecg[int(row)][1] / 1000
        ax.plot(np.arange(len(lead)) / RATE, lead, color="#1a1a1a", linewidth=0.6)
        ax.plot([-0.25, -0.25], [0, 1], color="#a00000", linewidth=2)  # 1 mV
        ax.set_xlim(-0.4, len(lead) / RATE)
        ax.set_ylim(-1.2, 1.8)
    axes[0].set_title("10 s each; the red bar is 1 mV", fontsize=9, loc="left")
    return figure


def _crops(data: Cohort, rows: Sequence[int]) -> Any:
    if not len(rows) or data.clips is None:
        return None
    figure, axes = _figure(4, 6, 11, 7.6)
    for k, row in enumerate(rows[:12]):
        clip = data.clips[int(row)]
        change = np.abs(clip.astype(np.int16) - clip[:, :, :1]).mean(axis=(0, 1))
        for ax, frame in ((axes[2 * k], 0), (axes[2 * k + 1], int(change.argmax()))):
            ax.imshow(clip[:, :, frame], cmap="gray", vmin=0, vmax=255)
            ax.set_title(f"frame {frame}", fontsize=8)
    return figure


def _traits(traits: Sequence[Mapping[str, Any]]) -> Any:
    drawn = [trait for trait in traits if "histogram" in trait]
    if not drawn:
        return None
    lines = -(-len(drawn) // 9)
    figure, axes = _figure(lines, 9, 13, 1.25 * lines)
    for ax, trait in zip(axes, drawn, strict=False):
        bars = trait["histogram"]
        edges = np.linspace(bars["from"], bars["to"], len(bars["bars"]) + 1)
        ax.axis("on")
        ax.stairs(bars["bars"], edges, fill=True, color="#0072B2")
        ax.set_title(trait["short"], fontsize=7)
        ax.set_yticks([])
        ax.tick_params(labelsize=6)
        ax.spines[["top", "right", "left"]].set_visible(False)
    return figure
