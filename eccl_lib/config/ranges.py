"""Ranges of the parameters, beyond their types."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from eccl_lib.config.diseases import FIELD

if TYPE_CHECKING:
    from eccl_lib.config.schema import Config

TRAININGS = ("mae", "cmr_training", "align", "third_stage", "cmae", "probe")
MAY_BE_ZERO = {
    "seed",
    "patience",
    "views",
    "test_fold",
    "participants",
    "steps_per_epoch",
    "disease_steps_per_epoch",
    "file_participants",
}

Rule = tuple[str, bool, str]  # the dotted parameter, whether it is in range, what it must be


def violations(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each parameter out of range and its valid values. Later rules assume that earlier ones hold."""
    for rules in (_kinds, _cohort, _trainings, _shapes):
        for name, holds, wanted in rules(config):
            if not holds:
                yield name, wanted


def value_of(config: Config, name: str) -> Any:
    """The value of a dotted parameter."""
    section, _, key = name.rpartition(".")
    return getattr(getattr(config, section) if section else config, key)


def shown_value(config: Config, name: str) -> Any:
    """The value of a dotted parameter as a user writes it: ``diseases`` as codes with names."""
    value = value_of(config, name)
    return dict(value) if name == FIELD else value


def _kinds(config: Config) -> Iterator[Rule]:
    """In every section, sizes are positive and probabilities lie between 0 and 1."""
    yield "seed", config.seed >= 0, "0 or more"
    for section, part in vars(config).items():
        for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
            key, name, value = field.name, f"{section}.{field.name}", getattr(part, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if key != "warmup_epochs" and all(type(n) is int for n in numbers):
                least = 0 if key in MAY_BE_ZERO else 1
                yield name, all(n >= least for n in numbers), f"{least} or more"
            if key.endswith(("_probability", "dropout", "drop_path")):
                yield name, 0 <= value <= 1, "between 0 and 1"
            if key in ("temperature", "triplet_margin", "lr", "disease_lr", "ecg_gain", "soft_width"):
                yield name, value > 0, "above 0"


def _cohort(config: Config) -> Iterator[Rule]:
    from eccl_lib.config.schema import COHORTS, DISEASES, UNPAIRED

    known = config.cohort in COHORTS or UNPAIRED.fullmatch(config.cohort) is not None
    yield "cohort", known, f"{', '.join(COHORTS)}, or an unpaired store's name, ecg-NAME or cmr-NAME (docs/formats.md)"
    none = not config.diseases or config.cohort != "synthetic"
    yield "diseases", none, f"empty for the synthetic cohort, which has {', '.join(DISEASES)} alone (docs/data.md)"
    margin, rectangle = config.store.margin_mm, config.store.crop == "rectangle"
    yield "store.margin_mm", 0 <= margin <= 100, "between 0 and 100"
    yield "store.margin_mm", not margin or rectangle, "0 with store.crop=fixed_80px, whose size is fixed"
    synthetic = config.synthetic
    yield "synthetic.participants", synthetic.participants >= 30, "30 or more; rare diseases need many more"
    yield "synthetic.slices", synthetic.slices <= 20, "between 1 and 20"
    yield "synthetic.split", len(synthetic.split) == 3, "three numbers: parts of train, validation and test"
    for field in dataclasses.fields(synthetic):
        if field.name.startswith("prevalence_"):
            yield f"synthetic.{field.name}", 0 < getattr(synthetic, field.name) < 0.5, "between 0 and 0.5"
    reason = config.runtime.show_small_counts
    yield "runtime.show_small_counts", not reason or len(reason) >= 10, "a reason in words; it is written into outputs"
    yield "augment.ecg_crop_min", 0 < config.augment.ecg_crop_min <= 1, "above 0, at most 1"


def _trainings(config: Config) -> Iterator[Rule]:
    for section in TRAININGS:
        part = getattr(config, section)
        at_most = f"between 0 and {section}.epochs ({part.epochs})"
        yield f"{section}.warmup_epochs", 0 <= part.warmup_epochs <= part.epochs, at_most
        yield f"{section}.batch", part.batch >= 2, "2 or more"
    yield "probe.label_share", 0 < config.probe.label_share <= 1, "above 0, at most 1"
    needs_run = (config.probe.encoder == "run") == bool(config.probe.start_from)
    yield "probe.start_from", needs_run, "set if, and only if, probe.encoder is run"
    for name in ("mae.start_from", "cmr_training.start_from", "probe.start_from"):
        known = re.fullmatch("([0-9a-f]{8})?", value_of(config, name)) is not None
        yield name, known, "the last 8 characters of a finished run's folder, such as 60ab351f"
    plain = config.align.contrastive == "clip" or not config.align.bank
    yield "align.contrastive", plain, "clip, the only loss that align.bank knows"
    from eccl_lib.config.schema import COLDEST

    coldest = f"at least {COLDEST}, the lower limit of a temperature"
    for section in ("align", "cmae"):
        yield f"{section}.temperature", getattr(config, section).temperature >= COLDEST, coldest
    for name in ("align.auxiliary_weight", "align.trait_noise", "cmr_training.trait_noise"):
        yield name, value_of(config, name) >= 0, "0 or more"
    without_traits = config.align.auxiliary == "none" and config.align.contrastive != "soft"
    clean = "0 with align.auxiliary or the soft contrastive loss, which use the traits without noise"
    yield "align.trait_noise", not config.align.trait_noise or without_traits, clean
    yield "mae.mask_ratio", 0 < config.mae.mask_ratio < 1, "between 0 and 1"
    yield "mae.correlation_weight", 0 <= config.mae.correlation_weight <= 1, "between 0 and 1"


def _shapes(config: Config) -> Iterator[Rule]:
    """Sizes that must divide each other, and lists that must have equal lengths."""
    from eccl_lib.config.schema import LEADS

    yield "view.ecg_rate", 500 % config.view.ecg_rate == 0, "a divisor of 500"
    seen = config.view.ecg_leads
    known = set(seen) <= {*LEADS} and len(set(seen)) == len(seen)
    yield "view.ecg_leads", known, f"a list of leads from {', '.join(LEADS)}, each once"
    samples = 10 * config.view.ecg_rate
    yield "ecg.patch_samples", samples % config.ecg.patch_samples == 0, f"a divisor of {samples}, the samples in 10 s"
    for name in ("ecg.patch_leads", "variants.patch_leads"):
        yield name, 12 % value_of(config, name) == 0, "a divisor of 12"
    for length in config.variants.patch_samples:
        yield "variants.patch_samples", samples % length == 0, f"divisors of {samples}, the samples in 10 s"
    yield "variants.heads", len(config.variants.heads) == len(config.variants.widths), "as many as variants.widths"
    for axis in ("clip_frames", "clip_size"):
        stored, seen = getattr(config.store, axis), getattr(config.view, axis)
        yield f"view.{axis}", stored % seen == 0, f"a divisor of store.{axis} ({stored})"
    patched = {"swin": "cmr.patch", "vit": "cmr_vit.patch"}.get(config.cmr.architecture)  # ResNet50 takes any size
    if patched:
        patch = value_of(config, patched)
        yield "view.clip_size", config.view.clip_size % patch == 0, f"a multiple of {patched} ({patch})"
    yield "cmr_resnet.layers", len(config.cmr_resnet.layers) == 4, "four numbers of blocks"
    yield "cmr.heads", len(config.cmr.heads) == len(config.cmr.depths), "as many as cmr.depths"
    for part in ("ecg.", "mae.decoder_", "cmr_vit."):
        width, heads = value_of(config, f"{part}width"), value_of(config, f"{part}heads")
        yield f"{part}width", width % heads == 0 and width % 4 == 0, f"a multiple of {part}heads ({heads}) and of 4"
