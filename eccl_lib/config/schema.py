"""TODO."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


Task = Literal["I21", "I42", "I48", "I50", "traits"]


DISEASES = ("I21", "I42", "I48", "I50")


TASKS = (*DISEASES, "traits")


COHORTS = ("synthetic", "ukb")


UNPAIRED = re.compile(r"(ecg|cmr)-(?!(?:synthetic|ukb)$)[a-z0-9_]{1,40}")  # ECGs or cines alone, by the user's name


def option(off: Any) -> Any:
    """A field that may be switched on. Switched off it enters no fingerprint: what was made without it stays valid."""
    return field(default=off, metadata={"option": True})


@dataclass(frozen=True)
class SyntheticConfig:
    """The embedded cohort, used where ``cohort`` is ``synthetic``."""

    participants: int = 41_519  # Sec. 3.1
    seed: int = 0  # of the cohort; training has its own
    prevalence_i21: float = 0.022  # Sec. 3.1
    prevalence_i42: float = 0.004  # Sec. 3.1
    prevalence_i48: float = 0.039  # Sec. 3.1
    prevalence_i50: float = 0.012  # Sec. 3.1
    slices: int = 10  # UK Biobank: 8 to 13
    rows: int = 208  # UK Biobank: about 208 x 187 at 1.83 mm
    columns: int = 187
    write_tree: bool = True  # False: render straight into the store


@dataclass(frozen=True)
class StoreConfig:
    """What preprocessing makes of the files (Sec. 3.1) and how coarsely it is kept."""

    slice_choice: Literal["middle", "rv_max"] = "middle"  # Sec. 3.1; rv_max: authors' code
    crop: Literal["rectangle", "fixed_80px"] = "rectangle"  # Sec. 3.1; fixed_80px: authors' code
    clip_frames: int = 50  # Sec. 3.1
    clip_size: int = 224  # pixels, Sec. 3.1
    labels: Literal["ever", "prevalent", "incident"] = "ever"  # not stated; authors' code
    split_salt: str = "eccl"  # ours; a participant's split hangs on salt and id alone


@dataclass(frozen=True)
class ViewConfig:
    """What the models read of the store."""

    ecg_rate: int = 500  # Hz, Sec. 3.1
    ecg_scaling: Literal["lead", "fixed"] = "lead"  # to [-1, 1] per lead: Sec. 3.1; fixed: ours, keeps voltage
    ecg_full_scale_mv: float = 2.0  # ours; what "fixed" maps to 1
    clip_frames: int = 50  # Sec. 3.1
    clip_size: int = 224  # Sec. 3.1


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentations of Sec. 3.1; the paper gives no probabilities."""

    ecg_crop_min: float = 0.8  # shortest part kept, the rest zero, never stretched; ours
    ecg_crop_probability: float = 0.5  # ours
    ecg_reverse_probability: float = 0.33  # authors' code
    ecg_sign_probability: float = 0.33  # authors' code
    cmr_rotation_degrees: float = 15.0  # authors' code
    cmr_scale_min: float = 0.8  # share of the area that is kept; authors' code
    cmr_flip_probability: float = 0.0  # authors' code has 0.5, which mirrors septum and lateral wall


@dataclass(frozen=True)
class EcgEncoderConfig:
    """ViT over patches of leads x samples (Sec. 3.1)."""

    patch_leads: int = 1  # Sec. 3.1
    patch_samples: int = 100  # Sec. 3.1
    width: int = 768  # Sec. 3.1
    depth: int = 12  # Sec. 3.1
    heads: int = 12  # Sec. 3.1
    dropout: float = 0.1  # authors' code


@dataclass(frozen=True)
class CmrEncoderConfig:
    """Which CMR encoder is pre-trained, and the Swin Transformer over a cine's frames as channels (Sec. 3.1)."""

    architecture: Literal["swin", "resnet50", "vit"] = "swin"  # Sec. 3.1; the others: rows ResNet50 and ViT of Table 1
    patch: int = 4  # Sec. 3.1
    window: int = 7  # Sec. 3.1
    width: int = 96  # Swin-T; authors' code
    depths: tuple[int, ...] = (2, 2, 6, 2)  # Swin-T; authors' code
    heads: tuple[int, ...] = (3, 6, 12, 24)  # Swin-T; authors' code
    dropout: float = 0.1  # authors' code
    attention_dropout: float = 0.1  # authors' code
    drop_path: float = 0.2  # authors' code


@dataclass(frozen=True)
class CmrResnetConfig:
    """CMR encoder of the row ResNet50 (He et al. 2016)."""

    width: int = 64  # ResNet50: 64, 128, 256, 512 inside the bottlenecks, four times as many outside
    layers: tuple[int, ...] = (3, 4, 6, 3)  # ResNet50; four stages
    stem: Literal["plain", "deep"] = "plain"  # one 7 x 7 to 64 channels; deep: three 3 x 3 to ``width``, far cheaper


@dataclass(frozen=True)
class CmrVitConfig:
    """CMR encoder of the row ViT (Dosovitskiy et al. 2021)."""

    patch: int = 16  # ViT-B/16; the paper does not name the size
    width: int = 768  # ViT-B
    depth: int = 12  # ViT-B
    heads: int = 12  # ViT-B
    dropout: float = 0.1  # as the Swin's


@dataclass(frozen=True)
class TrainingConfig:
    """One training: optimiser and schedule."""

    epochs: int = 200  # Sec. 3.1
    warmup_epochs: int = 40  # Sec. 3.1
    lr: float = 8e-5  # Sec. 3.1
    batch: int = 128  # not stated; authors' code has 32 to 128
    beta2: float = 0.999  # Adam's default; authors' code has AdamW with 0.95
    weight_decay: float = 0.0  # Adam, Sec. 3.1; decoupled where above 0
    patience: int = 0  # epochs without a better validation before stopping, 0: never; authors' code has 10


@dataclass(frozen=True)
class MaeConfig(TrainingConfig):
    """Masked autoencoder on the ECG (Sec. 2.1)."""

    lr: float = 8e-4  # Sec. 3.1
    mask_ratio: float = 0.8  # Sec. 3.1
    loss_on: Literal["masked", "all"] = "masked"  # Sec. 2.1; all patches: authors' code
    correlation_weight: float = 0.0  # share of 1 - r in the loss; authors' code has such a term
    decoder_width: int = 512  # authors' code
    decoder_depth: int = 8  # authors' code
    decoder_heads: int = 16  # authors' code
    start_from: str = option("")  # ours; a finished pretrain_ecg run, by the last eight signs of its folder's name


@dataclass(frozen=True)
class AlignConfig(TrainingConfig):
    """Stage two: contrast with the frozen CMR encoder, and the task on the ECG (Sec. 2.2); so the arms without."""

    shared_width: int = 256  # Sec. 3.1
    temperature: float = 0.1  # not stated; authors' code
    learn_temperature: bool = False  # ours; as CLIP (Radford et al. 2021), from ``temperature`` on
    triplet_margin: float = 2.5  # of the row Triplet; authors' code
    task_weight: float = 1.0  # lambda, Sec. 3.1
    negatives_per_positive: int = 2  # Sec. 3.1
    chunks: Literal["drawn", "fixed"] = "drawn"  # Sec. 3.1: random; fixed, in file order: authors' code
    views: int = option(0)  # augmented versions of each clip among the frozen features, one drawn per step; 0: as it is
    bank: bool = option(False)  # the CLIP loss against all training participants' hearts, not the batch's alone


@dataclass(frozen=True)
class CmrTrainingConfig(TrainingConfig):
    """Supervised pre-training of the CMR encoder (Sec. 2.1)."""

    negatives_per_positive: int = 2  # Sec. 3.1
    chunks: Literal["drawn", "fixed"] = "drawn"  # Sec. 3.1: random; fixed, in file order: authors' code
    start_from: str = option("")  # ours; a finished pretrain_cmr run, whose encoder's weights are the first


@dataclass(frozen=True)
class ThirdStageConfig(TrainingConfig):
    """Fine-tuning the traits once more after alignment; the paper has no such stage."""

    enabled: bool = False  # authors' code has it for the traits
    lr: float = 8e-6  # authors' code


@dataclass(frozen=True)
class CmaeConfig(TrainingConfig):
    """Cross-modal autoencoder of the row CMAE (Radhakrishnan et al. 2023): each modality alone, then the pair."""

    lr: float = 5e-5  # Radhakrishnan et al. 2023
    latent: int = 256  # Radhakrishnan et al. 2023
    contrastive_weight: float = 0.1  # Radhakrishnan et al. 2023
    temperature: float = 0.07  # where the learned temperature starts; as CLIP (Radford et al. 2021)
    ecg_width: int = 32  # channels of the first residual block, doubled at each of the next; ours
    ecg_blocks: int = 5  # each halves the length; ours
    cmr_width: int = 64  # channels after the stem; ours
    cmr_growth: int = 32  # DenseNet (Huang et al. 2017)
    cmr_layers: tuple[int, ...] = (4, 4, 4, 4)  # of each dense block, each followed by halving; ours


@dataclass(frozen=True)
class VariantsConfig:
    """The ECG encoders that Fig. 2b compares: other patch lengths, then other sizes."""

    patch_leads: int = 1  # Sec. 3.1
    patch_samples: tuple[int, ...] = (100, 250, 500)  # 600, 240 and 120 patches, Fig. 2b
    widths: tuple[int, ...] = (192, 384, 768)  # ViT-Ti, S, B; Fig. 2b shows sizes, the text does not name them
    heads: tuple[int, ...] = (3, 6, 12)  # of each width, 64 wide as in ViT


@dataclass(frozen=True)
class RuntimeConfig:
    """How, not what: nothing here enters a fingerprint; last bits hang on it. A GPU trains in bf16, a CPU in fp32."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1  # of torch, per process; another count differs in the last bits
    ranks: int = 1  # processes that train one model together, a GPU each where there are any; see docs/cluster.md
    rank_timeout_seconds: float = 600.0  # without an answer from another rank inside a step, before giving up
    workers: int = 2  # processes side by side where there are many runs or many participants
    plan: bool = True  # say what a training will cost, from trial steps, before it begins
    checkpoint_seconds: float = 120.0  # within an epoch; at the end of each epoch one is written anyway
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of a training step; bf16 on a GPU, a CPU is slower with it
    compile: Literal["auto", "on", "off"] = "auto"  # torch.compile; auto: a long training on a GPU, where a trial gains
    accumulate: int = 1  # parts in which a batch goes through the model, where it does not fit into memory at once
    recompute: bool = False  # activations of transformer blocks, on the way back: less memory, a third more work
    read_ahead: Literal["auto", "on", "off"] = "auto"  # clips, in a thread; auto: on a GPU
    build_missing: bool = False  # build what a stage needs and lacks, instead of naming the command


@dataclass(frozen=True)
class Config:
    """One run's parameters. Make it with ``load``.

    cohort: ``synthetic``, ``ukb``, or what ``python -m eccl_lib.data.ingest.unpaired`` built: ``ecg-NAME`` or ``cmr-NAME``.
    """

    scale: Literal["demo", "study", "paper", "authors"] = "paper"
    cohort: str = "synthetic"  # or ukb, or an unpaired store's name
    disease: Task = "I21"
    seed: int = 0
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    ecg: EcgEncoderConfig = field(default_factory=EcgEncoderConfig)
    cmr: CmrEncoderConfig = field(default_factory=CmrEncoderConfig)
    cmr_resnet: CmrResnetConfig = field(default_factory=CmrResnetConfig)
    cmr_vit: CmrVitConfig = field(default_factory=CmrVitConfig)
    mae: MaeConfig = field(default_factory=MaeConfig)
    cmr_training: CmrTrainingConfig = field(default_factory=CmrTrainingConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    third_stage: ThirdStageConfig = field(default_factory=ThirdStageConfig)
    cmae: CmaeConfig = field(default_factory=CmaeConfig)
    variants: VariantsConfig = field(default_factory=VariantsConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


ARRAYS = ("ecg", "clips")


KINDS = {"ecg": ("ecg",), "cmr": ("clips",)}  # what an unpaired store has, by the word in front of its name


def arrays_of(cohort: str) -> tuple[str, ...]:
    """Which arrays a cohort has: ``ecg-NAME`` ECGs alone, ``cmr-NAME`` clips alone, every other both."""
    kind, _, name = cohort.partition("-")
    return KINDS[kind] if name else ARRAYS
