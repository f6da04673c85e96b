"""The list of withdrawn participants, which each opening of a store applies.

``python -m eccl_lib.data.ukb.withdrawals FILE`` adds UK Biobank's list and deletes these participants from disk, as
``python -m eccl_lib.data.ukb`` does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path

from eccl_lib.config.errors import DamagedError, MissingError, UnreadableError
from eccl_lib.data.ukb import tables
from eccl_lib.io import paths
from eccl_lib.io.files import write_text

LIST = "withdrawn.txt"


def read() -> frozenset[str]:
    """Ids of all withdrawn participants. Raises MissingError if no list of withdrawals was ever given."""
    path = paths.ukb_root() / LIST
    if not path.is_file():
        raise MissingError(
            f"{path} is missing, so the withdrawn participants are unknown. Give UK Biobank's latest list:\n"
            "  python -m eccl_lib.data.ukb.withdrawals FILE   (or --none, if you have received none)"
        )
    return frozenset(path.read_text(encoding="utf-8").split())


def add(eids: Collection[str]) -> frozenset[str]:
    """Add ids to the list and return all ids on it. No stage uses these participants from now on."""
    root = paths.ukb_root()
    root.mkdir(parents=True, exist_ok=True)
    known = set((root / LIST).read_text(encoding="utf-8").split()) if (root / LIST).is_file() else set()
    withdrawn = known | set(eids)
    if withdrawn != known or not (root / LIST).is_file():
        write_text(root / LIST, "".join(f"{eid}\n" for eid in sorted(withdrawn)))
    return frozenset(withdrawn)


def main(words: list[str] | None = None) -> int:
    """The command line: put a list of withdrawals in force and purge."""
    parser = argparse.ArgumentParser(prog="python -m eccl_lib.data.ukb.withdrawals", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("file", nargs="?", type=Path, help="UK Biobank's list, one id a line")
    which.add_argument("--none", action="store_true", help="you have received no list so far")
    given = parser.parse_args(words)
    from eccl_lib.data.ingest.purge import purge  # stores are opened through this module's list

    try:
        eids = frozenset() if given.none else tables.read_withdrawals(given.file)
        withdrawn = add(eids)
        print(f"{len(withdrawn):,} participants are on the list of withdrawals")
        purge(withdrawn)
    except (UnreadableError, DamagedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
