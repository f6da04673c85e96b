"""The rows of Table 1 as data, under fixed keys."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from eccl_lib import command, stages
from eccl_lib.config import Config, ConfigError
from eccl_lib.data import cohort
from eccl_lib.runs import Run
from eccl_lib.stages import Arm, Log
from eccl_lib.storage import MissingError


@dataclass(frozen=True)
class Method:
    """One row. arm: how its ECG encoder is trained; None for the reference that reads CMR."""

    key: str
    row: str  # the paper's name
    arm: Arm | None


METHODS = {
    method.key: method
    for method in (
        Method("scratch", "W/O SSL; W/O CL", Arm("scratch", ecg_pretraining=False, contrast=False)),
        Method("ssl", "W/ SSL; W/O CL", Arm("ssl", ecg_pretraining=True, contrast=False)),
        Method("cl", "W/O SSL; W/ CL", Arm("cl", ecg_pretraining=False, contrast=True)),
        Method("eccl", "ECCL", stages.ECCL),
        Method("cmr_sup", "CMR_Sup", None),
    )
}


def run(config: Config, key: str, log: Log = print) -> Run:
    """Train one row on one task, or return its finished run. Raises ConfigError on an unknown key."""
    if key not in METHODS:
        raise ConfigError(f"method is {key!r}; choose one of {', '.join(METHODS)}")
    arm = METHODS[key].arm
    if arm is None:
        return stages.pretrain_cmr(config, log)
    return (stages.align if arm.contrast else stages.finetune)(config, arm, log)


def expected(config: Config, key: str, data: cohort.Cohort) -> Run:
    """The run that ``run`` makes or finds, whether it is there or not."""
    arm = METHODS[key].arm
    return stages.cmr_run(config, data) if arm is None else stages.arm_run(config, arm, data)


def finished(config: Config, key: str, log: Log = print) -> Run:
    """For those who only read a run: trained now where the scale allows, else MissingError with the command."""
    found = expected(config, key, cohort.load(config, log))
    if not found.done and not config.runtime.build_missing:
        line = f"python -m eccl_lib.methods {key} {command.line(config)}"
        raise MissingError(f"{found.name} has not been trained. Train it first:\n  {line}")
    return run(config, key, log)


def main(arguments: list[str] | None = None) -> None:
    """``python -m eccl_lib.methods eccl --scale ... --disease ... --seed ...``."""
    parser = argparse.ArgumentParser(
        prog="python -m eccl_lib.methods", description="Train one row of Table 1 on one task."
    )
    parser.add_argument("method", choices=METHODS)
    command.add_parameters(parser)
    parsed = parser.parse_args(arguments)
    result = run(command.config(parsed), parsed.method)
    metrics = result.metrics
    print(f"{result.name}: {metrics['metric']} {metrics['test']:.4f} on {metrics['n']['test']} test participants")


if __name__ == "__main__":
    command.run(main)
