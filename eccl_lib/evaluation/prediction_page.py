"""Predictions of many ECGs as one self-contained HTML page: a summary, and one section per file."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES
from eccl_lib.data.traits import TRAITS, value_text
from eccl_lib.evaluation.calibrate import in_words
from eccl_lib.io import html_page
from eccl_lib.tasks import TASKS

INTERVAL = ("trait", "predicted", "95 % prediction interval", "unit")
COHORT = (
    "Intervals and probabilities hold for participants of the training cohort, with which the models were trained. They"
    " do not hold for other people."
)
TERMS = (
    "score: output of a model from 0 to 1, not a probability",
    "Brier score: mean squared difference between probability and outcome; lower is better",
    "slope: 1 is ideal; below 1, the probabilities are too extreme",
)


def page(table: pd.DataFrame, measured: Sequence[str], limited: Sequence[str], further: Mapping[str, str]) -> str:
    """The page. table: of ``prediction_table.frame``; measured: what the predictions are worth, below the summary.

    limited: what they are not, as warnings at the top. further: names of diseases beside the paper's four, by code.
    """
    diseases = {code: TASKS[code].disease for code in DISEASES} | dict(further)
    files = list(table.to_dict("records"))
    read = sum(row["status"] == "read" for row in files)
    top = ["<h1>ECG predictions</h1>", *(html_page.paragraph(sentence, "warning") for sentence in limited)]
    top += map(html_page.paragraph, [f"{read:,} of {len(files):,} files were read.", *([COHORT] if read else [])])
    names = ("file", "status", "heart rate", *(f"{name} ({code}), probability" for code, name in diseases.items()))
    overview = html_page.table(
        names, ((_link(k, row), row["status"], *_summary(row, diseases)) for k, row in enumerate(files))
    )
    sections = (_section(k, row, diseases) for k, row in enumerate(files))
    worth = html_page.section("Measured on test participants", html_page.bullets([*measured, *TERMS])) if read else ""
    return html_page.page("ECG predictions", [*top, f"<div class=scroll>{overview}</div>", worth, *sections])


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
        (trait.full_name, value_text(row[name]), _between(row[f"{name}_low"], row[f"{name}_high"]), trait.unit)
        for trait in TRAITS
        if np.isfinite(row[name := trait.short_name])
    ]
    scored = html_page.table(("disease", "score", "meaning"), scores) if scores else ""
    inner = f"<summary>{len(traits)} traits</summary>{html_page.table(INTERVAL, traits)}"
    values = f"<details>{inner}</details>" if traits else ""
    return f"{title}{html_page.paragraph(remarks)}<div class=scroll>{scored}{values}</div>"


def _between(low: float, high: float) -> str:
    return f"{value_text(low)} to {value_text(high)}" if np.isfinite(high) else ""


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if np.isfinite(value) else ""
