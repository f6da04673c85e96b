"""Diseases beside the paper's four: ICD-10 codes with names, a field of the config (docs/data.md)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from eccl_lib.config import registry
from eccl_lib.config.errors import ConfigError
from eccl_lib.config.escape import one_line

ICD10 = re.compile(r"[A-Z]\d\d")
FIELD = "diseases"
LINE = "{I25: coronary disease}"
EXAMPLE = f"{FIELD}: {LINE}"
LONGEST_NAME = 60  # characters; ours, so that headings of tables and figures fit

Named = tuple[tuple[str, str], ...]  # (code, name), in the order of the codes


def code_of(text: str, given: str) -> str:
    """An ICD-10 code in capitals. given: where it was given, for the message. Raises ConfigError on another text."""
    code = text.strip().upper()
    if not ICD10.fullmatch(code):
        raise ConfigError(
            f"{given}: {one_line(text)!r} is no ICD-10 code of three characters; give a letter and two digits, "
            "such as I25, which includes I25.0 to I25.9"
        )
    return code


def added(known: Named, text: str, name: Any) -> Named:
    """The diseases with one more, in the order of their codes. Raises ConfigError where code or name cannot be used."""
    code = code_of(text, FIELD)
    if code in registry.TASKS.names():
        raise ConfigError(f"{FIELD}: {code} is a task already; remove it from {FIELD}")
    if code in dict(known):
        raise ConfigError(f"{FIELD}: {code} is given twice; give each code once")
    if not isinstance(name, str) or not name.strip() or one_line(name) != name or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"{FIELD}: the name of {code} is {name!r}; give a text of at most {LONGEST_NAME} characters in one line, "
            f"such as {EXAMPLE}"
        )
    if double := [other for other, known_name in known if known_name == name.strip()]:
        raise ConfigError(f"{FIELD}: {double[0]} and {code} have the same name; give each its own")
    return tuple(sorted((*known, (code, name.strip()))))


def check_task(task: Any, diseases: Named, given: str) -> None:
    """Raise ConfigError where a task is unknown; the message has the valid ones and the line that would add a code.

    given: name of the parameter, such as disease.
    """
    names = dict.fromkeys((*registry.TASKS.names(), *dict(diseases)))
    if isinstance(task, str) and task in names:
        return
    message = f"{given} is {task!r}; choose one of {', '.join(names)}"
    if isinstance(task, str) and ICD10.fullmatch(task.upper()):
        code = task.upper()
        added_by = f"{FIELD}: {{{code}: name of the disease}}"
        message += f". A further ICD-10 code is one line of the config: {added_by} (docs/data.md)"
    raise ConfigError(message)


def setting(diseases: Mapping[str, str]) -> str:
    """The argument of ``--set`` that gives these diseases, unquoted."""
    return f"{FIELD}={json.dumps(diseases, ensure_ascii=False)}"


def of_task(diseases: Named, task: str) -> Named:
    """The diseases that a run of one task needs: its own one, or none."""
    return tuple(pair for pair in diseases if pair[0] == task)
