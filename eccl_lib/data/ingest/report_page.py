"""The report as one self-contained HTML page: tables, histograms, and figures of twelve ECGs and crops."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eccl_lib.data.cohort import Cohort
from eccl_lib.io import html_page
from eccl_lib.io.files import write_atomically, write_text

STATISTICS = ("n", "mean", "sd", "p5", "p25", "p50", "p75", "p95")
STYLE = "td:nth-child(3) { white-space: nowrap; }"
RATE = 500  # samples per second of a stored ECG


def write(folder: Path, content: Mapping[str, Any], data: Cohort, rows: Sequence[int]) -> Path:
    """Write ``index.html`` with embedded figures, and the figures as PNG files. rows: recordings that are drawn."""
    figures = {"ecg": _ecgs(data, rows), "crops": _crops(data, rows), "traits": _traits(content["traits"])}
    images = {name: _png(folder / f"{name}.png", figure) for name, figure in figures.items() if figure is not None}
    write_text(folder / "index.html", page(content, images))
    return folder / "index.html"


def page(content: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """The HTML of the page. images: name to PNG."""
    note = f"{content['small counts'].capitalize()}. The figures show recordings of participants: "
    sections = {
        "Participants": _pairs(content["counts"]),
        "Excluded participants and files": html_page.records(content["quarantine"], "None."),
        "Skipped files": _pairs(content["files passed over"], "None."),
        "Notes on the tables": html_page.bullets(content["tables"], "None."),
        "Identities between traits": html_page.records(content["identities"]),
        "ECG quality": _pairs(content["quality"], "The store has no ECGs."),
        "Location of the heart": _pairs(content["segmentation"], "The store has no cines."),
        "Notes of the file readers": _pairs(content["notes of the readers"], "None."),
        "Sex, age and heart rate": _pairs(content["people"]["sex"]) + _numbers(content["people"]),
        "Prevalence": _prevalence(content["prevalence"]),
        "Splits": html_page.records(content["splits"], "No stratum is large enough to check."),
        "Leakage": _leaks(content["leakage"]),
        "Twelve preprocessed ECGs, lead II": _image(images.get("ecg"), "ECGs"),
        "Twelve crops: first frame, and the frame that differs most": _image(images.get("crops"), "crops"),
        "The 82 traits": _image(images.get("traits"), "histograms") + _trait_table(content["traits"]),
    }
    top = [
        "<h1>Report on the store</h1>",
        html_page.paragraph(note + "this page is as confidential as the data.", "quiet"),
    ]
    return html_page.page("Report on the store", [*top, *map(html_page.section, sections, sections.values())], STYLE)


def _pairs(counts: Mapping[str, Any], empty: str = "") -> str:
    return html_page.table(("", "n"), counts.items()) if counts else html_page.paragraph(empty)


def _numbers(demographics: Mapping[str, Any]) -> str:
    names = [name for name in ("age", "heart rate") if name in demographics]
    return html_page.table(("", *STATISTICS), [(name, *map(demographics[name].get, STATISTICS)) for name in names])


def _prevalence(rules: Mapping[str, Mapping[str, Any]]) -> str:
    header = [word for rule in rules for word in (rule, "%")]
    names = next(iter(rules.values()))
    rows = [(name, *(value for cases in rules.values() for value in cases[name].values())) for name in names]
    return html_page.table(("", *header), rows)


def _leaks(leaks: Sequence[Mapping[str, str]]) -> str:
    lines = [
        f"<li><span class={leak['level']}>{leak['level']}</span> {leak['kind']}: {html.escape(leak['what'])}</li>"
        for leak in leaks
    ]
    return f"<ul>{''.join(lines)}</ul>" if lines else "<p>No leakage of the eight kinds was found.</p>"


def _trait_table(traits: Sequence[Mapping[str, Any]]) -> str:
    columns = ("name", "unit", *STATISTICS)
    rows = [[str(trait["field"]), *(trait.get(column) for column in columns)] for trait in traits]
    return html_page.table(("field", *columns), rows)


def _image(content: bytes | None, name: str) -> str:
    if content is None:
        return html_page.paragraph("No data, or too few participants for a figure.")
    return html_page.image(content, name)


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
