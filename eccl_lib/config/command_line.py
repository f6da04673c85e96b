"""The same parameters on every command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable

from eccl_lib.config.errors import ConfigError, DamagedError, MissingError, UnreadableError
from eccl_lib.config.load import SCALES, as_dict, load
from eccl_lib.config.schema import COHORTS, TASKS, Config


def add_parameters(parser: argparse.ArgumentParser, disease: bool = True) -> None:
    """--scale, --cohort, --disease, --seed and --set FIELD=VALUE."""
    parser.add_argument("--scale", default="demo", choices=SCALES)
    parser.add_argument(
        "--cohort", default="synthetic", help=f"{', '.join(COHORTS)}, or an unpaired store: ecg-NAME, cmr-NAME"
    )
    if disease:
        parser.add_argument("--disease", default="I21", choices=TASKS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="such as align.epochs=5")


def config(parsed: argparse.Namespace, build: bool = True) -> Config:
    """The config of parsed arguments. build: also make what is missing upstream; else as the scale says."""
    given = {"runtime.build_missing": True} if build else {}
    given |= overrides(parsed.set)
    disease = getattr(parsed, "disease", "I21")
    return load(parsed.scale, cohort=parsed.cohort, disease=disease, seed=parsed.seed, overrides=given)


def overrides(items: Iterable[str]) -> dict[str, object]:
    """Fields and values of FIELD=VALUE, each value as JSON or else as text. Raises ConfigError without the sign."""
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: give FIELD=VALUE, such as align.epochs=5")
        found[name] = _value(value)
    return found


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def line(config: Config) -> str:
    """The arguments that give this config again."""
    words = [
        f"--scale {config.scale}",
        f"--cohort {config.cohort}",
        f"--disease {config.disease}",
        f"--seed {config.seed}",
    ]
    here = as_dict(config)
    base = as_dict(load(config.scale, cohort=config.cohort, disease=config.disease, seed=config.seed))
    for section, content in here.items():
        if isinstance(content, dict) and section != "runtime":
            changed = {key: value for key, value in content.items() if base[section][key] != value}
            words += [f"--set '{section}.{key}={json.dumps(value)}'" for key, value in changed.items()]
    return " ".join(words)


def run(main: Callable[[], None]) -> None:
    """Run a command; what the user can mend ends in one line and status 2, not in a traceback."""
    try:
        main()
    except (ConfigError, UnreadableError, MissingError, DamagedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None
