"""Convert a config to command-line arguments of ``eccl``, and FIELD=VALUE settings to overrides."""

import json
from collections.abc import Iterable

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.load import as_dict, load
from eccl_lib.config.schema import Config


def overrides(items: Iterable[str]) -> dict[str, object]:
    """Parse FIELD=VALUE items; a value that is not JSON is kept as text. Raises ConfigError on other items."""
    fields = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: give FIELD=VALUE, such as align.epochs=5")
        try:
            fields[name] = json.loads(value)
        except json.JSONDecodeError:
            fields[name] = value
    return fields


def line(config: Config, disease: bool = True) -> str:
    """The arguments of ``eccl train`` that give this config. disease: False for a command of all tasks."""
    top = ("scale", "cohort", *(("disease",) if disease else ()), "seed")
    words = [f"--{name} {getattr(config, name)}" for name in top]
    base = as_dict(load(config.scale, cohort=config.cohort))  # no section depends on disease or seed
    for section, content in as_dict(config).items():
        if isinstance(content, dict) and section != "runtime":
            changed = {key: value for key, value in content.items() if base[section][key] != value}
            if "epochs" in changed:  # alone, it would shorten the warm-up
                changed["warmup_epochs"] = content["warmup_epochs"]
            words += [f"--set '{section}.{key}={json.dumps(value)}'" for key, value in changed.items()]
    return " ".join(words)
