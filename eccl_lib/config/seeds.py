"""Seeds."""

import hashlib


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from several numbers and words. It is a hash, so neighbouring numbers give unrelated seeds."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1
