"""The scales, each given by its changes to the defaults of ``schema.py``."""

from typing import Any


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields with dotted names: ``{"align": {"epochs": 3}}`` gives ``{"align.epochs": 3}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


# Runs in minutes on a laptop: small models, coarser inputs, a higher learning rate for fewer updates.
DEMO = flatten(
    {
        # 2,424 participants for training, 606 for validation, 2,020 for the test; more cases than in UK Biobank.
        "synthetic": {"participants": 5_050, "split": (12, 3, 10), "file_participants": 60}
        | {"slices": 3, "rows": 96, "columns": 88}
        | {"prevalence_i21": 0.10, "prevalence_i42": 0.08, "prevalence_i48": 0.12, "prevalence_i50": 0.10},
        "store": {"clip_frames": 25, "clip_size": 56},
        # Per-lead minimum and maximum would shift every lead; the gain gives the autoencoder a target of variance 1.
        "view": {"ecg_rate": 100, "clip_frames": 25, "clip_size": 56, "ecg_scaling": "maxabs", "ecg_gain": 5.0},
        # A short training has too few updates for many reversed ECGs.
        "augment": {"ecg_reverse_probability": 0.1, "ecg_sign_probability": 0.1},
        # The paper's tokens of one lead, 1 s instead of 200 ms: 120 tokens instead of 600.
        "ecg": {"patch_samples": 100, "width": 64, "depth": 2, "heads": 2, "dropout": 0.0},
        "cmr": {"patch": 8, "width": 48, "depths": (2, 2), "heads": (2, 4)}
        | {"dropout": 0.0, "attention_dropout": 0.0, "drop_path": 0.1},
        "mae": {"decoder_width": 64, "decoder_depth": 1, "decoder_heads": 2, "beta2": 0.95}
        | {"lr": 2e-3, "epochs": 12, "steps_per_epoch": 200, "warmup_epochs": 2, "batch": 32},
        "cmr_training": {"lr": 1.5e-3, "epochs": 5, "steps_per_epoch": 160, "warmup_epochs": 1, "batch": 32}
        | {"disease_steps_per_epoch": 40, "disease_lr": 5e-4},
        "align": {"lr": 1e-3, "epochs": 4, "steps_per_epoch": 128, "warmup_epochs": 1, "batch": 16},
        "third_stage": {"lr": 1e-4, "epochs": 2, "steps_per_epoch": 30, "warmup_epochs": 0, "batch": 32},
        "cmr_resnet": {"width": 16, "layers": (1, 1, 1, 1), "stem": "deep"},
        "cmr_vit": {"patch": 8, "width": 64, "depth": 2, "heads": 2, "dropout": 0.0},
        "cmae": {"lr": 1e-3, "epochs": 4, "steps_per_epoch": 48, "warmup_epochs": 1, "batch": 32}
        | {"ecg_width": 8, "ecg_blocks": 4, "cmr_width": 16, "cmr_growth": 8, "cmr_layers": (2, 2)},
        "variants": {"patch_samples": (100, 200), "widths": (64,), "heads": (2,), "depths": (2,)},
        "runtime": {"build_missing": True, "plan": False},
    }
)

# Hours on two cores: more participants and more updates; the models are the demo's. docs/study.md is the protocol.
STUDY = DEMO | flatten(
    {
        # 8,000 participants for training, 2,000 for validation, 5,000 for the test; none of them is in the demo.
        "synthetic": {"seed": 1, "participants": 15_000, "split": (8, 2, 5), "file_participants": 0},
        "mae": {"epochs": 20, "steps_per_epoch": 500, "warmup_epochs": 4},
        "cmr_training": {"epochs": 10, "steps_per_epoch": 200, "warmup_epochs": 2}
        | {"disease_steps_per_epoch": 0, "disease_lr": 8e-5},
        "align": {"epochs": 10, "steps_per_epoch": 200, "warmup_epochs": 2, "batch": 32},
        "cmae": {"epochs": 10, "steps_per_epoch": 200, "warmup_epochs": 2},
        "variants": {"patch_samples": (50, 100, 200), "widths": (32, 64, 128), "heads": (1, 2, 4), "depths": (1, 2, 4)}
        | {"seeds": 3},
        "runtime": {"build_missing": False, "plan": True},
    }
)

# Raw files of 41,519 synthetic participants would take 880 GB and 24 core hours in addition to the store.
PAPER = {"synthetic.file_participants": 0}

# Where the authors' code differs from the paper, at the paper's sizes. Two values are unknown: the weight of the
# correlation term is taken from Turgut et al. 2023, the weight decay of the alignment from the authors' autoencoder.
AUTHORS = PAPER | flatten(
    {
        "store": {"slice_choice": "rv_max", "crop": "fixed_80px"},
        "augment": {"ecg_crop_probability": 0.0, "cmr_flip_probability": 0.5},
        "mae": {"epochs": 400, "loss_on": "all", "correlation_weight": 0.1, "beta2": 0.95, "weight_decay": 0.05},
        "cmr_training": {"lr": 3.2e-5, "chunks": "fixed"},
        "align": {"batch": 32, "weight_decay": 0.05, "patience": 10, "chunks": "fixed"},
        "third_stage": {"enabled": True},
    }
)
DELTAS = {"demo": DEMO, "study": STUDY, "paper": PAPER, "authors": AUTHORS}
