"""The rows of Table 1 as data, under fixed keys."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from eccl_lib.config import command_line
from eccl_lib.config.errors import ConfigError, MissingError
from eccl_lib.config.method_schema import ECCL, Arm, with_cmr
from eccl_lib.config.schema import Config
from eccl_lib.data import cohort, open_cohort
from eccl_lib.io.progress import Log
from eccl_lib.pipeline import dependencies, stages, torchrun
from eccl_lib.training.runs import Run


@dataclass(frozen=True)
class Method:
    """One row. arm: how its ECG model is trained; None for the reference that reads CMR."""

    row: str  # the paper's name
    arm: Arm | None

    @property
    def facts(self) -> dict[str, str]:
        """Encoder, pre-training, objective and what is frozen, in words."""
        if self.arm is None:
            return {"encoder": "Swin on CMR", "pretraining": "none", "objective": "task", "frozen": "nothing"}
        encoder = {"vit": "ViT on ECG", "convolution": "convolutions on ECG"}[self.arm.encoder]
        pretraining = {"none": "none", "mae": "masked autoencoder", "cmae": "cross-modal autoencoder"}
        objective = {"task": "task", "clip": "task + CLIP loss", "triplet": "task + triplet loss"}
        frozen = {None: "nothing", "swin": "CMR Swin", "resnet50": "CMR ResNet50", "vit": "CMR ViT"}
        return {
            "encoder": encoder,
            "pretraining": pretraining[self.arm.pretraining],
            "objective": objective[self.arm.objective],
            "frozen": frozen[self.arm.teacher],
        }


# In the order of Table 1.
METHODS = {
    "cmae": Method("CMAE", Arm("cmae", encoder="convolution", pretraining="cmae")),
    "resnet50": Method("ResNet50", Arm("resnet50", pretraining="mae", objective="clip", teacher="resnet50")),
    "vit": Method("ViT", Arm("vit", pretraining="mae", objective="clip", teacher="vit")),
    "triplet": Method("Triplet", Arm("triplet", pretraining="mae", objective="triplet", teacher="swin")),
    "scratch": Method("W/O SSL; W/O CL", Arm("scratch")),
    "ssl": Method("W/ SSL; W/O CL", Arm("ssl", pretraining="mae")),
    "cl": Method("W/O SSL; W/ CL", Arm("cl", objective="clip", teacher="swin")),
    "eccl": Method("ECCL", ECCL),
    "cmr_sup": Method("CMR_Sup", None),
}


def run(config: Config, key: str, log: Log = print) -> Run:
    """Train one row on one task, or return its finished run. Raises ConfigError on an unknown key."""
    if key not in METHODS:
        raise ConfigError(f"method is {key!r}; choose one of {', '.join(METHODS)}")
    arm = METHODS[key].arm
    if arm is None:
        return stages.pretrain_cmr(with_cmr(config, "swin"), log)
    return stages.train_arm(config, arm, log)


def expected(config: Config, key: str, data: cohort.Cohort) -> Run:
    """The run that ``run`` makes or finds, whether it is there or not."""
    arm = METHODS[key].arm
    if arm is None:
        return dependencies.cmr_run(with_cmr(config, "swin"), data)
    return dependencies.result_run(config, arm, data)


def finished(config: Config, key: str, log: Log = print) -> Run:
    """For those who only read a run: trained now where the scale allows, else MissingError with the command."""
    found = expected(config, key, open_cohort.load(config, log))
    if not found.done and not config.runtime.build_missing:
        line = f"python -m eccl_lib.pipeline.methods {key} {command_line.line(config)}"
        raise MissingError(f"{found.name} has not been trained. Train it first:\n  {line}")
    return run(config, key, log)


def main(arguments: list[str] | None = None) -> None:
    """``python -m eccl_lib.pipeline.methods eccl --scale ... --disease ... --seed ...``."""
    parser = argparse.ArgumentParser(
        prog="python -m eccl_lib.pipeline.methods", description="Train one row of Table 1 on one task."
    )
    parser.add_argument("method", choices=METHODS)
    command_line.add_parameters(parser)
    parsed = parser.parse_args(arguments)
    torchrun.command_line(lambda config, log: run(config, parsed.method, log), parsed)


if __name__ == "__main__":
    command_line.run(main)
