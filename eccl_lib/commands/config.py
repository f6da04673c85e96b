"""``eccl config``: every field of the config."""

import dataclasses
import json
from typing import Any

import click

from eccl_lib.commands.cli import command as eccl_command
from eccl_lib.commands.cli import config_of, guarded, parameters
from eccl_lib.config.describe import Description, describe
from eccl_lib.config.errors import ConfigError
from eccl_lib.io.progress import say


@eccl_command("config")
@click.argument("words", nargs=-1, metavar="[WORD...]")
@click.option("--changed", is_flag=True, help="only fields whose value differs from the default")
@click.option("--json", "as_json", is_flag=True, help="print a list of JSON objects")
@parameters()
@guarded
def command(words: tuple[str, ...], changed: bool, as_json: bool, **options: Any) -> None:
    """List the fields of the config: value, default, source, and the scales that change it.

    With WORDs, only fields whose name has one of them. Any field is set with --set FIELD=VALUE, or in a notebook with
    overrides.

    \b
    eccl config align --scale demo
    eccl config batch lr
    eccl config --changed --scale study
    """
    fields = [each for each in describe(config_of(build=False, **options)) if _is_wanted(each, words)]
    if not fields:
        raise ConfigError(f"no field has {' or '.join(words)} in its name; eccl config lists all")
    fields = [each for each in fields if not changed or each.value != each.default]
    if as_json:
        say(json.dumps([dataclasses.asdict(each) for each in fields], indent=1))
        return
    width = max((len(each.name) for each in fields), default=0)
    for each in fields:
        say(f"{each.name:{width}}  {_text(each.value):14}  {_origin(each)}")


def _is_wanted(field: Description, words: tuple[str, ...]) -> bool:
    return not words or any(word in field.name for word in words)


def _origin(field: Description) -> str:
    values = [f"default {_text(field.default)}", *(f"{scale} {_text(value)}" for scale, value in field.scales.items())]
    return ", ".join(values) + (f"; {field.source}" if field.source else "")


def _text(value: Any) -> str:
    """A value as --set takes it."""
    return json.dumps(value) if not isinstance(value, str) else value or '""'
