"""Downstream evaluation of ECG encoders on the user's own labels: linear probe and fine-tuning, over folds.

docs/real_ecg.md describes the trial on PTB-XL. ``specs`` lists the runs of a fold, ``gather`` collects predictions for
the test recordings of all folds, and ``table`` and ``differences`` score them with intervals over patients.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import with_changes
from eccl_lib.config.schema import Config
from eccl_lib.data import ecg_measurements, open_cohort
from eccl_lib.data.cohort import Cohort
from eccl_lib.data.own_labels import OwnTask
from eccl_lib.data.small_counts import ALL_SHOWN, Limit
from eccl_lib.io.progress import silent
from eccl_lib.metrics import bootstrap, comparison
from eccl_lib.metrics.comparison import Difference
from eccl_lib.metrics.linear import ridge_on_known
from eccl_lib.models.public import ADAPTERS, PublicEncoder, load_public
from eccl_lib.pipeline.stages import RunSpec, spec
from eccl_lib.tasks import own_targets
from eccl_lib.training.datasets import predict_in_batches

MEASUREMENTS = "measurements"
Evaluation = Literal["linear probe", "fine-tuned"]
PUBLIC_BATCH = 16  # recordings; a public model can read several windows of each


@dataclass(frozen=True)
class Encoder:
    """An encoder under a name. changes: of the config; empty for random weights. public: a public model instead.

    cache: features of a public model, by cohort and participants.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    public: PublicEncoder | None = None
    cache: dict[tuple, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def describe(self) -> str:
        """Licence, source and checksum of a public model in one line."""
        adapter = self.public.adapter
        return f"{self.name}: {adapter.name} ({adapter.licence}; {adapter.source}), sha256 {self.public.sha256}"


_RUN = re.compile("[0-9a-f]{8}")


def parse(word: str, device: torch.device | str = "cpu") -> Encoder:
    """Encoder of ``--encoders``: random, mae, a run's last eight characters, mae+RUN, ADAPTER=PATH, any as NAME=...

    mae: this cohort's masked autoencoder; mae+RUN: its training starts from the weights of RUN; ADAPTER=PATH: a public
    model with the weights of a file, which are read now. device: of a public model. Raises ConfigError on another word,
    MissingError or UnreadableError where the weights are absent or do not fit.
    """
    if public := _public(word):
        name, adapter, path = public
        if not path:
            raise ConfigError(f"{word} names no file; write {adapter}=PATH with the path of the downloaded weights")
        return Encoder(name, public=load_public(adapter, Path(path), torch.device(device)))
    name, _, what = word.rpartition("=")
    kind, _, run = what.partition("+")
    if what in ("random", "mae"):
        changes = {"probe.encoder": what}
    elif not _RUN.fullmatch(run if kind == "mae" else what):
        known = f"random, mae, mae+RUN, RUN, or {' or '.join(f'{name}=PATH' for name in ADAPTERS)}"
        cure = "RUN is the last eight characters of a finished run's folder, such as 1a2b3c4d"
        raise ConfigError(f"{what!r} is no encoder; choose {known}. {cure}.")
    elif kind == "mae":
        changes = {"probe.encoder": "mae", "mae.start_from": run}
    else:
        changes = {"probe.encoder": "run", "probe.start_from": what}
    return Encoder(name or what, changes)


def _public(word: str) -> tuple[str, str, str] | None:
    """Name, adapter and path of ADAPTER=PATH or NAME=ADAPTER=PATH; None for another word. A path can contain "="."""
    first, _, rest = word.partition("=")
    second, _, last = rest.partition("=")
    if second in ADAPTERS or (last and first not in ADAPTERS):
        return first, second, last
    # A run has neither of these characters in its name, so that a misspelt adapter is found here.
    return (first, first, rest) if first in ADAPTERS or "/" in rest or "." in rest else None


@dataclass(frozen=True)
class Setting:
    """One evaluation of one encoder. share: of the labels; updates: of fine-tuning, 0 for the linear probe."""

    encoder: str
    evaluation: Evaluation
    share: float = 1.0
    updates: int = 0


def list_settings(encoders: list[Encoder], shares: tuple[float, ...], updates: tuple[int, ...]) -> list[Setting]:
    """The linear probe of each encoder and of the measurements, then the fine-tunings, for every share of labels.

    A public model has no fine-tunings.
    """
    found = [Setting(MEASUREMENTS, "linear probe", share) for share in shares]
    for encoder in encoders:
        found += [Setting(encoder.name, "linear probe", share) for share in shares]
        counts = () if encoder.public else updates
        found += [Setting(encoder.name, "fine-tuned", share, count) for share in shares for count in counts]
    return found


@dataclass(frozen=True)
class Fold:
    """Predictions for the test recordings of one fold. measured, predicted: (n, columns); patients: (n,)."""

    patients: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray


def fold_config(config: Config, fold: int) -> Config:
    """The config with another test fold."""
    return with_changes(config, {"store.test_fold": fold})


def run_spec(config: Config, encoder: Encoder, share: float = 1.0, updates: int = 0) -> RunSpec:
    """The fine-tuning of an encoder; with 0 updates, on the schedule of the config.

    Raises ConfigError for a public model, or if the updates do not fill the epochs.
    """
    if encoder.public:
        raise ConfigError(f"{encoder.name} is a public model; it is compared by its linear probe only")
    if updates % config.probe.epochs:
        raise ConfigError(f"{updates} updates are no multiple of probe.epochs ({config.probe.epochs})")
    schedule = {"probe.steps_per_epoch": updates // config.probe.epochs} if updates else {}
    return spec(with_changes(config, {**encoder.changes, "probe.label_share": share, **schedule}), "probe")


def specs(config: Config, encoders: Iterable[Encoder], settings: Iterable[Setting]) -> list[RunSpec]:
    """The runs of one fold: fine-tunings, and the autoencoders that the linear probes read."""
    by_name, wanted = {encoder.name: encoder for encoder in encoders}, []
    for setting in settings:
        if setting.encoder == MEASUREMENTS:
            continue
        if by_name[setting.encoder].public and setting.evaluation == "linear probe":
            continue
        if setting.evaluation == "fine-tuned":
            wanted.append(run_spec(config, by_name[setting.encoder], setting.share, setting.updates))
        else:
            wanted += run_spec(config, by_name[setting.encoder]).parents()
    return list(dict.fromkeys(wanted))


def predict(config: Config, data: Cohort, encoder: Encoder | None, setting: Setting) -> Fold:
    """Predictions of one setting for the test recordings of the config's fold. encoder: None for measurements."""
    targets, test = own_targets(config.probe.tasks, data), data.index("test")
    patients = data.table["patient" if "patient" in data.table else "eid"].to_numpy()[test]
    measured = targets.values[test].astype(np.float64)
    if setting.evaluation == "fine-tuned":
        run = run_spec(config, encoder, setting.share, setting.updates).run(data)
        scores = run.predictions.filter(regex="^score_").to_numpy(np.float64)  # in the order of the outputs
        return Fold(patients, measured, scores)
    if encoder is None:
        features = ecg_measurements.measure(data.ecg_view(config.view), config.view.ecg_rate)
    elif encoder.public:
        features = public_features(encoder, data)
    else:
        features = initial_features(run_spec(config, encoder), data)
    train = run_spec(with_changes(config, {"probe.encoder": "random"}), Encoder("random"), setting.share).job(data)
    standard = targets.standardize().numpy().astype(np.float64)
    predicted = ridge_on_known(features, standard, train.rows("train"), data.index("val"))[test]
    return Fold(patients, measured, targets.to_units(predicted))


def initial_features(own: RunSpec, data: Cohort) -> np.ndarray:
    """Class token and mean token of the encoder at the start of a fine-tuning, (N, 2 D)."""
    job = own.job(data)
    encoder, ecgs = job.model.encoder.eval(), job.datasets[0]

    def tokens(rows: np.ndarray):
        found = encoder.encode(encoder.tokens(ecgs.of(rows)))  # (B, 1 + L, D)
        return found[:, [0]].flatten(1), found[:, 1:].mean(dim=1)

    def features(rows: np.ndarray):
        return torch.cat(tokens(rows), dim=1)

    return predict_in_batches(features, np.arange(len(data)), source=ecgs).astype(np.float64)


def public_features(encoder: Encoder, data: Cohort) -> np.ndarray:
    """Features of a public model for all recordings, (N, width); computed once for all folds and shares of labels."""
    key = (data.folder, *data.table["eid"])  # without the fingerprint, which differs between folds

    def features(rows: np.ndarray) -> torch.Tensor:
        return encoder.public.features(torch.from_numpy(data.ecg[rows]) / 1000)  # uV to mV

    if key not in encoder.cache:
        found = predict_in_batches(features, np.arange(len(data)), PUBLIC_BATCH)
        encoder.cache[key] = found.astype(np.float64)
    return encoder.cache[key]


def columns_of(tasks: Sequence[OwnTask], name: str) -> tuple[bool, list[int]]:
    """Whether an outcome is binary, and its columns. name: of a task, else of one column of a multi-label task."""
    starts = np.cumsum([0, *(len(task.columns) for task in tasks)])
    for task, first in zip(tasks, starts, strict=False):
        if name == task.name:
            return task.is_binary, list(range(first, first + len(task.columns)))
    for task, first in zip(tasks, starts, strict=False):
        if name in task.columns:
            return task.is_binary, [int(first) + task.columns.index(name)]
    raise ConfigError(f"no task and no column is named {name}")


@dataclass(frozen=True)
class Score:
    """The score of a setting on an outcome: its value, and that of each draw of patients (1, B)."""

    value: float
    drawn: np.ndarray


def score(folds: Sequence[Fold], tasks: Sequence[OwnTask], outcome: str, draws: int = bootstrap.DRAWS) -> Score:
    """Mean over folds of the AUC (mean over columns) or r of an outcome; patients are drawn, not recordings."""
    binary, columns = columns_of(tasks, outcome)
    names, index = np.unique(np.concatenate([fold.patients for fold in folds]), return_inverse=True)
    places = np.split(index, np.cumsum([len(fold.patients) for fold in folds])[:-1])
    parts = [np.ones((len(names), 1)), *bootstrap.draws(len(names), draws)]
    values = np.concatenate([_over_folds(folds, places, weights, binary, columns) for weights in parts])
    return Score(float(values[0]), values[None, 1:])


def _over_folds(
    folds: Sequence[Fold], places: Sequence[np.ndarray], weights: np.ndarray, binary: bool, columns: Sequence[int]
) -> np.ndarray:
    """Mean over folds in each draw, (B,). weights: (patients, B)."""
    found = []
    for fold, place in zip(folds, places, strict=True):
        own, by_column = weights[place], []
        for column in columns:
            present = ~np.isnan(fold.measured[:, column])
            predicted, measured = fold.predicted[present, column], fold.measured[present, column]
            if binary:
                by_column.append(bootstrap.resampled_auc(predicted, measured > 0.5, own[present]))
            else:
                by_column.append(bootstrap.resampled_r(predicted[None, :, None], measured[:, None], own[present])[:, 0])
        found.append(_mean_of_defined(np.stack(by_column)))
    return _mean_of_defined(np.stack(found))


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN, which stands for a fold or draw with one class."""
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    return np.divide(np.nan_to_num(values).sum(axis=0), count, out=np.full(count.shape, np.nan), where=count > 0)


def absolute_error(folds: Sequence[Fold], tasks: Sequence[OwnTask], outcome: str) -> float:
    """Mean absolute error of a continuous outcome over all recordings with a value, in its unit."""
    _, (column,) = columns_of(tasks, outcome)
    errors = np.concatenate([np.abs(fold.predicted[:, column] - fold.measured[:, column]) for fold in folds])
    return float(np.nanmean(errors))


Gathered = Mapping[Setting, Sequence[Fold]]


def open_ecgs(config: Config) -> Cohort:
    """The config's cohort, which needs no cines."""
    return open_cohort.load(config, silent, needs=("ecg",))


def gather(
    config: Config, folds: Sequence[int], encoders: Iterable[Encoder], settings: Sequence[Setting]
) -> dict[Setting, list[Fold]]:
    """Predictions of every setting in every fold, from finished runs. Fold 0 is the config's own split."""
    by_name = {encoder.name: encoder for encoder in encoders}
    gathered: dict[Setting, list[Fold]] = {setting: [] for setting in settings}
    for fold in folds:
        own = fold_config(config, fold)
        data = open_ecgs(own)
        for setting in settings:
            gathered[setting].append(predict(own, data, by_name.get(setting.encoder), setting))
    return gathered


def is_withheld(folds: Sequence[Fold], tasks: Sequence[OwnTask], outcome: str, limit: Limit) -> bool:
    """Whether an outcome was measured in few recordings of the test folds, or has few cases or controls there."""
    binary, columns = columns_of(tasks, outcome)
    measured = np.concatenate([fold.measured[:, columns] for fold in folds])
    known = [values[~np.isnan(values)] for values in measured.T]
    return any(limit.hides(len(values)) or (binary and limit.hides_class(values > 0.5)) for values in known)


def table(
    gathered: Gathered, tasks: Sequence[OwnTask], outcomes: Sequence[str], limit: Limit = ALL_SHOWN
) -> pd.DataFrame:
    """One row per setting and outcome: encoder, evaluation, share, updates, outcome, score, low, high, mae.

    The numbers of an outcome with small counts are missing.
    """
    records = []
    for setting, folds in gathered.items():
        for outcome in outcomes:
            found = score(folds, tasks, outcome)
            interval = comparison.over_participants_and_seeds(np.array([found.value]), found.drawn)
            binary, _ = columns_of(tasks, outcome)
            error = np.nan if binary else absolute_error(folds, tasks, outcome)
            limits = {"score": found.value, "low": interval.low, "high": interval.high, "mae": error}
            if is_withheld(folds, tasks, outcome, limit):
                limits = dict.fromkeys(limits, np.nan)
            records.append(vars(setting) | {"outcome": outcome} | limits)
    return pd.DataFrame(records)


def difference(gathered: Gathered, tasks: Sequence[OwnTask], outcome: str, one: Setting, other: Setting) -> Difference:
    """Score of one setting minus that of another on the same draws of patients."""
    first, second = (score(gathered[setting], tasks, outcome) for setting in (one, other))
    value = np.array([first.value - second.value])
    return comparison.over_participants_and_seeds(value, first.drawn - second.drawn)
