"""Read files of other people: any error becomes an UnreadableError, and the first readable of several is used."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from eccl_lib.config.errors import DOWNLOAD_AGAIN, UnreadableError
from eccl_lib.data.records import CineRecord, EcgRecord

Record = TypeVar("Record", EcgRecord, CineRecord)


@contextlib.contextmanager
def reading(fault: str, cure: str = DOWNLOAD_AGAIN) -> Iterator[None]:
    """Context manager that turns any error into an UnreadableError with its type.

    Warnings of the library that parses the file are dropped: they quote its content, and go past all logs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"{fault} ({type(error).__name__})", cure) from error


def first_readable(paths: Sequence[Path], read: Callable[[Path], Record]) -> Record:
    """Record of the first readable file, with a note if an earlier file failed. Raises the first error if all fail."""
    first: UnreadableError | None = None
    for path in paths:
        try:
            record = read(path)
        except UnreadableError as error:
            first = first or error
            continue
        if first is None:
            return record
        note = f"the first file of this visit cannot be read ({first.reason}); another one is used"
        return replace(record, notes=(*record.notes, note))
    raise first or UnreadableError("there is no file")
