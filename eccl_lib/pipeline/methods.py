"""The rows of Table 1 as data, under fixed keys."""

from dataclasses import dataclass
from typing import Any

from eccl_lib.config import registry
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.method_schema import ECCL, Arm
from eccl_lib.pipeline.steps import OBJECTIVES, AlignmentStep


@dataclass(frozen=True)
class Method:
    """One row. arm: how its ECG model is trained; None for the reference row, which reads CMR."""

    row: str  # name in the paper
    arm: Arm | None

    @property
    def facts(self) -> dict[str, str]:
        """Encoder, pre-training, objective and frozen encoder, in words."""
        if self.arm is None:
            return {"encoder": "Swin on CMR", "pretraining": "none", "objective": "task", "frozen": "nothing"}
        known = {"vit": "ViT", "convolution": "convolutions"}, {"swin": "Swin", "resnet50": "ResNet50", "vit": "ViT"}
        pretraining = {"none": "none", "mae": "masked autoencoder", "cmae": "cross-modal autoencoder"}
        objective, teacher = {"clip": "CLIP"}.get(self.arm.objective, self.arm.objective), self.arm.teacher
        return {
            "encoder": f"{known[0].get(self.arm.encoder, self.arm.encoder)} on ECG",
            "pretraining": pretraining[self.arm.pretraining],
            "objective": "task" if objective == "task" else f"task + {objective} loss",
            "frozen": f"CMR {known[1].get(teacher, teacher)}" if teacher else "nothing",
        }


RESERVED = ("task", *OBJECTIVES)


def accepted(key: str, item: Any) -> Method:
    """A row to be registered: a ``Method``, or a subclass of ``AlignmentStep`` with its own loss, as a ``Method``.

    Raises ConfigError where it is neither, or names a part that does not exist.
    """
    if isinstance(item, type) and issubclass(item, AlignmentStep):
        if key in RESERVED:
            raise ConfigError(f"{key} is the name of a built-in objective; give the row another key")
        OBJECTIVES[key] = item
        arm = Arm(key, "vit", item.pretraining, key, item.teacher, item.unit_norm)
        return accepted(key, Method(item.row or key, arm))
    if not isinstance(item, Method):
        raise ConfigError(f"the row {key} is no Method and no subclass of AlignmentStep (docs/extending.md)")
    if any(other.row == item.row for name, other in METHODS.items() if name != key):
        raise ConfigError(f"the row {key} has the name {item.row!r}, as another row of Table 1; give it its own")
    if arm := item.arm:
        _check_arm(key, arm)
    return item


def _check_arm(key: str, arm: Arm) -> None:
    """Raise ConfigError where the parts of a row do not exist or do not fit each other."""
    registry.choose("the arm's key", arm.key, (key,))
    registry.choose(f"the encoder of the row {key}", arm.encoder, registry.ECG_ENCODERS)
    registry.choose(f"the objective of the row {key}", arm.objective, ("task", *OBJECTIVES))
    fitting = {"vit": ("none", "mae"), "convolution": ("none", "cmae")}.get(arm.encoder, ("none",))
    registry.choose(f"the pretraining of the row {key}", arm.pretraining, fitting)
    if arm.teacher is not None:
        registry.choose(f"the teacher of the row {key}", arm.teacher, registry.CMR_ENCODERS)
    if (arm.objective == "task") != (arm.teacher is None):
        raise ConfigError(f"the row {key} needs both a contrastive objective and a teacher, or neither")


# In the order of Table 1.
METHODS = registry.METHODS.define(
    {
        "cmae": Method("CMAE", Arm("cmae", encoder="convolution", pretraining="cmae")),
        "resnet50": Method("ResNet50", Arm("resnet50", pretraining="mae", objective="clip", teacher="resnet50")),
        "vit": Method("ViT", Arm("vit", pretraining="mae", objective="clip", teacher="vit")),
        "triplet": Method(
            "Triplet", Arm("triplet", pretraining="mae", objective="triplet", teacher="swin", unit_norm=False)
        ),
        "scratch": Method("W/O SSL; W/O CL", Arm("scratch")),
        "ssl": Method("W/ SSL; W/O CL", Arm("ssl", pretraining="mae")),
        "cl": Method("W/O SSL; W/ CL", Arm("cl", objective="clip", teacher="swin")),
        "eccl": Method("ECCL", ECCL),
        "cmr_sup": Method("CMR_Sup", None),
    }
)
METHODS.accept = accepted
