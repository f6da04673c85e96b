"""The rows of Table 1 as data, under fixed keys."""

from dataclasses import dataclass

from eccl_lib.config.method_schema import ECCL, Arm


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
ARMS = {key: method.arm for key, method in METHODS.items() if method.arm}
