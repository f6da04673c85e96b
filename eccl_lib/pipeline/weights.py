"""Weights of finished runs: as the initial weights of another training, or frozen."""

from torch import nn

from eccl_lib.config import command_line, load
from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.schema import Config
from eccl_lib.data import splits
from eccl_lib.io import paths
from eccl_lib.training.runs import Run


def frozen(model: nn.Module, run: Run) -> nn.Module:
    """The model with the weights of a finished run, in eval mode (no dropout, no drop path) and without gradient."""
    model.load_state_dict(run.weights())
    return model.requires_grad_(False).eval()


def load_initial_weights(model: nn.Module, run: Run | None, prefix: str = "") -> nn.Module:
    """The model with the weights of a finished run, or of its part ``prefix``; unchanged where run is None.

    Raises ConfigError where the run's model has another shape.
    """
    if run is None:
        return model
    part = model.get_submodule(prefix) if prefix else model
    weights, own = run.weights(prefix), part.state_dict()
    wrong = sorted(own.keys() ^ weights.keys()) or [name for name in own if own[name].shape != weights[name].shape]
    if wrong:
        raise ConfigError(
            f"{run.name} does not fit this model: {wrong[0]} has another shape. Use the same view, encoder and decoder "
            "for both."
        )
    part.load_state_dict(weights)
    return model


# Section of the config with the field start_from.
SECTIONS = {"pretrain_ecg": "mae", "pretrain_cmr": "cmr_training", "probe": "probe", "probe_cmr": "probe"}
# Stages whose runs can give the initial weights of a stage.
SOURCES = {"pretrain_ecg": ("pretrain_ecg",), "pretrain_cmr": ("pretrain_cmr",)}
SOURCES |= {"probe": ("pretrain_ecg", "align", "finetune", "probe"), "probe_cmr": ("pretrain_cmr", "probe_cmr")}


def initial_weights_run(config: Config, stage: str) -> Run | None:
    """The run of any cohort and scale whose weights initialise this stage (``start_from``), or None.

    stage: of ``SECTIONS``. The config holds the first eight characters of its fingerprint, which thus enter the
    fingerprint of the new run. Raises MissingError where no such run is finished, ConfigError where it has seen test
    participants of this config or other ECGs than this config gives.
    """
    section = SECTIONS[stage]
    prefix = getattr(config, section).start_from
    if not prefix:
        return None
    matches = [run for name in SOURCES[stage] for run in Run.every(name) if run.fingerprint.startswith(prefix)]
    if len({run.fingerprint for run in matches}) != 1:
        count = "no finished run" if not matches else f"{len(matches)} runs"
        raise MissingError(
            f"{section}.start_from is {prefix}: {count} of {' or '.join(SOURCES[stage])} under {paths.runs_root()} end "
            "with these characters."
        )
    _check_other_split(matches[0], config, section)
    if stage in ("pretrain_ecg", "probe"):
        _check_same_ecgs(matches[0], config, section)
    return matches[0]


def _check_other_split(run: Run, config: Config, section: str) -> None:
    """Raise ConfigError where the run, or one that it started from, was trained on test participants of the config."""
    own = load.of_run(run.config)
    if own.cohort == config.cohort and _people(own) == _people(config) and _split(own) != _split(config):
        raise ConfigError(
            f"{section}.start_from: {run.name} was trained on another split of {config.cohort}, which contains test "
            "participants of this one. Train it on this split, or use a run of another cohort."
        )
    started = {getattr(own, name).start_from for name in SECTIONS.values()} - {""}
    stages = {name for names in SOURCES.values() for name in names} if started else ()
    for earlier in (run for name in stages for run in Run.every(name) if run.fingerprint[:8] in started):
        _check_other_split(earlier, config, section)


def _people(config: Config) -> int:
    """What decides who is in a cohort of one name: the seed of a synthetic one."""
    return config.synthetic.seed if config.cohort == "synthetic" else 0


def _split(config: Config) -> tuple[object, ...]:
    """What decides the split of a cohort."""
    return config.store.split_salt, config.store.test_fold, splits.parts_of(config)


def _check_same_ecgs(run: Run, config: Config, section: str) -> None:
    """Raise ConfigError where the run's ECGs had another scaling, or not all leads of this config."""
    seen, wanted = load.of_run(run.config).view, config.view
    names = ["ecg_scaling", "ecg_gain", *(["ecg_full_scale_mv"] if seen.ecg_scaling == "fixed" else [])]
    names += [] if {*wanted.ecg_leads} <= {*seen.ecg_leads} else ["ecg_leads"]
    other = [name for name in names if getattr(seen, name) != getattr(wanted, name)]
    if other:
        cure = " ".join(command_line.setting(f"view.{name}", getattr(seen, name)) for name in other)
        raise ConfigError(
            f"{section}.start_from: {run.name} was trained on ECGs with another {' and '.join(other)} than this config "
            f"gives. Use the same: {cure}"
        )
