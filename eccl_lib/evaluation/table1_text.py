"""Table 1 in words: cells for a notebook, Markdown for README and figures/demo, published values beside our own.

Everything is read from the files that ``results.write`` makes, so that text and numbers cannot part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from eccl_lib.config.schema import TASKS as TASK_KEYS
from eccl_lib.io import paths
from eccl_lib.tasks import TASKS

PAPER = "paper (UK Biobank, n = 8,308)"
STEMS = {"mi_auc": "MI AUC", "cm_auc": "CM AUC", "af_auc": "AF AUC", "hf_auc": "HF AUC", "mean_r": "Mean R"}


def published() -> pd.DataFrame:
    """Table 1 as printed in the paper: row, mi_auc_mean, mi_auc_std ..."""
    return pd.read_csv(paths.PAPER_TABLE)


def shown(wide: pd.DataFrame, separator: str = " ") -> pd.DataFrame:
    """Rows by headings as text: mean ± standard deviation over seeds, then the 95 % interval where there is one.

    wide: as table1.csv or the published table.
    """
    stems = {stem: heading for stem, heading in STEMS.items() if f"{stem}_mean" in wide}
    cells = {heading: [_cell(line, stem, separator) for _, line in wide.iterrows()] for stem, heading in stems.items()}
    return pd.DataFrame(cells, index=pd.Index(wide["row"], name="row"))


def _cell(line: pd.Series, stem: str, separator: str) -> str:
    text = f"{line[f'{stem}_mean']:.3f}"
    if pd.notna(line.get(f"{stem}_std")):
        text += f" ± {line[f'{stem}_std']:.3f}"
    low, high = line.get(f"{stem}_low"), line.get(f"{stem}_high")
    return text if pd.isna(low) or pd.isna(high) else f"{text}{separator}({low:.2f} to {high:.2f})"


def here(facts: Mapping[str, Any], prevalence: bool = True) -> str:
    """What our own numbers are of. facts: table1.json."""
    cohort = "synthetic cohort" if facts["cohort"] == "synthetic" else f"cohort {facts['cohort']}"
    words = [cohort, f"n = {facts['test']:,}"]
    if prevalence:
        shares = (f"{TASKS[code].column} {share:.1%}" for code, share in facts["prevalence"].items())
        words.append("prevalence " + ", ".join(shares))
    return f"here ({', '.join(words)})"


def section(folder: Path) -> str:
    """Table 1 with the published values below each row, in Markdown. folder: of table1.csv and its companions."""
    facts = json.loads((folder / "table1.json").read_text(encoding="utf-8"))
    wide, alone = (pd.read_csv(folder / name) for name in ("table1.csv", "reference.csv"))
    ours, theirs = shown(pd.concat([wide, alone], ignore_index=True), "<br>"), shown(published())
    seeds, counts = len(facts["seeds"]), facts["test_positives"]
    cases = ", ".join(f"{count} {TASKS[code].column}" for code, count in counts.items())
    lines = [
        f"*{here(facts)}*: mean{' ± standard deviation' if seeds > 1 else ''} over {seeds} seed{'s' * (seeds > 1)}, "
        f"in brackets the 95 % interval over test participants; cases among them: {cases}.",
        f"*{PAPER}*: mean ± standard deviation over five seeds, as printed. "
        "Other people, sizes and models: read the order within each.",
        "",
        _line(["row", "", *ours.columns]),
        _line(["---"] * (len(ours.columns) + 2)),
    ]
    for row in ours.index:
        lines.append(_line([row, f"*{here(facts, prevalence=False)}*", *ours.loc[row]]))
        if row in theirs.index:
            lines.append(_line(["", f"*{PAPER}*", *theirs.loc[row, ours.columns]]))
    return "\n".join(lines)


def page(folder: Path) -> str:
    """table1.md: the table, ECCL against the other rows, retrieval, and where it all comes from."""
    facts = json.loads((folder / "table1.json").read_text(encoding="utf-8"))
    parts = ["# Table 1", section(folder)]
    differences = pd.read_csv(folder / "table1_differences.csv")
    if len(differences):
        parts += ["## ECCL minus each other row", _differences(differences)]
    if (folder / "retrieval.csv").is_file():
        parts += ["## Finding one's own heart among all", _retrieval(pd.read_csv(folder / "retrieval.csv"))]
    return "\n\n".join([*parts, "## Where it comes from", _origin(facts)]) + "\n"


def _differences(found: pd.DataFrame) -> str:
    tasks = [task for task in TASK_KEYS if task in set(found["task"])]
    lines = [
        "Mean difference ± standard deviation over seeds; in brackets its 95 % interval over test participants, who "
        f"are drawn {found['draws'].max():,} times, the same for both rows and all seeds; p after Holm over "
        f"{len(found)} comparisons. Interval and p are about these trained models on other participants, the deviation "
        "is about other seeds.",
        "",
        _line(["ECCL minus", *(_heading(task) for task in tasks)]),
        _line(["---"] * (len(tasks) + 1)),
    ]
    for other in dict.fromkeys(found["other"]):
        mine = found[found["other"] == other].set_index("task")
        lines.append(_line([other, *(_difference(mine.loc[task]) for task in tasks)]))
    return "\n".join(lines)


def _difference(one: pd.Series) -> str:
    p = "p < 0.001" if one["p_holm"] < 0.001 else f"p = {one['p_holm']:.2g}"
    low, high = _signed(one["low"], 2), _signed(one["high"], 2)
    spread = "" if pd.isna(one["std"]) else f" ± {one['std']:.3f}"
    return f"{_signed(one['difference'], 3)}{spread}<br>({low} to {high})<br>{p}"


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # -0.0 + 0.0 is 0.0


def _retrieval(found: pd.DataFrame) -> str:
    metrics = list(dict.fromkeys(found["metric"]))
    chance = found.drop_duplicates("metric").set_index("metric")["chance"]
    lines = [
        f"ECCL, {found['n'].max():,} test participants, mean over seeds with 95 % interval; ties count as in a random "
        "order.",
        "",
        _line(["task", "alignment", "direction", *metrics]),
        _line(["---"] * (len(metrics) + 3)),
        _line(["a guess", "", "", *(_plain(chance[metric], metric) for metric in metrics)]),
    ]
    for (task, when, direction), mine in found.groupby(["task", "when", "direction"], sort=False):
        mine = mine.set_index("metric")
        texts = [
            f"{_plain(mine.loc[m, 'mean'], m)} ({_plain(mine.loc[m, 'low'], m)} to {_plain(mine.loc[m, 'high'], m)})"
            for m in metrics
        ]
        lines.append(_line([TASKS[task].column if task != "traits" else "traits", when, direction, *texts]))
    return "\n".join(lines)


def _plain(value: float, metric: str) -> str:
    return f"{value:.1f}" if metric == "median rank" else f"{value:.3f}"


def _origin(facts: Mapping[str, Any]) -> str:
    time, code = facts["cpu_seconds"], facts["commit"]
    stages = ", ".join(
        f"{name} {part['seconds']:,.0f} s ({part['runs']} runs)" for name, part in time["stages"].items()
    )
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    lines = [
        f"- scale {facts['scale']}, cohort {facts['cohort']} `{facts['cohort_fingerprint'][:8]}`: "
        f"{facts['participants']:,} participants, {facts['test']:,} of them test",
        f"- {len(facts['runs'])} runs of {len(facts['rows'])} rows with seeds {', '.join(map(str, facts['seeds']))}; "
        f"sum over their fingerprints `{facts['runs_sha256'][:8]}`",
        f"- processor time {time['total']:,.0f} s: {stages}",
        f"- {packages}; {facts['machine']['cores']} cores, {facts['machine']['architecture']}",
    ]
    if code:
        changed = ", with changes to the code" if code["code_changed_since"] else ""
        lines.insert(2, f"- commit `{code['hash'][:12]}`{changed}")
    return "\n".join(lines)


def _heading(task: str) -> str:
    return TASKS[task].column + (" AUC" if TASKS[task].is_disease else "")


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
