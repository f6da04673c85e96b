"""Convert a config to command-line arguments of ``eccl``, and FIELD=VALUE settings to overrides."""

import json
import shlex
from collections.abc import Iterable

from eccl_lib.config import diseases
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import as_dict, load
from eccl_lib.config.schema import Config


def overrides(items: Iterable[str]) -> dict[str, object]:
    """Parse FIELD=VALUE items: JSON, a mapping such as {I25: coronary disease}, else text.

    Raises ConfigError on other items.
    """
    fields = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: give FIELD=VALUE, such as align.epochs=5")
        try:
            fields[name] = json.loads(value, object_pairs_hook=_once)
        except json.JSONDecodeError:
            fields[name] = _mapping(item, value) if value.startswith("{") else value
    return fields


def _mapping(item: str, value: str) -> dict[str, str]:
    """A mapping without quotes, as YAML has it on one line: {I25: coronary disease, I26: pulmonary embolism}."""
    parts = value.strip().removeprefix("{").removesuffix("}").split(",")
    pairs = [(key.strip(" '\""), text.strip(" '\"")) for key, _, text in (part.partition(":") for part in parts)]
    if not value.strip().endswith("}") or not all(key and text for key, text in pairs):
        raise ConfigError(f"--set {item}: give {{KEY: TEXT, KEY: TEXT}}, such as '{diseases.FIELD}={diseases.LINE}'")
    return _once(pairs)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A dictionary from pairs. Raises ConfigError where a key is given twice."""
    keys = [key for key, _ in pairs]
    if double := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"--set: {double[0]} is given twice; give each once")
    return dict(pairs)


def line(config: Config, disease: bool = True) -> str:
    """The arguments of ``eccl train`` that give this config, for a shell. disease: False for a command of all tasks."""
    top = ("scale", "cohort", *(("disease",) if disease else ()), "seed")
    words = [f"--{name} {getattr(config, name)}" for name in top]
    if config.diseases:
        words.append(f"--set {shlex.quote(diseases.setting(dict(config.diseases)))}")
    changed, content = changes(config), as_dict(config)
    for name in [name for name in changed if name.endswith(".epochs")]:  # alone, it would shorten the warm-up
        section = name.partition(".")[0]
        changed[f"{section}.warmup_epochs"] = content[section]["warmup_epochs"]
    return " ".join([*words, *(setting(name, value) for name, value in changed.items())])


def changes(config: Config) -> dict[str, object]:
    """The settings that differ from those of the config's scale, by dotted name; not those of the runtime."""
    base = as_dict(load(config.scale, cohort=config.cohort))  # no section depends on disease or seed
    return {
        f"{section}.{key}": value
        for section, content in as_dict(config).items()
        if isinstance(content, dict) and section not in ("runtime", diseases.FIELD)
        for key, value in content.items()
        if base[section][key] != value
    }


def setting(name: str, value: object) -> str:
    """The option of ``eccl`` that gives a field this value, for a shell."""
    return f"--set '{name}={json.dumps(value)}'"
