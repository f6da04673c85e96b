"""The generated parts of README.md, docs/study.md and figures/demo/README.md, and figures/demo/table1.md.

``python -m tools.pages`` writes them. Every number about a result that these pages show comes from figures/.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from eccl_lib.data.ingest.ptbxl import SUPERCLASSES
from eccl_lib.evaluation import table1_text
from eccl_lib.evaluation.experiments import ECCL, ECCL_PLUS, EXPERIMENTS, eccl_plus
from eccl_lib.evaluation.table1_text import CLAIM_HEADER, difference, markdown_table
from eccl_lib.io import paths
from eccl_lib.io.files import write_text
from eccl_lib.notebooks import real_ecg
from eccl_lib.pipeline.methods import METHODS
from eccl_lib.tasks import TASKS

DEMO, STUDY, REAL = paths.DEMO_FIGURES, paths.STUDY_FIGURES, paths.REAL_FIGURES
TASK_NAMES = {key: task.column for key, task in TASKS.items()} | {"traits": "traits", "diseases": "four diseases"}


def claims() -> str:
    """Claims of the paper with verdicts: those about Table 1, Fig. 2d and Fig. 2b, and those about patients."""
    rows = [*table1_text.claim_rows(STUDY), *_separation_rows(), *_encoder_rows()]
    rows.append(["an AUC of .826 for CM and a mean r of .407 with ECCL", "needs UK Biobank", "", ""])
    return markdown_table([CLAIM_HEADER, *rows])


def _separation_rows() -> list[list[str]]:
    frame = _read("separation.csv")
    text = "aligned ECG features separate {} cases better (purity)"
    return [[text.format(TASK_NAMES[row.task]), row.verdict, "", difference(row)] for row in frame.itertuples()]


def _encoder_rows() -> list[list[str]]:
    if not (STUDY / "encoders_claims.csv").is_file():
        return [["more patches help; larger ViTs help little (Fig. 2b)", "not run yet", "", ""]]
    frame = _read("encoders_claims.csv")
    return [[row.claim, row.verdict, "", difference(row)] for row in frame.itertuples()]


def against_controls() -> str:
    """ECCL minus each control on each task."""
    frame = _read("against_controls.csv")
    rows = [["ECCL minus", *(TASK_NAMES[task] for task in TASKS)]]
    for other, group in frame.groupby("other", sort=False):
        by_task = {row.task: difference(row) for row in group.itertuples()}
        rows.append([other, *(by_task.get(task, "") for task in TASKS)])
    return markdown_table(rows)


def autoencoders() -> str:
    """What the masked autoencoder of each seed explains."""
    values = [f"{row.r2_masked:.3f} (seed {row.seed})" for row in _read("autoencoders.csv").itertuples()]
    return f"Share of the variance of the masked patches that is explained: {', '.join(values)}."


def retrieval() -> str:
    """Retrieval of the matching CMR and ECG with the traits encoders."""
    frame = _read("retrieval.csv")
    return table1_text.retrieval_section(frame[frame["task"] == "traits"])


def experiments() -> str:
    """Means and differences of every finished experiment."""
    parts = []
    if (STUDY / "alignment_gains.png").is_file():
        parts.append(
            "The gain of alignment:\n\n![ECCL minus the row without alignment](../figures/study/alignment_gains.png)"
        )
    for name, experiment in EXPERIMENTS.items():
        if (STUDY / f"{name}_means.csv").is_file():
            parts += [f"### {experiment.title}", _seeds(name), _picture(name), _means(name), _differences(name)]
            if name == "options":
                parts.append(f"By its rule, ECCL+ has: {', '.join(eccl_plus(_read('options_differences.csv')))}.")
    return "\n\n".join(parts) or "The experiments have not been run yet."


def plus() -> str:
    """ECCL+ and ECCL of the same seeds, and their difference, as one table."""
    if not (STUDY / "plus_means.csv").is_file():
        return "ECCL+ has not been trained with the protocol's seeds yet."
    runs, means, differences = _read("plus_runs.csv"), _read("plus_means.csv"), _read("plus_differences.csv")
    gains = differences[(differences["series"] == ECCL_PLUS) & (differences["other"] == ECCL)]
    tasks = list(gains["task"])
    rows = [["", *(TASK_NAMES[task] for task in tasks)]]
    for name in (ECCL, ECCL_PLUS):
        cells = {row.task: _mean(row) for row in means[means["series"] == name].itertuples()}
        rows.append([name, *(cells.get(task, "") for task in tasks)])
    rows.append([f"{ECCL_PLUS} minus {ECCL}", *(difference(row) for row in gains.itertuples())])
    complete = runs["seed"].value_counts().loc[lambda counts: counts == len(EXPERIMENTS["plus"].points)]
    seeds = ", ".join(str(seed) for seed in sorted(complete.index))
    count = f"{len(complete)} of {EXPERIMENTS['plus'].seeds} training seeds ({seeds})"
    return f"{count}; 95 % intervals over test participants and seeds.\n\n{markdown_table(rows)}"


def _seeds(name: str) -> str:
    count, planned = _read(f"{name}_means.csv")["seeds"].max(), EXPERIMENTS[name].seeds
    covered = "participants and seeds" if count > 1 else "participants only"
    return f"{count} of {planned} training seeds; the 95 % intervals cover {covered}."


def _picture(name: str) -> str:
    return f"![{EXPERIMENTS[name].title}](../figures/study/{name}.png)"


def _means(name: str) -> str:
    return _by_place(name, "means", ["series"], _mean)


def _mean(row: Any) -> str:
    return f"{row.mean:.3f} ({row.low:.3f} to {row.high:.3f})"


def _differences(name: str) -> str:
    return _by_place(name, "differences", ["series", "other"], difference)


def _by_place(name: str, kind: str, labels: list[str], text: Callable[[Any], str]) -> str:
    """Table of an experiment with one line per series or pair, and one column per task and x. text: of one cell."""
    frame, x = _read(f"{name}_{kind}.csv"), EXPERIMENTS[name].x
    places = list(dict.fromkeys(zip(frame["task"], frame["x"], strict=True)))
    columns = [f"{TASK_NAMES[task]}{f', {place:,}' if x else ''}" for task, place in places]
    rows = [[f"{kind}, by {x}" if x else kind, *columns]]
    for label, group in frame.groupby(labels, sort=False):
        found = {(row.task, row.x): text(row) for row in group.itertuples()}
        rows.append([" minus ".join(label), *(found.get(place, "") for place in places)])
    return markdown_table(rows)


COLUMNS = {  # of the table of real ECGs: heading to evaluation, share of labels and updates
    "linear probe": ("linear probe", 1.0, 0),
    "fine-tuned, 100 updates": ("fine-tuned", 1.0, 100),
    "300 updates": ("fine-tuned", 1.0, 300),
    "900 updates": ("fine-tuned", 1.0, 900),
    "300 updates, 25 % of the labels": ("fine-tuned", 0.25, 300),
    "5 %": ("fine-tuned", 0.05, 300),
}


def real_ecgs() -> str:
    """Macro AUC of the superclasses of PTB-XL by encoder and evaluation."""
    facts = json.loads((REAL / "ptbxl.json").read_text(encoding="utf-8"))
    frame = pd.read_csv(REAL / "ptbxl.csv")
    frame = frame[frame["outcome"] == "superclass"].set_index(["encoder", "evaluation", "share", "updates"])
    folds = "all ten folds" if facts["folds"] == 10 else f"{facts['folds']} of ten folds"
    rows = [["encoder", *COLUMNS]]
    for name in dict.fromkeys(frame.index.get_level_values("encoder")):
        found = [frame.loc[(name, *place)] if (name, *place) in frame.index else None for place in COLUMNS.values()]
        rows.append(
            [name, *("" if r is None else f"{r['score']:.3f} ({r['low']:.2f} to {r['high']:.2f})" for r in found)]
        )
    people = f"n = {facts['n']:,} recordings of PTB-XL, {facts['patients']:,} patients"
    title = f"Macro AUC of five superclasses (95 % interval over patients); {folds}, {people}"
    return f"{title} (Wagner et al. 2020, CC BY 4.0).\n\n{markdown_table(rows)}"


OUTCOMES = {name: name for name in (*SUPERCLASSES, "AF")} | {"male": "sex", "age": "age"}


def real_outcomes() -> str:
    """Every outcome of PTB-XL by encoder, fine-tuned with 300 updates and all labels; ridge for the measurements."""
    frame = pd.read_csv(REAL / "ptbxl.csv")
    main = (frame["evaluation"] == "fine-tuned") & (frame["updates"] == 300) & (frame["share"] == 1)
    ridge = (frame["encoder"] == "measurements") & (frame["share"] == 1)
    found = frame[main | ridge].set_index(["encoder", "outcome"])
    rows = [["encoder", *(f"AUC of {name}" for name in list(OUTCOMES.values())[:-1]), "r of age", "error of age"]]
    for encoder in dict.fromkeys(found.index.get_level_values("encoder")):
        one = found.loc[encoder]
        cells = [f"{r.score:.3f} ({r.low:.2f} to {r.high:.2f})" for r in one.loc[list(OUTCOMES)].itertuples()]
        rows.append([encoder, *cells, f"{one.loc['age', 'mae']:.1f} years"])
    return markdown_table(rows)


def real_reconstruction() -> str:
    """How much of real ECGs the longer autoencoder explains."""
    (row,) = pd.read_csv(REAL / "reconstruction.csv").itertuples()
    reached = "reached" if row.r2_masked >= 0.5 else "missed"
    return (
        f"After {row.updates:,} updates it explains {row.r2_masked:.3f} of the variance of masked patches around the "
        f"lead's mean: the aim of .5 is {reached}."
    )


def real_comparisons() -> str:
    """The planned comparisons on real ECGs."""
    frame = real_ecg.trial()
    return markdown_table([list(frame), *frame.to_numpy().tolist()])


def processors() -> str:
    """How far a test score moves if the same seed is trained on another processor or with older instruction sets."""
    if not (STUDY / "instruction_sets.csv").is_file():
        return "How far a score moves on another type of processor has not been measured yet."
    frame = _read("instruction_sets.csv")
    rows = [["row", "task", "processor", "instruction set", "test score", "difference", "r of the predictions"]]
    for row in frame.itertuples():
        numbers = [f"{row.test:.4f}", f"{row.difference:+.4f}", f"{row.r_of_predictions:.4f}"]
        where = [row.cpu, f"{row.setting} ({row.instruction_set})"]
        rows.append([METHODS[row.row].row, TASK_NAMES[row.task], *where, *numbers])
    seed = frame["seed"].iloc[0]
    title = (
        f"Seed {seed}. Differences from the line *as detected* of the same row and task. The runs of Table 1 also\n"
        "have encoders of stage one that were trained on the processor of the table."
    )
    return f"{title}\n\n{markdown_table(rows)}"


def processors_sentence() -> str:
    """``processors`` as one sentence."""
    if not (STUDY / "instruction_sets.csv").is_file():
        return processors()
    largest = _read("instruction_sets.csv")["difference"].abs().max()
    return (
        f"On another type of processor, the test score of a seed moved by up to {largest:.3f} "
        "([docs/study.md](docs/study.md#processors))."
    )


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(STUDY / name)


Section = Callable[[], str]
PAGES: dict[Path, dict[str, Section]] = {
    paths.ROOT / "README.md": {
        "table 1": lambda: table1_text.section(STUDY),
        "claims": claims,
        "ECCL+": plus,
        "real ECGs": real_ecgs,
        "processors": processors_sentence,
    },
    paths.ROOT / "docs" / "real_ecg.md": {
        "reconstruction": real_reconstruction,
        "real ECGs": real_ecgs,
        "comparisons": real_comparisons,
        "outcomes": real_outcomes,
    },
    paths.ROOT / "docs" / "study.md": {
        "claims": claims,
        "controls": against_controls,
        "autoencoders": autoencoders,
        "retrieval": retrieval,
        "experiments": experiments,
        "processors": processors,
    },
    DEMO / "README.md": {
        "table 1": lambda: table1_text.section(DEMO),
        "claims": lambda: table1_text.claims(DEMO),
    },
}


def markers(name: str) -> tuple[str, str]:
    """The lines before and after a generated part."""
    return f"<!-- {name}: generated by python -m tools.pages -->", f"<!-- end of {name} -->"


def with_sections(text: str, page: Path) -> str:
    """Text of a page with new content between its markers. Raises ValueError if a marker is missing."""
    for name, content in PAGES[page].items():
        before, after = markers(name)
        head, begin, rest = text.partition(before)
        _, end, tail = rest.partition(after)
        if not begin or not end:
            raise ValueError(f"{page.name} lacks a marker; restore the two lines {before!r} and {after!r}")
        text = f"{head}{before}\n{content()}\n{after}{tail}"
    return text


def update() -> None:
    """Write the generated parts of all pages."""
    for page in PAGES:
        write_text(page, with_sections(page.read_text(encoding="utf-8"), page))
    write_text(DEMO / "table1.md", table1_text.page(DEMO))


if __name__ == "__main__":
    update()
