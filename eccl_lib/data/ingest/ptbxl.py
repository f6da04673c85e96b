"""Labels of PTB-XL from its own tables, ptbxl_database.csv and scp_statements.csv (Wagner et al. 2020).

Statements of a recording count whatever their likelihood is, as in the dataset's published benchmark (Strodthoff et
al. 2021).
"""

import ast
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eccl_lib.config.errors import UnreadableError
from eccl_lib.data.own_labels import OwnLabels, OwnTask
from eccl_lib.io import regular

DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
ABOVE = 2  # folders between the tables and the folder of a recording: records100/00000
FILE_NAMES = ("filename_hr", "filename_lr")
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
FIBRILLATION = "AFIB"  # the statement of atrial fibrillation
OLDEST = 120  # years; PTB-XL writes 300 for ages above 89, to protect these patients
SEXES = {"0": "male", "1": "female"}
LARGEST_TABLE = 32 * 2**20  # bytes; the larger one has 6 MB
CURE = "Download the table again from physionet.org/content/ptb-xl."


def tasks(subclasses: tuple[str, ...]) -> dict[str, OwnTask]:
    """The tasks of PTB-XL: superclasses, subclasses, atrial fibrillation, sex and age."""
    listed = [
        OwnTask("superclass", "multilabel", SUPERCLASSES),
        OwnTask("subclass", "multilabel", tuple(f"sub_{name}" for name in subclasses)),
        *(OwnTask(name, "binary", (name,)) for name in SUPERCLASSES),
        OwnTask("AF", "binary", ("AF",)),
        OwnTask("male", "binary", ("male",)),
        OwnTask("age", "continuous", ("age",)),
    ]
    return {task.name: task for task in listed if task.columns}


def read(folder: Path) -> tuple[pd.DataFrame, OwnLabels] | None:
    """Facts and labels of every recording in PTB-XL's tables, or None if the folder has no such tables.

    Returns a frame with patient, sex, age and fold, and the labels; both are indexed by the path of the header file
    below the folder, without suffix, once for each sampling rate. Raises UnreadableError if a table is damaged.
    """
    if not ((folder / DATABASE).is_file() and (folder / STATEMENTS).is_file()):
        return None
    table, classes = _table(folder / DATABASE), _table(folder / STATEMENTS)
    for name, frame, needed in (
        (DATABASE, table, {"patient_id", "scp_codes", "strat_fold", "age", "sex"}),
        (STATEMENTS, classes, {"diagnostic_class", "diagnostic_subclass"}),
    ):
        if missing := sorted(needed - set(frame.columns)):
            raise UnreadableError(f"{name} has no column {', '.join(missing)}", CURE)
    if not set(FILE_NAMES) & set(table.columns):
        raise UnreadableError(f"{DATABASE} has no column {' or '.join(FILE_NAMES)}", CURE)
    classes = classes.set_index(classes.columns[0])
    codes = [_codes(text) for text in table["scp_codes"]]
    groups = {kind: classes[f"diagnostic_{kind}"].replace("", np.nan).dropna() for kind in ("class", "subclass")}
    subclasses = tuple(sorted(groups["subclass"].unique()))
    age = pd.to_numeric(table["age"], errors="coerce").to_numpy(float)
    age = np.where(age <= OLDEST, age, np.nan)
    sex = table["sex"].str.strip().map(SEXES)
    labels = {name: _has(codes, groups["class"], name) for name in SUPERCLASSES}
    labels |= {f"sub_{name}": _has(codes, groups["subclass"], name) for name in subclasses}
    labels["AF"] = np.array([float(FIBRILLATION in of_one) for of_one in codes])
    labels["male"] = np.where(sex.isna(), np.nan, sex == "male")
    labels["age"] = age
    patient = "ptbxl/" + table["patient_id"].str.strip().str.removesuffix(".0")
    fold = pd.to_numeric(table["strat_fold"], errors="coerce")
    if fold.isna().any():
        raise UnreadableError(f"{DATABASE}: {int(fold.isna().sum())} rows have no strat_fold", CURE)
    facts = pd.DataFrame({"patient": patient, "sex": sex, "age": age, "fold": fold.astype(int)})
    names = [table[column].str.strip() for column in FILE_NAMES if column in table]
    index = pd.concat(names)
    rows = np.tile(np.arange(len(table)), len(names))
    own = OwnLabels(tasks(subclasses), pd.DataFrame(labels).iloc[rows].set_axis(index))
    return facts.iloc[rows].set_axis(index), own


def labels_of(paths: Sequence[Path]) -> tuple[OwnLabels, pd.DataFrame] | tuple[None, None]:
    """Labels and facts of recordings of PTB-XL, in their order; None for both if none is in its tables.

    paths: of the header files, which lie two folders below those tables. Raises UnreadableError if only some of the
    recordings are in the tables.
    """
    by_root: dict[Path, list[int]] = {}
    for k, path in enumerate(paths):
        by_root.setdefault(path.parents[ABOVE] if len(path.parents) > ABOVE else path.parent, []).append(k)
    facts, labels, order, tasks_found = [], [], [], {}
    for root, places in by_root.items():
        names = [paths[k].relative_to(root).with_suffix("").as_posix() for k in places]
        tables = read(root)
        if tables is not None:
            inside = [(k, name) for k, name in zip(places, names, strict=True) if name in tables[0].index]
            order += [k for k, _ in inside]
            facts.append(tables[0].loc[[name for _, name in inside]])
            labels.append(tables[1].values.loc[[name for _, name in inside]])
            tasks_found = tasks_found or tables[1].tasks
    if not order:
        return None, None
    if len(order) < len(paths):
        outside = next(paths[k].name for k in range(len(paths)) if k not in set(order))
        raise UnreadableError(
            f"{len(paths) - len(order)} of {len(paths)} recordings are not in {DATABASE}, such as {outside}",
            "Give only the folder of PTB-XL, or your own table with --labels.",
        )
    rows = np.argsort(order)
    values, published = (pd.concat(parts).iloc[rows].reset_index(drop=True) for parts in (labels, facts))
    return OwnLabels(tasks_found, values), published


LONGEST_CODES = 4096  # characters; the longest cell of PTB-XL has about 150


def _table(path: Path) -> pd.DataFrame:
    with regular.named(path):
        regular.check(path, LARGEST_TABLE)
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, pd.errors.ParserError) as error:
        raise UnreadableError(f"{path.name} is no table that can be read", CURE) from error


def _codes(text: str) -> frozenset[str]:
    """Codes of a cell such as ``{'NORM': 100.0, 'SR': 0.0}``. Raises UnreadableError on other content."""
    try:
        found = ast.literal_eval(text) if len(text) <= LONGEST_CODES else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = None
    if not isinstance(found, dict):
        raise UnreadableError(f"{DATABASE}: the cell scp_codes {text[:40]!r} has no codes with likelihoods", CURE)
    return frozenset(map(str, found))


def _has(codes: list[frozenset[str]], group: pd.Series, name: str) -> np.ndarray:
    """1 for recordings with a statement of the class, else 0. group: class of each statement, by its code."""
    of_class = frozenset(group.index[group == name])
    return np.array([float(bool(of_one & of_class)) for of_one in codes])
