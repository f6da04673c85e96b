"""Predictions of many ECGs as one self-contained HTML page: a summary, and one section per file."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation.calibrate import in_words
from eccl_lib.evaluation.predict import RESEARCH
from eccl_lib.io import html_page
from eccl_lib.tasks import TASKS

INTERVAL = ("trait", "predicted", "95 % prediction interval", "unit")


def page(table: pd.DataFrame, sentences: Sequence[str], further: Mapping[str, str]) -> str:
    """The page. table: of ``prediction_table.frame``; sentences: what the predictions are worth, shown at the top.

    further: names of diseases beside the paper's four, by code.
    """
    diseases = {code: TASKS[code].disease for code in DISEASES} | dict(further)
    files = list(table.to_dict("records"))
    read = sum(row["status"] == "read" for row in files)
    top = ["<h1>ECG predictions</h1>", html_page.paragraph(RESEARCH, "warning")]
    top += map(html_page.paragraph, [f"{read:,} of {len(files):,} files were read.", *sentences])
    names = ("file", "status", "heart rate", *(f"{name}, probability" for name in diseases.values()))
    overview = html_page.table(
        names, ((_link(k, row), row["status"], *_summary(row, diseases)) for k, row in enumerate(files))
    )
    sections = (_section(k, row, diseases) for k, row in enumerate(files))
    return html_page.page("ECG predictions", [*top, f"<div class=scroll>{overview}</div>", *sections])


def _link(k: int, row: dict[str, Any]) -> html_page.Markup:
    return html_page.Markup(f"<a href='#f{k}'>{escape(row['file'])}</a>")


def _summary(row: dict[str, Any], diseases: Mapping[str, str]) -> list[str]:
    return [_number(row["heart_rate"], ".0f"), *(_number(row[f"{code}_probability"], ".1%") for code in diseases)]


def _section(k: int, row: dict[str, Any], diseases: Mapping[str, str]) -> str:
    title = f"<h2 id=f{k}>{escape(row['file'])}</h2>"
    if row["status"] != "read":
        return title + html_page.paragraph(f"Not read: {row['reason']}. {row['cure']}")
    remarks = f"Heart rate {row['heart_rate']:.0f} per minute; {row['remarks'] or 'no remarks on quality'}"
    scores = [
        (name, _number(row[f"{code}_score"], ".2f"), in_words(row[f"{code}_probability"]))
        for code, name in diseases.items()
        if np.isfinite(row[f"{code}_score"])
    ]
    traits = [
        (trait.full_name, _number(row[name]), _between(row[f"{name}_low"], row[f"{name}_high"]), trait.unit)
        for trait in TRAITS
        if np.isfinite(row[name := trait.short_name])
    ]
    scored = html_page.table(("disease", "score", "meaning"), scores) if scores else ""
    inner = f"<summary>{len(traits)} traits</summary>{html_page.table(INTERVAL, traits)}"
    values = f"<details>{inner}</details>" if traits else ""
    return f"{title}{html_page.paragraph(remarks)}<div class=scroll>{scored}{values}</div>"


def _between(low: float, high: float) -> str:
    return f"{_number(low)} to {_number(high)}" if np.isfinite(high) else ""


def _number(value: float, form: str = ".3g") -> str:
    return f"{value:{form}}" if np.isfinite(value) else ""
