"""The list of withdrawn participants; it is applied whenever a store is opened.

``eccl withdraw`` and ``eccl ingest ukb`` add UK Biobank's list and delete these participants from disk.
"""

from collections.abc import Collection

from eccl_lib.config.errors import MissingError
from eccl_lib.io import paths
from eccl_lib.io.files import exclusive_lock, write_text

LIST = "withdrawn.txt"


def read() -> frozenset[str]:
    """Ids of all withdrawn participants. Raises MissingError if no list of withdrawals was ever given."""
    path = paths.ukb_root() / LIST
    if not path.is_file():
        raise MissingError(
            f"{path} is missing, so the withdrawn participants are unknown. Give UK Biobank's latest list:\n"
            "  eccl withdraw FILE   (or --none, if you have received none)"
        )
    return frozenset(path.read_text(encoding="utf-8").split())


def add(eids: Collection[str]) -> frozenset[str]:
    """Add ids to the list and return all ids on it. No stage uses these participants from now on.

    Two processes add one after the other, so that neither loses the ids of the other.
    """
    root = paths.ukb_root()
    with exclusive_lock(root):
        known = set((root / LIST).read_text(encoding="utf-8").split()) if (root / LIST).is_file() else set()
        withdrawn = known | set(eids)
        if withdrawn != known or not (root / LIST).is_file():
            write_text(root / LIST, "".join(f"{eid}\n" for eid in sorted(withdrawn)))
    return frozenset(withdrawn)
