"""Notebook 10: the store of PTB-XL, and the ECG encoders that are compared on it."""

from dataclasses import replace

import pandas as pd

from eccl_lib.config.errors import MissingError
from eccl_lib.config.load import load, with_changes
from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.ingest import unpaired
from eccl_lib.data.ingest.build import build
from eccl_lib.data.ingest.ptbxl import SUPERCLASSES
from eccl_lib.data.splits import in_order
from eccl_lib.data.store import sharded
from eccl_lib.evaluation.probe import Encoder
from eccl_lib.evaluation.table1_text import difference
from eccl_lib.io import paths
from eccl_lib.io.progress import Log
from eccl_lib.io.workers import Workers
from eccl_lib.pipeline import stages

COHORT = "ecg-ptbxl"
TASKS = ("superclass", "AF", "male", "age")
DOWNLOAD = (
    "Download PTB-XL (Wagner et al. 2020, licence CC BY 4.0) from physionet.org/content/ptb-xl and give its folder: "
    "papermill 10_real_ecg.ipynb out.ipynb -p folder PATH"
)


def ptbxl(config: Config, folder: str, log: Log) -> Config:
    """The config of the store ``ecg-ptbxl``; the store is built from the folder if it does not exist.

    Raises MissingError, with where to download PTB-XL, if there is neither a store nor a folder.
    """
    store = load(config.scale, cohort=COHORT).store  # as every command and notebook that names this cohort
    changed = with_changes(replace(config, cohort=COHORT, store=store), {"probe.tasks": list(TASKS)})
    if not (sharded.folder_of(changed) / "manifest.json").is_file():
        if not folder or not paths.expanded(folder).is_dir():
            fault = f"there is no folder {folder}" if folder else f"the store {COHORT} has not been built"
            raise MissingError(f"{fault}. {DOWNLOAD}")
        source = unpaired.Source(COHORT, (str(paths.expanded(folder).resolve()),))
        build(changed, source, Workers(jobs=config.runtime.workers), False, log)
    return changed


def counts(data: Cohort) -> pd.DataFrame:
    """One row per split: recordings, patients, mean age, and recordings with each class."""
    labels = data.own.values[[*SUPERCLASSES, "AF"]].assign(split=data.table["split"].to_numpy())
    people = data.table.groupby("split").agg(
        recordings=("eid", "size"), patients=("patient", "nunique"), age=("age", "mean")
    )
    return in_order(people.join(labels.groupby("split").sum().astype(int))).round(1)


def encoders(config: Config, log: Log) -> list[Encoder]:
    """Random weights, the autoencoder of these ECGs, and two encoders of the config's own cohort.

    The latter are trained now if they are missing and the scale allows it.
    """
    traits = with_changes(config, {"disease": "traits"})
    runs = {name: stages.require(stages.spec(traits, name), log) for name in ("pretrain_ecg", "eccl")}
    starts = {name: {"probe.encoder": "run", "probe.start_from": run.fingerprint[:8]} for name, run in runs.items()}
    return [
        Encoder("random", {"probe.encoder": "random"}),
        Encoder("MAE, real", {"probe.encoder": "mae"}),
        Encoder("MAE, synthetic", starts["pretrain_ecg"]),
        Encoder("ECCL, synthetic", starts["eccl"]),
    ]


def trial() -> pd.DataFrame:
    """The planned comparisons of docs/real_ecg.md as text, over the folds in figures/real; empty without them."""
    path = paths.REAL_FIGURES / "comparisons.csv"
    frame = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    return pd.DataFrame(
        {
            "question": row.question,
            "outcome": "macro AUC" if row.outcome == "superclass" else f"AUC of {row.outcome}",
            "comparison": f"{row.one} minus {row.other}",
            "difference (95 % interval)": difference(row),
            "p, Holm": "< .001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
            "verdict": row.verdict,
        }
        for row in frame.itertuples()
    )
