"""A description of every field of the config: value, default, source, and the scales that change it."""

import ast
import dataclasses
import functools
import inspect
from dataclasses import dataclass
from typing import Any

from eccl_lib.config import schema
from eccl_lib.config.load import SCALES, load, names
from eccl_lib.config.ranges import value_of
from eccl_lib.config.schema import Config

PARAMETERS = ("scale", "cohort", "disease", "seed")  # options of their own on the command line


@dataclass(frozen=True)
class Description:
    """One field. name: dotted. source: its comment in ``schema.py``, mostly the source of the default value.

    scales: value at each scale where it differs from the default.
    """

    name: str
    value: Any
    default: Any
    source: str
    scales: dict[str, Any]


def describe(config: Config) -> list[Description]:
    """All fields of the config but the parameters scale, cohort, disease and seed, in the order of ``schema.py``."""
    defaults, at_scale = Config(), {scale: load(scale, cohort=config.cohort) for scale in SCALES}
    found = []
    for name in names():
        if name not in PARAMETERS:
            default = value_of(defaults, name)
            values = {scale: value_of(other, name) for scale, other in at_scale.items()}
            changed = {scale: value for scale, value in values.items() if value != default}
            found.append(Description(name, value_of(config, name), default, source_of(name), changed))
    return found


def source_of(name: str) -> str:
    """The comment of a field, dotted, in ``schema.py``; also of one that a base class defines."""
    section, _, key = name.rpartition(".")
    for cls in type(getattr(Config(), section) if section else Config()).__mro__:
        if dataclasses.is_dataclass(cls) and key in (comments := _comments()[cls.__name__]):
            return comments[key]
    raise KeyError(name)


@functools.cache
def _comments() -> dict[str, dict[str, str]]:
    """Class -> field -> its comment: at the end of its line, else the lines above it."""
    lines, found = inspect.getsource(schema).splitlines(), {}
    for cls in ast.parse("\n".join(lines)).body:
        if isinstance(cls, ast.ClassDef):
            fields = [part for part in cls.body if isinstance(part, ast.AnnAssign)]
            found[cls.name] = {field.target.id: _comment(lines, field) for field in fields}
    return found


def _comment(lines: list[str], field: ast.AnnAssign) -> str:
    _, _, after = lines[field.end_lineno - 1][field.end_col_offset :].partition("#")
    above, number = [], field.lineno - 2
    while lines[number].strip().startswith("#"):
        above.insert(0, lines[number].strip().lstrip("# "))
        number -= 1
    return after.strip() or " ".join(above)
