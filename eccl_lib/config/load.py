"""Make a config from the paper's defaults, the changes of a scale and overrides, in this order.

``load("demo", disease="I42", overrides={"align.epochs": 5})`` returns a frozen ``Config``. A wrong name, type or value
raises ``ConfigError``, which lists the valid ones.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
from dataclasses import fields, replace
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from eccl_lib.config import diseases as own_diseases
from eccl_lib.config.diseases import FIELD as DISEASES
from eccl_lib.config.diseases import Named
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.presets import DELTAS, flatten
from eccl_lib.config.ranges import TRAININGS, shown_value, violations
from eccl_lib.config.schema import Config

SCALES = tuple(DELTAS)


def load(
    scale: str = "demo",
    *,
    cohort: str = "synthetic",
    disease: str = "I21",
    seed: int = 0,
    overrides: dict[str, Any] | None = None,
) -> Config:
    """The config of a scale with parameters and overrides applied.

    overrides: field to value, dotted (``{"align.epochs": 3}``) or nested (``{"align": {"epochs": 3}}``).
    Raises ConfigError on an unknown name, a wrong type or a value out of its range.
    """
    if not isinstance(scale, str) or scale not in DELTAS:
        raise ConfigError(f"scale is {scale!r}; choose one of {', '.join(SCALES)}")
    if not isinstance(overrides or {}, dict):
        raise ConfigError(f"overrides is {overrides!r}; give fields and values, such as {{'align.epochs': 3}}")
    top, changes = {"scale": scale, "cohort": cohort, "disease": disease, "seed": seed}, flatten(overrides or {})
    for name in top.keys() & changes.keys():
        raise ConfigError(f"{name} is a parameter, not an override: give it as -p {name} or --{name}")
    own = {name: changes.pop(name) for name in list(changes) if name.partition(".")[0] == DISEASES}
    config = _apply(Config(), {**own, **top, **_changes(scale, cohort)})
    return checked(_apply(config, {**_shorter_warmups(config, changes), **changes}))


def _changes(scale: str, cohort: str) -> dict[str, Any]:
    """What a scale changes in the paper's defaults.

    A store of a user's files has the paper's resolution, so one store serves every scale. It may have no traits, so the
    encoders of diseases do not start from that of the traits.
    """
    synthetic_only = () if cohort == "synthetic" else ("store.clip_", "cmr_training.disease_")
    return {name: value for name, value in DELTAS[scale].items() if not name.startswith(synthetic_only)}


def checked(config: Config) -> Config:
    """The config, unchanged. Raises ConfigError where a value is out of range."""
    for name, wanted in violations(config):
        raise ConfigError(f"{name} is {shown_value(config, name)!r}; it must be {wanted}")
    return config


def with_changes(config: Config, changes: dict[str, Any]) -> Config:
    """The config with other fields changed, dotted or nested. Raises ConfigError as ``load`` does."""
    return checked(_apply(config, flatten(changes)))


def _shorter_warmups(config: Config, changes: dict[str, Any]) -> dict[str, Any]:
    """Warm-up epochs where the number of epochs is overridden: at most a fifth of it, as in Sec. 3.1."""
    epochs = {section: changes.get(f"{section}.epochs") for section in TRAININGS}
    return {
        f"{section}.warmup_epochs": min(getattr(config, section).warmup_epochs, count // 5)
        for section, count in epochs.items()
        if isinstance(count, int) and count >= 0
    }


def _apply(config: Config, changes: dict[str, Any]) -> Config:
    # The diseases come first, since they are among the valid values of ``disease``.
    for name, value in sorted(changes.items(), key=lambda change: change[0].partition(".")[0] != DISEASES):
        section, _, key = name.partition(".") if name.startswith(f"{DISEASES}.") else name.rpartition(".")
        if section == DISEASES:
            config = replace(config, diseases=own_diseases.added(config.diseases, key, value))
            continue
        owner = config if not section else getattr(config, section, None)
        if not dataclasses.is_dataclass(owner) or key not in _types(type(owner)):
            raise ConfigError(f"there is no parameter {name!r}; {_nearest(name)}")
        hint = _types(type(owner))[key]
        if dataclasses.is_dataclass(hint):
            field = f"{name}.{fields(hint)[0].name}"
            raise ConfigError(f"{name!r} is a group of parameters; set one of its fields, such as {field}")
        if name == "disease":
            own_diseases.check_task(value, config.diseases, name)
        else:
            value = _checked(name, value, hint)
        changed = replace(owner, **{key: value})
        config = changed if not section else replace(config, **{section: changed})
    return config


@functools.cache
def _types(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def names() -> list[str]:
    """The dotted names of all parameters."""
    found = []
    for name, hint in _types(Config).items():
        found += [f"{name}.{f.name}" for f in fields(hint)] if dataclasses.is_dataclass(hint) else [name]
    return found


def _nearest(name: str) -> str:
    """The valid names most like an unknown one: longer ones, ones with the same last word, then similar ones."""
    group, _, key = name.rpartition(".")
    longer = [other for other in names() if other.startswith(name)]
    same = [other for other in names() if other.rpartition(".")[2] == key]
    same.sort(key=lambda other: _likeness(group, other.rpartition(".")[0]), reverse=True)
    alike = difflib.get_close_matches(name, names(), n=3, cutoff=0.6)
    if not group and same:
        return f"choose one of {', '.join(same)}"
    close = list(dict.fromkeys([*longer[:2], *same[:2], *(other for other in alike if other not in same)]))[:3]
    return f"did you mean {' or '.join(close)}?" if close else "eccl config lists all"


def _likeness(word: str, other: str) -> float:
    """1 more than the similarity for a word that is the start of the other."""
    return other.startswith(word) + difflib.SequenceMatcher(None, word, other).ratio()


def _checked(name: str, value: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Literal, Annotated):
        choices = get_args(hint) if origin is Literal else hint.__metadata__[0].names()
        if value not in choices or isinstance(value, bool):
            raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(map(str, choices))}")
        return value
    if hint == Named:
        raise ConfigError(f"{name} is {value!r}; give codes with names, such as {own_diseases.EXAMPLE}")
    if origin is tuple:
        inner = get_args(hint)[0]
        if not isinstance(value, list | tuple) or not value:
            raise ConfigError(f"{name} is {value!r}; give a list of {inner.__name__}, such as [2, 2]")
        return tuple(_checked(name, item, inner) for item in value)
    if origin is UnionType:
        raise TypeError(f"{name}: unions are not used in the config")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        article = "an" if hint is int else "a"
        raise ConfigError(f"{name} is {value!r}, a {type(value).__name__}; give {article} {hint.__name__}")
    return value


def as_dict(config: Config) -> dict[str, Any]:
    """The config as JSON types; ``diseases`` by code."""
    return json.loads(json.dumps(dataclasses.asdict(config) | {DISEASES: dict(config.diseases)}))


def of_run(content: dict[str, Any]) -> Config:
    """The config of a finished run, from the content of its config.json; the runtime has its defaults.

    Raises ConfigError as ``load`` does, for example for a run of a later version with further fields.
    """
    return checked(_apply(Config(), flatten({name: part for name, part in content.items() if name != "runtime"})))


def essentials(config: Config) -> dict[str, Any]:
    """``as_dict`` without optional fields at their default value, which do not change results."""
    content = as_dict(config)
    named = content.pop(DISEASES)
    for name, part in content.items():
        for each in fields(getattr(config, name)) if isinstance(part, dict) else ():
            if each.metadata.get("option") and getattr(getattr(config, name), each.name) == each.default:
                del part[each.name]
    return content | ({DISEASES: named} if named else {})


def digest(*parts: Any) -> str:
    """SHA-256 in hex of JSON types; equal content has an equal digest on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(config: Config, *sections: str, parents: tuple[str, ...] = ()) -> str:
    """Fingerprint of a result: digest of its parents and of the named sections (or top-level fields) of the config."""
    content = essentials(config)
    return digest({name: content[name] for name in sections}, list(parents))
