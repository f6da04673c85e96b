"""Predictions of many ECGs as one self-contained HTML page: a summary, and one section per file."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from eccl_lib.config.schema import DISEASES
from eccl_lib.data.traits import TRAITS
from eccl_lib.evaluation.calibrate import in_words
from eccl_lib.evaluation.predict import RESEARCH
from eccl_lib.tasks import DISEASE_NAMES

STYLE = """:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:1rem auto;padding:0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.15rem .6rem;text-align:left;vertical-align:top}tr{border-bottom:1px solid #8884}div{overflow-x:auto}
section{margin-top:2rem;border-top:2px solid #8888}.fixed{font-weight:bold}"""
INTERVAL = ("trait", "predicted", "95 % prediction interval", "unit")


def page(table: pd.DataFrame, sentences: Sequence[str]) -> str:
    """The page. table: of ``prediction_table.frame``; sentences: what the predictions are worth, shown at the top."""
    files = list(table.to_dict("records"))
    read = sum(row["status"] == "read" for row in files)
    head = "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
    head += "<meta name='viewport' content='width=device-width'>"
    top = [f"{head}<title>ECG predictions</title><style>{STYLE}</style></head><body><h1>ECG predictions</h1>"]
    top += [f"<p class='fixed'>{RESEARCH}</p>", f"<p>{read:,} of {len(files):,} files were read.</p>"]
    top += [f"<p>{escape(sentence)}</p>" for sentence in sentences]
    names = ("file", "status", "heart rate", *(f"{DISEASE_NAMES[code]}, probability" for code in DISEASES))
    rows = ((_link(k, row), row["status"], *map(escape, _summary(row))) for k, row in enumerate(files))
    return "".join([*top, _table(names, rows), *(_section(k, row) for k, row in enumerate(files)), "</body></html>"])


def _link(k: int, row: dict[str, Any]) -> str:
    return f"<a href='#f{k}'>{escape(row['file'])}</a>"


def _summary(row: dict[str, Any]) -> list[str]:
    return [_number(row["heart_rate"], ".0f"), *(_number(row[f"{code}_probability"], ".1%") for code in DISEASES)]


def _section(k: int, row: dict[str, Any]) -> str:
    title = f"<section id='f{k}'><h2>{escape(row['file'])}</h2>"
    if row["status"] != "read":
        return f"{title}<p>Not read: {escape(row['reason'])}. {escape(row['cure'])}</p></section>"
    quality = escape(row["remarks"] or "no remarks on quality")
    remarks = f"<p>Heart rate {row['heart_rate']:.0f} per minute; {quality}</p>"
    scores = [
        (DISEASE_NAMES[code], _number(row[f"{code}_score"], ".2f"), in_words(row[f"{code}_probability"]))
        for code in DISEASES
        if np.isfinite(row[f"{code}_score"])
    ]
    traits = [
        (trait.full_name, _number(row[name]), _between(row[f"{name}_low"], row[f"{name}_high"]), trait.unit)
        for trait in TRAITS
        if np.isfinite(row[name := trait.short_name])
    ]
    diseases = _table(("disease", "score", "meaning"), scores) if scores else ""
    values = f"<details><summary>{len(traits)} traits</summary>{_table(INTERVAL, traits)}</details>" if traits else ""
    return f"{title}{remarks}{diseases}{values}</section>"


def _between(low: float, high: float) -> str:
    return f"{_number(low)} to {_number(high)}" if np.isfinite(high) else ""


def _number(value: float, form: str = ".3g") -> str:
    return f"{value:{form}}" if np.isfinite(value) else ""


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div><table><tr>{head}</tr>{body}</table></div>"
