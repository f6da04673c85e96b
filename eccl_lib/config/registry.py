"""The open lists of the suite: rows of Table 1, tasks, encoders of CMR and ECG, ECG file formats (docs/extending.md).

An outside package adds an entry by an entry point of the list's group; Python code adds one by ``register``. Valid
names of the config come from here, so that an entry needs no change of ``schema.py``.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from eccl_lib.config.errors import ConfigError
from eccl_lib.config.escape import one_line

WARNED = "ECCL_WARNED_EXTENSIONS"  # environment variable: what this process or its parent has reported, one a line
Item = TypeVar("Item")


class UnknownNameError(ConfigError, KeyError):
    """A name that no list has; the message names the valid ones, or the package that cannot be used."""

    def __str__(self) -> str:
        return str(self.args[0])


class Registry(MutableMapping[str, Item]):
    """Entries by name: built-in ones in their order, then those of outside packages, then registered ones.

    Outside packages are imported when the entries are first read, not when their names are. An entry that cannot be
    used is reported in one line and left out. built_in: names that are valid before the module of the entries is
    imported. accept: checks and converts an entry, from its name and what was registered; raises ConfigError.
    """

    def __init__(self, group: str, what: str, built_in: tuple[str, ...] = ()) -> None:
        self.group, self.what, self.built_in = group, what, built_in
        self.accept: Callable[[str, Any], Item] = lambda name, item: item
        self._entries: dict[str, Item] = {}
        self._packages: dict[str, str] = {}  # entry of an outside package -> the package and its version
        self._faults: dict[str, str] = {}
        self._loaded = False

    def names(self) -> tuple[str, ...]:
        """All valid names. No outside package is imported."""
        outside = () if self._loaded else (point.name for point in entry_points(group=self.group))
        return tuple(dict.fromkeys((*self.built_in, *self._entries, *outside)))

    def define(self, entries: dict[str, Item]) -> "Registry[Item]":
        """Add the built-in entries and return the registry."""
        self._entries |= entries
        self.built_in = tuple(dict.fromkeys((*self.built_in, *entries)))
        return self

    def register(self, name: str, item: Any = None) -> Any:
        """Add an entry of this process; without ``item`` a decorator. Raises ConfigError where it cannot be used."""
        if item is None:
            return lambda decorated: self.register(name, decorated)
        self[name] = item
        return item

    def package(self, name: str) -> str:
        """The outside package and its version that an entry comes from, such as ``my-losses 1.2``; else empty."""
        self._load()
        return self._packages.get(name, "")

    def __getitem__(self, name: str) -> Item:
        if name not in self._entries:
            self._load()
        if name in self._faults:
            raise UnknownNameError(self._faults[name])
        if name not in self._entries:
            known = ", ".join(self._entries)
            raise UnknownNameError(f"there is no {self.what} {name!r} here; known: {known} (docs/extending.md)")
        return self._entries[name]

    def __setitem__(self, name: str, item: Any) -> None:
        self._entries[name] = self.accept(name, item)

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for point in entry_points(group=self.group):
            fault = f"its name {point.name} is taken" if point.name in self._entries else self._add(point)
            if fault:
                line = one_line(f"the {self.what} {point.name} of the package {_package(point)} is not used: {fault}")
                if point.name not in self._entries:
                    self._faults[point.name] = line
                _warn(line)

    def _add(self, point: EntryPoint) -> str:
        """Import and add an entry of an outside package. Returns what is wrong with it, or nothing."""
        try:
            self[point.name] = point.load()
        except ConfigError as error:
            return str(error)
        except ImportError as error:
            return f"{point.value} cannot be imported, because {error.name or 'a module'} is missing or incomplete"
        except AttributeError:
            return f"{point.value} does not exist, or needs something that does not"
        except Exception as error:  # whatever the package does when it is imported
            return f"importing {point.value} ends in {type(error).__name__}"
        self._packages[point.name] = _package(point)
        return ""


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.module.partition(".")[0]


def _warn(line: str) -> None:
    """Write a warning to standard error, once for a process and the workers that it starts."""
    warned = os.environ.get(WARNED, "").splitlines()
    if line not in warned:
        os.environ[WARNED] = "\n".join([*warned, line])
        with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error is closed, or none
            sys.stderr.write(f"warning: {line}. See docs/extending.md.\n")  # ``line`` is escaped


METHODS: Registry[Any] = Registry("eccl_lib.methods", "row of Table 1")
TASKS: Registry[Any] = Registry("eccl_lib.tasks", "task", ("I21", "I42", "I48", "I50", "traits"))
CMR_ENCODERS: Registry[Any] = Registry("eccl_lib.cmr_encoders", "CMR encoder", ("swin", "resnet50", "vit"))
ECG_ENCODERS: Registry[Any] = Registry("eccl_lib.ecg_encoders", "ECG encoder", ("vit", "convolution"))
ECG_FORMATS: Registry[Any] = Registry("eccl_lib.ecg_formats", "ECG file format")


def choose(what: str, name: str, choices: "Registry | tuple[str, ...]") -> None:
    """Raise ConfigError, which lists the valid names, where a name is none of them."""
    names = choices if isinstance(choices, tuple) else choices.names()
    if name not in names:
        raise ConfigError(f"{what} is {name!r}; choose one of {', '.join(names)}")
