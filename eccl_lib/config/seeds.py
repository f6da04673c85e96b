"""Seeds."""

import hashlib


def seed_of(*parts: int) -> int:
    """One 63-bit seed from several numbers, by a hash: neighbouring numbers give unrelated seeds."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") >> 1
