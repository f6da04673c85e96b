"""Table 1 as text: tables for notebooks, Markdown for README and figures/demo, published values beside our own.

All numbers are read from the files that ``table1.write`` writes, so text and numbers always agree.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from eccl_lib.data.small_counts import WITHHELD
from eccl_lib.io import paths
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import TASKS, Task, tasks_named

PAPER = "paper (UK Biobank, n = 8,308)"
# Of the paper's tasks: start of the names of their columns in the files, and heading.
STEMS = {
    "I21": ("mi_auc", "MI AUC"),
    "I42": ("cm_auc", "CM AUC"),
    "I48": ("af_auc", "AF AUC"),
    "I50": ("hf_auc", "HF AUC"),
    "traits": ("mean_r", "Mean R"),
}


def stem_of(task: str, tasks: Mapping[str, Task] = TASKS) -> str:
    """Start of the names of a task's columns in table1.csv, such as mi_auc or I25_AUC. tasks: all of the table."""
    return STEMS[task][0] if task in STEMS else f"{task}_{tasks[task].metric.replace(' ', '_')}"


def heading_of(task: str, tasks: Mapping[str, Task] = TASKS) -> str:
    """A task's heading in Table 1, such as MI AUC. tasks: all of the table."""
    return STEMS[task][1] if task in STEMS else f"{tasks[task].column} {tasks[task].metric}"


def tasks_in(facts: Mapping[str, Any]) -> dict[str, Task]:
    """All tasks that a table can have, by key. facts: table1.json, which names the diseases beside the paper's."""
    return tasks_named(facts.get("diseases", {}))


def published() -> pd.DataFrame:
    """Table 1 as printed in the paper: row, mi_auc_mean, mi_auc_std ..."""
    return pd.read_csv(paths.PAPER_TABLE)


def shown(wide: pd.DataFrame, separator: str = " ", tasks: Mapping[str, Task] = TASKS) -> pd.DataFrame:
    """Cells as text: mean ± standard deviation over seeds, then the 95 % interval if there is one.

    wide: columns as in table1.csv or in the published table. tasks: all that it can have.
    """
    stems = {stem_of(task, tasks): heading_of(task, tasks) for task in tasks}
    stems = {stem: heading for stem, heading in stems.items() if f"{stem}_mean" in wide}
    cells = {heading: [_cell(line, stem, separator) for _, line in wide.iterrows()] for stem, heading in stems.items()}
    return pd.DataFrame(cells, index=pd.Index(wide["row"], name="row"))


def _cell(line: pd.Series, stem: str, separator: str) -> str:
    if pd.isna(line[f"{stem}_mean"]):
        return WITHHELD
    text = f"{line[f'{stem}_mean']:.3f}"
    if pd.notna(line.get(f"{stem}_std")):
        text += f" ± {line[f'{stem}_std']:.3f}"
    low, high = line.get(f"{stem}_low"), line.get(f"{stem}_high")
    return text if pd.isna(low) or pd.isna(high) else f"{text}{separator}({low:.2f} to {high:.2f})"


def here(facts: Mapping[str, Any], prevalence: bool = True) -> str:
    """Label of our own numbers: cohort, n, prevalence. facts: table1.json."""
    cohort = "synthetic cohort" if facts["cohort"] == "synthetic" else f"cohort {facts['cohort']}"
    parts = [cohort, f"n = {facts['test']:,}"]
    if prevalence:
        known = {code: WITHHELD if share is None else f"{share:.1%}" for code, share in facts["prevalence"].items()}
        shares = (f"{tasks_in(facts)[code].column} {share}" for code, share in known.items())
        parts.append("prevalence " + ", ".join(shares))
    return f"here ({', '.join(parts)})"


def methods_table() -> pd.DataFrame:
    """The nine rows of Table 1: encoder, pre-training, objective and frozen encoder of each method key."""
    rows = {key: {"row": method.row, **method.facts} for key, method in METHODS.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def published_cell(row: str, task: str) -> str:
    """One cell of the published Table 1 as text, with its source; a task that is not the paper's has none."""
    if task not in STEMS:
        return f"{PAPER}: {row}, no value for {task}"
    heading = heading_of(task)
    return f"{PAPER}: {row}, {heading} {shown(published()).loc[row, heading]}"


def retrieval_table(frame: pd.DataFrame) -> pd.DataFrame:
    """retrieval.csv as a table with one column each for before and after alignment: mean (95 % interval).

    Ranks are whole numbers, recalls per cent.
    """

    def text(row: pd.Series, columns: tuple[str, ...]) -> list[str]:
        rank = row["metric"] == "median rank"
        return [f"{row[name]:,.0f}" if rank else f"{row[name]:.2%}" for name in columns]

    values = ["{} ({} to {})".format(*text(row, ("mean", "low", "high"))) for _, row in frame.iterrows()]
    chances = [text(row, ("chance",))[0] for _, row in frame.iterrows()]
    frame = frame.assign(value=values, chance=chances)
    index = ["task", "direction", "metric", "chance"]
    order = pd.MultiIndex.from_frame(frame[index].drop_duplicates())
    return frame.pivot(index=index, columns="when", values="value").loc[order, ["before", "after"]]


def wins_table(differences: pd.DataFrame) -> pd.DataFrame:
    """Per compared row: tasks with ECCL higher, and tasks with ECCL significantly higher and lower (Holm)."""
    higher, certain = differences["difference"] > 0, differences["p_holm"] < 0.05
    counts = differences.assign(higher=higher, above=higher & certain, below=~higher & certain)
    table = counts.groupby("other", sort=False)[["higher", "above", "below"]].sum()
    names = ["tasks with ECCL higher", "higher, p < 0.05 (Holm)", "lower, p < 0.05 (Holm)"]
    return table.set_axis(names, axis=1)


def signed(value: float, digits: int) -> str:
    """A number with its sign, also where it rounds to zero: the sign tells whether an interval contains zero."""
    return f"{value + 0.0:+.{digits}f}"


def section(folder: Path) -> str:
    """Markdown of Table 1 with the published values below each row. folder: contains table1.csv and table1.json."""
    facts = json.loads((folder / "table1.json").read_text(encoding="utf-8"))
    wide, reference = (pd.read_csv(folder / name) for name in ("table1.csv", "reference.csv"))
    tasks = tasks_in(facts)
    ours, theirs = shown(pd.concat([wide, reference], ignore_index=True), "<br>", tasks), shown(published())
    seeds, counts = len(facts["seeds"]), facts["test_positives"]
    cases = ", ".join(f"{count} {tasks[code].column}" for code, count in counts.items())
    lines = [
        f"*{here(facts)}*: mean{' ± standard deviation' if seeds > 1 else ''} over {seeds} seed{'s' * (seeds > 1)}, "
        f"in brackets the 95 % interval over test participants{' and seeds' * (seeds > 1)}. "
        f"Cases in the test set: {cases}. Rows below CMR_Sup are controls: ridge regression on the named features.",
        f"*{PAPER}*: mean ± standard deviation over five seeds, as printed. "
        "The cohorts and model sizes differ: compare the order of rows within each source, not values between them.",
        "",
    ]
    rows = [["row", "", *ours.columns]]
    for row in ours.index:
        rows.append([row, f"*{here(facts, prevalence=False)}*", *ours.loc[row]])
        if row in theirs.index:
            rows.append(["", f"*{PAPER}*", *(theirs.loc[row].get(heading, "") for heading in ours.columns)])
    return "\n".join([*lines, markdown_table(rows)])


def claims(folder: Path) -> str:
    """Markdown of claims.csv: each claim of the paper with its verdict, the published difference and our own."""
    return markdown_table([CLAIM_HEADER, *claim_rows(folder)])


CLAIM_HEADER = ["claim of the paper", "verdict", "paper", "here (95 % interval)"]


def claim_rows(folder: Path) -> list[list[str]]:
    """The lines of ``claims``."""
    frame = pd.read_csv(folder / "claims.csv")
    return [[row.claim, row.verdict, signed(row.paper, 3), difference(row)] for row in frame.itertuples()]


def difference(row: Any) -> str:
    """A difference with its interval, or that it is withheld. row: of a frame with difference, low and high."""
    if pd.isna(row.difference):
        return WITHHELD
    return f"{signed(row.difference, 3)} ({signed(row.low, 3)} to {signed(row.high, 3)})"


def page(folder: Path) -> str:
    """Content of table1.md: the table, the paper's claims, ECCL minus the other rows, retrieval, provenance."""
    facts = json.loads((folder / "table1.json").read_text(encoding="utf-8"))
    tasks, parts = tasks_in(facts), ["# Table 1", section(folder)]
    if len(pd.read_csv(folder / "claims.csv")):
        parts += ["## Claims of the paper", claims(folder)]
    differences = pd.read_csv(folder / "table1_differences.csv")
    if len(differences):
        parts += ["## ECCL minus each other row", _differences(differences, tasks)]
    if (folder / "retrieval.csv").is_file():
        retrieval = pd.read_csv(folder / "retrieval.csv")
        parts += ["## Retrieval of the matching CMR or ECG", retrieval_section(retrieval, tasks)]
    return "\n\n".join([*parts, "## Provenance", _provenance(facts)]) + "\n"


def _differences(frame: pd.DataFrame, tasks: Mapping[str, Task]) -> str:
    shown_tasks = [task for key, task in tasks.items() if key in set(frame["task"])]
    note = (
        "Mean difference ± standard deviation over seeds. In brackets: 95 % interval over test participants and seeds "
        f"({frame['draws'].max():,} bootstrap draws, shared by both rows and all seeds). p: Holm-corrected for "
        f"{len(frame)} comparisons. With one seed, interval and p cover the test participants only."
    )
    rows = [["ECCL minus", *(task.column + (" AUC" if task.is_disease else "") for task in shown_tasks)]]
    for other, group in frame.groupby("other", sort=False):
        of_row = group.set_index("task")
        rows.append([other, *(_difference(of_row.loc[task.key]) for task in shown_tasks)])
    return "\n".join([note, "", markdown_table(rows)])


def _difference(row: pd.Series) -> str:
    if pd.isna(row["difference"]):
        return WITHHELD
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.2g}"
    low, high = signed(row["low"], 2), signed(row["high"], 2)
    spread = "" if pd.isna(row["std"]) else f" ± {row['std']:.3f}"
    return f"{signed(row['difference'], 3)}{spread}<br>({low} to {high})<br>{p}"


def retrieval_section(frame: pd.DataFrame, tasks: Mapping[str, Task] = TASKS) -> str:
    """Markdown of retrieval.csv: ranks and recalls before and after alignment, and by chance. tasks: of the table."""
    metrics = list(dict.fromkeys(frame["metric"]))
    chance = frame.drop_duplicates("metric").set_index("metric")["chance"]
    note = (
        f"ECCL, {frame['n'].max():,} test participants, mean over seeds with 95 % interval. Tied similarities count as "
        "in a random order."
    )
    rows = [["task", "alignment", "direction", *metrics]]
    rows.append(["chance", "", "", *(_plain(chance[metric], metric) for metric in metrics)])
    for (task, when, direction), group in frame.groupby(["task", "when", "direction"], sort=False):
        group = group.set_index("metric")
        texts = [
            f"{_plain(group.loc[m, 'mean'], m)} ({_plain(group.loc[m, 'low'], m)} to {_plain(group.loc[m, 'high'], m)})"
            for m in metrics
        ]
        rows.append([tasks[task].column if task != "traits" else "traits", when, direction, *texts])
    return "\n".join([note, "", markdown_table(rows)])


def _plain(value: float, metric: str) -> str:
    """A rank, or a recall in percent; a limit of a normal interval may lie below 0."""
    return f"{value:.1f}" if metric == "median rank" else f"{max(100 * value, 0):.2f} %"


def _provenance(facts: Mapping[str, Any]) -> str:
    time, made_with = facts["cpu_seconds"], facts["made_with"]
    stages = ", ".join(
        f"{name} {part['seconds']:,.0f} s ({part['runs']} runs)" for name, part in time["stages"].items()
    )
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    lines = [
        f"- scale {facts['scale']}, cohort {facts['cohort']} `{facts['cohort_fingerprint'][:8]}`: "
        f"{facts['participants']:,} participants, {facts['test']:,} in the test set",
        f"- {len(facts['runs'])} runs of {len(facts['rows'])} rows with seeds {', '.join(map(str, facts['seeds']))}; "
        f"SHA-256 of their fingerprints `{facts['runs_sha256'][:8]}`",
        f"- {time.get('clock', 'CPU time')} {time['total']:,.0f} s: {stages}",
        f"- {packages}; {facts['machine']['cores']} cores, {facts['machine']['architecture']}",
        *([f"- {facts['small_counts']}"] if "small_counts" in facts else []),
    ]
    lines += [f"- trained on {text}" for text in dict.fromkeys(map(_training, made_with))]
    return "\n".join(lines)


def _training(record: Mapping[str, Any]) -> str:
    """The processor and the code of some runs."""
    code = f"commit `{record['commit'][:12]}`" if record["commit"] else "code outside a git checkout"
    changed = "" if record["clean"] in (True, None) else " with uncommitted changes"
    return f"{record['cpu']}, {record['instruction_set']}, {record['threads']} thread(s) a process; {code}{changed}"


def markdown_table(rows: list[list[str]]) -> str:
    """Markdown table; the first row is the header."""
    header, *body = rows
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *body))
