"""The page of ``eccl report``: tables, figures with captions and checklists in one HTML file."""

from pathlib import Path

import pandas as pd

from eccl_lib.evaluation import checklists, table1_text
from eccl_lib.evaluation.table1_report import Content, times, title
from eccl_lib.io import html_page

# Figures of notebooks 02 to 08, drawn where the folder has them.
CAPTIONS = {
    "table1_differences": "ECCL minus each other row, with 95 % intervals. Right of zero, ECCL is higher.",
    "table1_roc": "ROC curves of the test participants; the band is the 95 % interval of ECCL.",
    "table1_reliability": "Predicted risk against the observed share of cases, before and after the shift to the "
    "prevalence. On the diagonal, risks are calibrated.",
    "table1_traits": "Pearson's r of each of the 82 traits.",
    "fig2a_latent": "Fig. 2a: t-SNE of ECG and CMR embeddings before and after alignment.",
    "fig2b_patches_and_size": "Fig. 2b: mean r by number of patches and size of the ECG encoder.",
    "fig2c_traits": "Fig. 2c: r of single traits, with the CMR reference.",
    "umap_diseases": "Fig. 2d: UMAP of the ECG features, cases against controls.",
    "training_autoencoders": "Autoencoders: error on training and validation participants.",
    "training_cmr_encoders": "CMR encoders: training loss and validation score.",
    "training_rows": "Rows of Table 1: training loss and validation score of the last stage.",
}
# Of these, the figures with a point for each participant: they are as confidential as the data.
PARTICIPANTS = ("fig2a_latent", "fig2c_traits", "umap_diseases")
ROWS = (
    "W/ and W/O: with and without; SSL: self-supervised pre-training; CL: contrastive learning, the alignment; CMR_Sup:"
    " the supervised CMR model."
)
STYLE = "td { min-width: 4rem; max-width: 34rem; }"


def page(content: Content) -> str:
    """The HTML of the report."""
    sections = {
        "Summary": _summary(content),
        "What these numbers mean": html_page.bullets(_limits(content)),
        "Participants": html_page.table(("split", *_headings(content)), content.people.itertuples(name=None))
        + "<h3>Excluded</h3>"
        + _frame(content.excluded, "No participant or recording was excluded."),
        "Table 1": _table1(content),
        "Differences": _differences(content),
        "Claims": _claims(content),
        "Controls": _controls(content),
        "Subgroups": _subgroups(content),
        "Figures": _figures(content),
        "Rows and parameters": _frame(content.models),
        "Departures": html_page.paragraph("Settings that differ from the paper's; docs/scales.md has all scales.")
        + html_page.table(("setting", *content.departures), content.departures.itertuples(name=None)),
        "Runs": html_page.table(("runs", "n"), content.runs.items()),
        "Environment": _environment(content),
    }
    for name, items in checklists.CHECKLISTS.items():
        sections[name] = _checklist(checklists.answers(items, content.facts))
    top = [f"<h1>{title(content.config)}</h1>", html_page.contents(sections)]
    body = [html_page.section(name, text) for name, text in sections.items()]
    return html_page.page(title(content.config), [*top, *body], STYLE)


def _headings(content: Content) -> list[str]:
    """Of the table of participants, whose columns are counts and diseases."""
    return [content.tasks[name].column if name in content.tasks else name for name in content.people]


def _summary(content: Content) -> str:
    cells, facts = content.frames["table1_cells"], content.facts
    parts = [f"{facts['source']} {facts['participants']} participants; n = {facts['test']} in the test set."]
    for task in [task for task in content.tasks if task in set(cells["task"])]:
        best = cells[(cells["task"] == task) & cells["row"].isin(content.models["row"])].dropna(subset="mean")
        found = best[best["row"] == "ECCL"]
        if len(found):
            row, top = found.iloc[0], best.loc[best["mean"].idxmax()]
            interval = f"{row['mean']:.3f} (95 % interval {row['low']:.3f} to {row['high']:.3f})"
            highest = f"highest {top['row']}, {top['mean']:.3f}"
            name = ", ".join(dict.fromkeys((content.tasks[task].column, content.tasks[task].title)))
            parts.append(f"{name}: {row['metric']} of ECCL {interval}; {highest}.")
    counts = content.frames["claims"]["verdict"].value_counts()
    verdicts = ", ".join(f"{verdict} {n}" for verdict, n in counts.items())
    return html_page.bullets([*parts, f"Claims of the paper: {verdicts}.", f"{facts['hours']}."])


def _limits(content: Content) -> list[str]:
    lines = ["Intervals cover test participants of this cohort; other populations and hospitals were not tested."]
    if content.config.cohort == "synthetic":
        lines.append("The cohort is simulated: no score here estimates performance on UK Biobank or on patients.")
    if len(content.provenance["seeds"]) == 1:
        lines.append("One training seed: the intervals do not cover other trainings of the same model.")
    if content.config.scale not in ("paper", "authors"):
        lines.append("Models and schedules are smaller than the paper's; compare the order of rows, not values.")
    if note := content.provenance.get("small_counts"):
        lines.append(f"{note.capitalize()}.")
    return [*lines, "Research software, not a medical device."]


def _table1(content: Content) -> str:
    both = pd.concat([content.frames["table1"], content.frames["reference"]], ignore_index=True)
    shown = table1_text.shown(both, tasks=content.tasks)
    source = f"{table1_text.here(content.provenance)}. Published values: {table1_text.PAPER}."
    note = f"{source} {ROWS} Rows below CMR_Sup are controls: ridge regression on the named features."
    parts = [html_page.paragraph(note, "quiet"), html_page.table(("row", *shown), shown.itertuples(name=None))]
    paper = table1_text.shown(table1_text.published())
    return "".join([*parts, "<h3>Published</h3>", html_page.table(("row", *paper), paper.itertuples(name=None))])


def _differences(content: Content) -> str:
    frame = content.frames["table1_differences"]
    tasks = [task for task in content.tasks if task in set(frame["task"])]
    rows = [["ECCL minus", *(content.tasks[task].column for task in tasks)]]
    for other, group in frame.groupby("other", sort=False):
        texts = {row.task: table1_text.difference(row) for row in group.itertuples()}
        rows.append([other, *(texts.get(task, "") for task in tasks)])
    return html_page.table(rows[0], rows[1:])


def _claims(content: Content) -> str:
    rows = table1_text.claim_rows(content.folder)
    note = "The rule of each verdict is in docs/study.md: holds, does not hold, not decided."
    return html_page.paragraph(note, "quiet") + html_page.table(table1_text.CLAIM_HEADER, rows)


def _controls(content: Content) -> str:
    frame = content.frames.get("against_controls")
    if frame is None:
        return html_page.paragraph("Without ECCL there is nothing to compare with the controls.")
    rows = [[row.other, content.tasks[row.task].column, table1_text.difference(row)] for row in frame.itertuples()]
    return html_page.table(("ECCL minus", "task", "difference (95 % interval)"), rows)


def _subgroups(content: Content) -> str:
    frame = content.subgroups
    if frame.empty:
        return html_page.paragraph("Subgroups are computed for ECCL, which this table lacks.")
    rows = [
        (content.tasks[row.task].column, row.group, _interval(row), _count(row.n), _count(row.positives))
        for row in frame.itertuples()
    ]
    note = "ECCL by sex and thirds of age: AUC of a disease, mean r of the traits, 95 % interval over participants."
    return html_page.paragraph(note, "quiet") + html_page.table(("task", "group", "score", "n", "cases"), rows)


def _interval(row: object) -> str:
    if pd.isna(row.mean):
        return table1_text.WITHHELD
    if pd.isna(row.low):  # one case or one control
        return f"{row.mean:.3f} (no interval)"
    return f"{row.mean:.3f} ({row.low:.3f} to {row.high:.3f})"


def _count(n: object) -> int | str:
    return "" if pd.isna(n) else int(n)


def _figures(content: Content) -> str:
    hidden = PARTICIPANTS if content.config.cohort == "ukb" else ()
    found = {stem: content.folder / f"{stem}.png" for stem in CAPTIONS if stem not in hidden}
    images = [_image(path, CAPTIONS[stem]) for stem, path in found.items() if path.is_file()]
    missing = [stem for stem, path in found.items() if not path.is_file()]
    note = html_page.paragraph(f"Not drawn yet (notebooks 02 to 08): {', '.join(missing)}.", "quiet") if missing else ""
    if hidden:
        note += html_page.paragraph(f"Left out, since they show single participants: {', '.join(hidden)}.", "quiet")
    return "".join(images) + note


def _image(path: Path, caption: str) -> str:
    return html_page.image(path.read_bytes(), caption, caption)


def _environment(content: Content) -> str:
    provenance = content.provenance
    made = [{name: str(value) for name, value in record.items()} for record in provenance["made_with"]]
    parts = [
        html_page.table(("", ""), [*provenance["machine"].items(), *provenance["packages"].items()]),
        "<h3>Code and processor of the runs</h3>",
        html_page.records(made),
        "<h3>Time</h3>",
        html_page.records(times(provenance)),
    ]
    return "".join(parts)


def _checklist(answered: list[checklists.Answer]) -> str:
    share = checklists.share_answered(answered)
    note = f"{share:.0%} of the applicable items are answered by what the runs recorded; check each before publication."
    return html_page.paragraph(note, "quiet") + html_page.table(("item", "topic", "status", "answer"), answered)


def _frame(frame: pd.DataFrame, empty: str = "") -> str:
    return html_page.records(frame.to_dict("records"), empty)
