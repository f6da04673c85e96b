"""What a kill, a full disk, a damaged or a hostile file may do: each count of these tests is printed by its module."""

import os

LONG = bool(os.environ.get("ECCL_LONG"))  # make test-long: the full counts
