"""Seeds."""

import hashlib


def seed_of(*parts: int) -> int:
    """A 63-bit seed from several numbers. It is a hash, so neighbouring numbers give unrelated seeds."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1
