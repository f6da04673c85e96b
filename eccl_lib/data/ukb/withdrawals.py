"""Those who have withdrawn: a list beside the stores that every opening honours, and a purge of what is on disk.

``eccl withdraw FILE`` adds UK Biobank's list and purges; so does ``eccl ingest ukb``.
"""

from __future__ import annotations

from collections.abc import Collection

from eccl_lib.config.errors import MissingError
from eccl_lib.io import paths
from eccl_lib.io.files import write_text

LIST = "withdrawn.txt"


def read() -> frozenset[str]:
    """Ids of all who have withdrawn so far. Raises MissingError where nobody has said whether anyone has."""
    path = paths.ukb_root() / LIST
    if not path.is_file():
        raise MissingError(
            f"{path} is not there, so nobody knows who has withdrawn. Give UK Biobank's latest list:\n"
            "  eccl withdraw FILE   (or --none, if you have received none)"
        )
    return frozenset(path.read_text(encoding="utf-8").split())


def add(eids: Collection[str]) -> frozenset[str]:
    """Put ids on the list, which only grows: from now on no stage sees them. Returns all that are on it."""
    root = paths.ukb_root()
    root.mkdir(parents=True, exist_ok=True)
    known = set((root / LIST).read_text(encoding="utf-8").split()) if (root / LIST).is_file() else set()
    together = known | set(eids)
    if together != known or not (root / LIST).is_file():
        write_text(root / LIST, "".join(f"{eid}\n" for eid in sorted(together)))
    return frozenset(together)
