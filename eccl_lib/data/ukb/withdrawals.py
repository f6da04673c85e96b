"""Those who have withdrawn: a list beside the stores that every opening honours, and a purge of what is on disk.

``python -m eccl_lib.data.ukb.withdrawals FILE`` adds UK Biobank's list and purges; so does ``python -m eccl_lib.data.ukb``.
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
    """Ids of all who have withdrawn so far. Raises MissingError where nobody has said whether anyone has."""
    path = paths.ukb_root() / LIST
    if not path.is_file():
        raise MissingError(
            f"{path} is not there, so nobody knows who has withdrawn. Give UK Biobank's latest list:\n"
            "  python -m eccl_lib.data.ukb.withdrawals FILE   (or --none, if you have received none)"
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
