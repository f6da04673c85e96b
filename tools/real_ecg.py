"""The trial on real ECGs of docs/real_ecg.md: train, score and draw it into figures/real.

``python -m tools.real_ecg`` needs the store ``ecg-ptbxl`` (``eccl ingest ecg FOLDER --name ptbxl``) and the first seed
of ``eccl study`` under one ECCL_RUNS. It resumes after an interruption; ``--folds 10`` runs a part of it.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from eccl_lib import figures, grid
from eccl_lib.config.load import load
from eccl_lib.config.schema import Config
from eccl_lib.data import open_cohort
from eccl_lib.evaluation import features, probe
from eccl_lib.evaluation.claims import verdict
from eccl_lib.evaluation.experiments import SHORT, VOLTAGE
from eccl_lib.evaluation.probe import MEASUREMENTS, Encoder, Setting
from eccl_lib.io import paths
from eccl_lib.io.files import write_atomically, write_json
from eccl_lib.io.progress import print_line, silent
from eccl_lib.metrics.comparison import holm
from eccl_lib.notebooks.notebook import write_figure
from eccl_lib.pipeline import stages
from eccl_lib.tasks import own_targets

FOLDER = paths.REAL_FIGURES
TASKS = ("superclass", "AF", "male", "age")
OUTCOMES = ("superclass", "NORM", "MI", "STTC", "CD", "HYP", "AF", "male", "age")
FOLDS = tuple(range(1, 11))
RANDOM, REAL, SYNTHETIC, BOTH, ECCL = (
    "random",
    "MAE, real",
    "MAE, synthetic",
    "MAE, synthetic then real",
    "ECCL, synthetic",
)
RANDOM_VOLTAGE, REAL_VOLTAGE = "random, voltage", "MAE, real, voltage"
UPDATES, SHARES, MAIN = (100, 900), (0.05, 0.25), 300


def trial_config() -> Config:
    """The study's models on PTB-XL."""
    return load("study", cohort="ecg-ptbxl", overrides={"probe.tasks": list(TASKS), "runtime.build_missing": True})


def encoders() -> list[Encoder]:
    """The encoders of the protocol; those of the synthetic cohort are the study's first seed."""
    study = load("study", disease="traits")
    data = open_cohort.load(study, silent)
    mae, eccl = (
        stages.require(stages.spec(study, name), silent, data).fingerprint[:8] for name in ("pretrain_ecg", "eccl")
    )
    own = {"probe.encoder": "mae", **SHORT}
    return [
        Encoder(RANDOM, {"probe.encoder": "random"}),
        Encoder(REAL, own),
        Encoder(SYNTHETIC, {"probe.encoder": "run", "probe.start_from": mae}),
        Encoder(BOTH, {**own, "mae.start_from": mae}),
        Encoder(ECCL, {"probe.encoder": "run", "probe.start_from": eccl}),
        Encoder(RANDOM_VOLTAGE, {"probe.encoder": "random", **VOLTAGE}),
        Encoder(REAL_VOLTAGE, {**own, **VOLTAGE}),
    ]


def settings(chosen: list[Encoder]) -> list[Setting]:
    """Linear probe and fine-tunings of the protocol; the encoders with voltage have the main setting only."""
    found = [Setting(MEASUREMENTS, "linear probe", share) for share in (1.0, *SHARES)]
    for encoder in chosen:
        found += [Setting(encoder.name, "linear probe"), Setting(encoder.name, "fine-tuned", 1.0, MAIN)]
        if encoder.name not in (RANDOM_VOLTAGE, REAL_VOLTAGE):
            found += [Setting(encoder.name, "linear probe", share) for share in SHARES]
            found += [Setting(encoder.name, "fine-tuned", 1.0, updates) for updates in UPDATES]
            found += [Setting(encoder.name, "fine-tuned", share, MAIN) for share in SHARES]
    return found


def planned() -> list[tuple[str, str, Setting, Setting]]:
    """The planned comparisons: question, outcome, setting, other."""

    def tuned(name: str) -> Setting:
        return Setting(name, "fine-tuned", 1.0, MAIN)

    return [
        ("pre-training on real ECGs helps", "superclass", tuned(REAL), tuned(RANDOM)),
        ("alignment with synthetic hearts carries over", "superclass", tuned(ECCL), tuned(SYNTHETIC)),
        ("synthetic and real pre-training exceeds real", "superclass", tuned(BOTH), tuned(REAL)),
        ("the voltage helps for hypertrophy", "HYP", tuned(REAL_VOLTAGE), tuned(REAL)),
        (
            "measurements exceed a random encoder",
            "superclass",
            Setting(MEASUREMENTS, "linear probe"),
            Setting(RANDOM, "linear probe"),
        ),
    ]


def comparisons(gathered: probe.Gathered, tasks) -> pd.DataFrame:
    """One row per planned comparison: question, outcome, one, other, difference, low, high, p, p_holm, verdict."""
    records, found = [], []
    for question, outcome, one, other in planned():
        found.append(probe.difference(gathered, tasks, outcome, one, other))
        names = {"question": question, "outcome": outcome, "one": one.encoder, "other": other.encoder}
        limits = {"difference": found[-1].value, "low": found[-1].low, "high": found[-1].high, "p": found[-1].p}
        records.append(names | limits)
    frame = pd.DataFrame(records)
    frame["p_holm"] = holm(frame["p"].to_numpy())
    return frame.assign(verdict=[verdict(each, p) for each, p in zip(found, frame["p_holm"], strict=True)])


def reconstruct(config: Config) -> pd.DataFrame:
    """Train the longer autoencoder on folds 1 to 8 and draw six reconstructions of fold 10. Returns its r2_masked."""
    run = stages.train(config, "pretrain_ecg", print_line)
    data = probe.open_ecgs(config)
    rows = data.index("test")[:: len(data.index("test")) // 6][:6]
    examples = features.reconstructions(config, data, rows)
    for k in range(2):
        figure = figures.mae_reconstructions(examples[3 * k : 3 * k + 3], rate=config.view.ecg_rate)
        write_figure(figure, FOLDER, f"reconstruction_{k + 1}")
    return pd.DataFrame([{"r2_masked": run.metrics["r2_masked"], "updates": run.metrics["updates"]}])


def _save(frame: pd.DataFrame, name: str) -> None:
    write_atomically(FOLDER / name, lambda path: frame.to_csv(path, index=False, float_format="%.4f"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, nargs="+", default=list(FOLDS))
    parser.add_argument("--no-reconstruction", action="store_true")
    parsed = parser.parse_args()
    config, chosen = trial_config(), encoders()
    listed = settings(chosen)
    for fold in parsed.folds:
        own = probe.fold_config(config, fold)
        grid.run_jobs(stages.waves(probe.specs(own, chosen, listed)), own, print_line)
    tasks = own_targets(TASKS, probe.open_ecgs(config)).own
    gathered = probe.gather(config, parsed.folds, chosen, listed)
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = probe.table(gathered, tasks, OUTCOMES)
    _save(table, "ptbxl.csv")
    _save(comparisons(gathered, tasks), "comparisons.csv")
    patients = len(np.unique(np.concatenate([fold.patients for fold in gathered[listed[0]]])))
    n = sum(len(fold.patients) for fold in gathered[listed[0]])
    shown = table[(table["outcome"] == "superclass") & ~table["encoder"].str.endswith("voltage")]
    size = {"n": n, "patients": patients, "folds": len(parsed.folds)}
    write_json(FOLDER / "ptbxl.json", size)
    write_figure(figures.probe_curves(shown, outcome="macro AUC of five superclasses", **size), FOLDER, "probe")
    if not parsed.no_reconstruction:
        _save(reconstruct(config), "reconstruction.csv")
    print(pd.read_csv(FOLDER / "comparisons.csv").to_string(index=False))


if __name__ == "__main__":
    main()
