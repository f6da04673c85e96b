"""Every parameter of the experiment, each with its source: the defaults are the paper's."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from eccl_lib.config import registry
from eccl_lib.config.diseases import Named

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
DISEASES = ("I21", "I42", "I48", "I50")
TASKS = (*DISEASES, "traits")  # of the paper; ``registry.TASKS`` also has those of outside packages
COLDEST = 0.01  # lower limit of a temperature, as in CLIP (Radford et al. 2021)
N_TRAITS = 82  # Sec. 3.1
COHORTS = ("synthetic", "ukb")
UNPAIRED = re.compile(r"(ecg|cmr)-(?!(?:synthetic|ukb)$)[a-z0-9_]{1,40}")  # name of a store of ECGs or of cines
ARRAYS = ("ecg", "clips")
KINDS = {"ecg": ("ecg",), "cmr": ("clips",)}  # arrays of an unpaired store, by the first word of its name


def option(off: Any) -> Any:
    """An optional field. Fingerprints omit its default value, so runs made before the field existed stay valid."""
    return field(default=off, metadata={"option": True})


@dataclass(frozen=True)
class SyntheticConfig:
    """The synthetic cohort."""

    participants: int = 41_519  # Sec. 3.1
    seed: int = 0  # seed of the cohort; the training has another seed
    prevalence_i21: float = 0.022  # Sec. 3.1
    prevalence_i42: float = 0.004  # Sec. 3.1
    prevalence_i48: float = 0.039  # Sec. 3.1
    prevalence_i50: float = 0.012  # Sec. 3.1
    slices: int = 10  # UK Biobank: 8 to 13
    rows: int = 208  # UK Biobank: about 208 x 187 at 1.83 mm
    columns: int = 187  # as the rows
    file_participants: int = 41_519  # written as UK Biobank's files and read back; the rest go straight to the store
    split: tuple[int, ...] = option((3, 1, 1))  # parts of train, validation and test; Sec. 3.1: 60/20/20


@dataclass(frozen=True)
class StoreConfig:
    """Preprocessing (Sec. 3.1) and the resolution of the store."""

    slice_choice: Literal["middle", "rv_max"] = "middle"  # Sec. 3.1; rv_max: authors' code
    crop: Literal["rectangle", "fixed_80px"] = "rectangle"  # Sec. 3.1; fixed_80px: authors' code
    clip_frames: int = 50  # Sec. 3.1
    clip_size: int = 224  # pixels, Sec. 3.1
    labels: Literal["ever", "prevalent", "incident"] = "ever"  # not stated; authors' code
    split_salt: str = "eccl"  # ours; a participant's split depends on salt and id only
    margin_mm: float = option(0.0)  # ours; rim around the heart's rectangle in the crop, Sec. 3.1 has none
    # Ours; above 0, the test fold of a cohort with published folds (else of ten folds by patient), and the fold before
    # it for validation.
    test_fold: int = option(0)


@dataclass(frozen=True)
class ViewConfig:
    """The resolution and scaling at which the models read the store."""

    ecg_rate: int = 500  # Hz, Sec. 3.1
    ecg_scaling: Literal["lead", "maxabs", "fixed"] = "lead"  # to [-1, 1] per lead: Sec. 3.1; others: ours
    ecg_full_scale_mv: float = 2.0  # ours; the voltage that "fixed" maps to 1
    ecg_gain: float = option(1.0)  # ours; multiplies the scaled ECG, 5 gives "maxabs" a variance near 1
    ecg_leads: tuple[str, ...] = option(LEADS)  # that the ECG encoder sees; the others are zero
    clip_frames: int = 50  # Sec. 3.1
    clip_size: int = 224  # Sec. 3.1


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentations of Sec. 3.1; the paper gives no probabilities."""

    ecg_crop_min: float = 0.8  # smallest share of the samples that is kept, unstretched; the rest is zero; ours
    ecg_crop_probability: float = 0.5  # ours
    ecg_reverse_probability: float = 0.33  # authors' code
    ecg_sign_probability: float = 0.33  # authors' code
    cmr_rotation_degrees: float = 15.0  # authors' code
    cmr_scale_min: float = 0.8  # smallest share of the area that is kept; authors' code
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
    """The architecture of the CMR encoder, and the Swin Transformer with cine frames as channels (Sec. 3.1)."""

    architecture: Annotated[str, registry.CMR_ENCODERS] = "swin"  # Sec. 3.1; others: rows ResNet50 and ViT
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

    width: int = 64  # ResNet50: 64 to 512 channels inside the bottlenecks, four times as many outside
    layers: tuple[int, ...] = (3, 4, 6, 3)  # ResNet50; four stages
    stem: Literal["plain", "deep"] = "plain"  # one 7 x 7 convolution; deep: three 3 x 3 convolutions, much faster


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
    weight_decay: float = 0.0  # Adam, Sec. 3.1; above 0: AdamW
    patience: int = 0  # stop after so many epochs without a better score; 0: never; authors' code has 10
    steps_per_epoch: int = option(0)  # ours; updates between two validations; 0: one pass over the training set


@dataclass(frozen=True)
class MaeConfig(TrainingConfig):
    """Masked autoencoder on the ECG (Sec. 2.1)."""

    lr: float = 8e-4  # Sec. 3.1
    mask_ratio: float = 0.8  # Sec. 3.1
    loss_on: Literal["masked", "all"] = "masked"  # Sec. 2.1; all patches: authors' code
    correlation_weight: float = 0.0  # weight of 1 - r in the loss; the authors' code has such a term
    decoder_width: int = 512  # authors' code
    decoder_depth: int = 8  # authors' code
    decoder_heads: int = 16  # authors' code
    start_from: str = option("")  # ours; initial weights: last 8 characters of a pretrain_ecg run's folder
    masking: Literal["random", "space_time"] = option("random")  # space_time: whole leads and whole times; ours
    normalise_target: bool = option(False)  # each patch to mean 0 and SD 1 in the loss (He et al. 2022)


@dataclass(frozen=True)
class AlignConfig(TrainingConfig):
    """Stage two (Sec. 2.2), and the training of the ECG rows without a CMR encoder."""

    shared_width: int = 256  # Sec. 3.1
    temperature: float = 0.1  # not stated; authors' code
    learn_temperature: bool = False  # ours; as in CLIP (Radford et al. 2021); starts at ``temperature``
    triplet_margin: float = 2.5  # of the row Triplet; authors' code
    task_weight: float = 1.0  # lambda, Sec. 3.1
    negatives_per_positive: int = 2  # Sec. 3.1
    chunks: Literal["drawn", "fixed"] = "drawn"  # Sec. 3.1: random; fixed, in file order: authors' code
    views: int = option(0)  # number of augmented versions of each clip; each step draws one; 0: no augmentation
    bank: bool = option(False)  # CLIP loss against the CMR of all training participants, not only of the batch
    contrastive: Literal["clip", "siglip", "soft"] = option("clip")  # Zhai et al. 2023; soft: targets by trait distance
    soft_width: float = option(0.2)  # of ``soft``, in mean squared z-scores of traits; ours
    auxiliary: Literal["none", "labels", "teachers"] = option("none")  # all traits and diseases as further targets
    auxiliary_weight: float = option(1.0)  # ours
    pooling: Literal["class", "mean"] = option("class")  # feature of the ViT: class token, or mean of the others
    participants: int = option(0)  # training participants of this stage, drawn by the seed; 0: all
    trait_noise: float = option(0.0)  # SD of noise on the traits of the training participants, in SD of each trait


@dataclass(frozen=True)
class CmrTrainingConfig(TrainingConfig):
    """Supervised pre-training of the CMR encoder (Sec. 2.1)."""

    negatives_per_positive: int = 2  # Sec. 3.1
    chunks: Literal["drawn", "fixed"] = "drawn"  # Sec. 3.1: random; fixed, in file order: authors' code
    start_from: str = option("")  # ours; a finished pretrain_cmr run, whose encoder initialises this one
    # Ours; above 0, the encoder of a disease starts from that of the traits and has its own schedule.
    disease_steps_per_epoch: int = option(0)
    disease_lr: float = option(8e-5)  # of that schedule; Sec. 3.1
    trait_noise: float = option(0.0)  # as that of ``align``, with the same noise for the same seed


@dataclass(frozen=True)
class ThirdStageConfig(TrainingConfig):
    """Fine-tuning on the traits after alignment; not in the paper."""

    enabled: bool = False  # the authors' code has it, for the traits
    lr: float = 8e-6  # authors' code


@dataclass(frozen=True)
class CmaeConfig(TrainingConfig):
    """Cross-modal autoencoder of row CMAE (Radhakrishnan et al. 2023): each modality alone, then both."""

    lr: float = 5e-5  # Radhakrishnan et al. 2023
    latent: int = 256  # Radhakrishnan et al. 2023
    contrastive_weight: float = 0.1  # Radhakrishnan et al. 2023
    temperature: float = 0.07  # initial value of the learned temperature, as CLIP (Radford et al. 2021)
    ecg_width: int = 32  # channels of the first residual block, doubled in each of the next; ours
    ecg_blocks: int = 5  # each halves the length; ours
    cmr_width: int = 64  # channels after the stem; ours
    cmr_growth: int = 32  # DenseNet (Huang et al. 2017)
    cmr_layers: tuple[int, ...] = (4, 4, 4, 4)  # layers per dense block; downsampling by 2 follows each block; ours


@dataclass(frozen=True)
class ProbeConfig(TrainingConfig):
    """Training of an ECG encoder on the user's own labels (docs/real_ecg.md); every value is ours."""

    epochs: int = 5  # ours
    warmup_epochs: int = 1  # ours
    lr: float = 1e-3  # ours
    batch: int = 32  # ours
    steps_per_epoch: int = 60  # 300 updates
    tasks: tuple[str, ...] = ("superclass",)  # names of the cohort's own tasks; one model predicts all of them
    encoder: Literal["random", "mae", "run"] = "random"  # initial weights: none, this cohort's autoencoder, or a run
    start_from: str = ""  # of ``run``: last 8 characters of a finished run's folder, of any cohort
    label_share: float = 1.0  # share of the training patients whose recordings are used, drawn by the seed


@dataclass(frozen=True)
class VariantsConfig:
    """The ECG encoders of Fig. 2b: other patch lengths and other sizes."""

    patch_leads: int = 1  # Sec. 3.1
    patch_samples: tuple[int, ...] = (100, 250, 500)  # 600, 240 and 120 patches, Fig. 2b
    widths: tuple[int, ...] = (192, 384, 768)  # ViT-Ti, S, B; the paper shows sizes without naming them
    heads: tuple[int, ...] = (3, 6, 12)  # for each width; 64 per head as in ViT
    depths: tuple[int, ...] = (6, 12)  # blocks; ours, the paper varies width and depth together
    seeds: int = 1  # training seeds of each point; ours


@dataclass(frozen=True)
class RuntimeConfig:
    """How a run is computed. Fingerprints omit these fields, but the last bits of results depend on them."""

    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU if there is one
    threads: int = 1  # threads of torch per process; another number changes the last bits of results
    ranks: int = 1  # processes that train one model together, each on its own GPU if available; docs/cluster.md
    rank_timeout_seconds: float = 600.0  # a rank stops if another one does not answer for so long within a step
    workers: int = 2  # parallel processes for many participants, and for many runs on a CPU; on GPUs one for each
    plan: bool = True  # log the cost of a training, from trial steps, before it starts
    checkpoint_seconds: float = 120.0  # between checkpoints within an epoch; each epoch ends with one
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of training steps; auto: bf16 on a GPU, fp32 on a CPU
    compile: Literal["auto", "on", "off"] = "auto"  # torch.compile; auto: long trainings on a GPU, if a trial is faster
    accumulate: int = 1  # microbatches per batch, for a batch that does not fit into memory
    recompute: bool = False  # compute transformer activations twice: less memory, a third more work
    # Only operations with the same result in each run on the same GPU and versions; slower. A CPU needs no such option.
    deterministic: bool = False
    read_ahead: Literal["auto", "on", "off"] = "auto"  # read clips in advance, in a thread; auto: on a GPU
    # The reason to show counts of UK Biobank participants below 10, which is written into each table and figure; empty:
    # they are withheld (docs/data.md).
    show_small_counts: str = ""
    build_missing: bool = False  # train missing prerequisites instead of naming the command


@dataclass(frozen=True)
class Config:
    """The parameters of one run, made by ``load``.

    cohort: ``synthetic``, ``ukb``, or a store that ``eccl ingest`` built: ``ecg-NAME``, ``cmr-NAME``.
    """

    scale: Literal["demo", "study", "paper", "authors"] = "paper"
    cohort: str = "synthetic"  # or ukb, or an unpaired store's name
    disease: Annotated[str, registry.TASKS] = "I21"  # or a code of ``diseases``
    seed: int = 0
    diseases: Named = ()  # ours; further diseases of the user by ICD-10 code, {I25: coronary disease} (docs/data.md)
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
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    variants: VariantsConfig = field(default_factory=VariantsConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    @property
    def codes(self) -> tuple[str, ...]:
        """ICD-10 codes of all diseases: the paper's four, then those of ``diseases``."""
        return (*DISEASES, *dict(self.diseases))


def arrays_of(cohort: str) -> tuple[str, ...]:
    """Names of a cohort's arrays: ECGs for ``ecg-NAME``, clips for ``cmr-NAME``, both for any other cohort."""
    kind, _, name = cohort.partition("-")
    return KINDS[kind] if name else ARRAYS
