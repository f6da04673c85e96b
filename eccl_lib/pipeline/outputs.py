"""What a finished model needs beside its config and weights to be used elsewhere: names and scale of its outputs."""

from typing import Any

from eccl_lib.config.schema import Config
from eccl_lib.data.cohort import Cohort
from eccl_lib.tasks import OwnTargets, Targets, own_targets, targets_of
from eccl_lib.training.runs import Run

WITHOUT_TARGETS = ("pretrain_ecg", "pretrain_pair", "autoencode")


def describe(run: Run, config: Config, data: Cohort) -> dict[str, Any]:
    """Content of a run's outputs.json: stage, variant, task, and of each output its name, mean, SD and kind.

    Mean and SD are those of the training participants for a trait, 0 and 1 for a disease; binary says whether an
    output is a logit. A stage without targets has no outputs.
    """
    facts = {"stage": run.stage, "variant": run.variant, "task": run.task, "cohort": config.cohort}
    targets = _targets(run, config, data)
    if targets is None:
        return facts | {"names": [], "centre": [], "spread": [], "binary": []}
    outputs = targets.task.outputs
    binary = targets.binary.tolist() if isinstance(targets, OwnTargets) else [targets.task.is_disease] * outputs
    scale = {name: [float(x) for x in getattr(targets, name)] for name in ("centre", "spread")}
    return facts | {"names": list(targets.task.names), "binary": binary, **scale}


def _targets(run: Run, config: Config, data: Cohort) -> Targets | OwnTargets | None:
    if run.stage in WITHOUT_TARGETS:
        return None
    return own_targets(config.probe.tasks, data) if run.stage.startswith("probe") else targets_of(config, data)
