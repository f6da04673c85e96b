"""The list of withdrawn participants; it is applied whenever a store is opened.

``eccl withdraw`` and ``eccl ingest ukb`` add UK Biobank's list and delete these participants from disk.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path

from eccl_lib.config.errors import DamagedError, MissingError
from eccl_lib.io import paths
from eccl_lib.io.files import exclusive_lock, write_text

LIST = "withdrawn.txt"
SEAL = "# SHA-256 of the lines above: "


def read() -> frozenset[str]:
    """Ids of all withdrawn participants.

    Raises MissingError if no list of withdrawals was ever given, and DamagedError if the file has changed.
    """
    path = paths.ukb_root() / LIST
    if not path.is_file():
        raise MissingError(
            f"{path} is missing, so the withdrawn participants are unknown. Give UK Biobank's latest list:\n"
            "  eccl withdraw FILE   (or --none, if you have received none)"
        )
    return frozenset(_ids_in(path))


def add(eids: Collection[str]) -> frozenset[str]:
    """Add ids to the list and return all ids on it. No stage uses these participants from now on.

    Two processes add one after the other, so that neither loses the ids of the other. Raises DamagedError.
    """
    root = paths.ukb_root()
    with exclusive_lock(root):
        known = set(_ids_in(root / LIST)) if (root / LIST).is_file() else set()
        withdrawn = known | set(eids)
        if withdrawn != known or not (root / LIST).is_file():
            text = "".join(f"{eid}\n" for eid in sorted(withdrawn))
            write_text(root / LIST, f"{text}{SEAL}{_sum_of(text)}\n")
    return frozenset(withdrawn)


def _ids_in(path: Path) -> list[str]:
    """The ids of a list, whose last line is the checksum of the lines before; lists of earlier versions have none.

    Raises DamagedError if it has changed or is empty.
    """
    ids, seal, digest = path.read_text(encoding="utf-8", errors="replace").rpartition(SEAL)
    if not seal:
        ids, digest = digest, None
    known = ids.split()
    sealed = bool(known) if digest is None else digest == f"{_sum_of(ids)}\n"
    if not sealed or not all(map(str.isdigit, known)):
        cure = "Remove it and give UK Biobank's latest list again: eccl withdraw FILE (or --none)."
        raise DamagedError(path, "has changed since it was written", cure)
    return known


def _sum_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
