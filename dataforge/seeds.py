"""Randomness has a name, never a position: what a name draws does not change when other names come or go."""

import hashlib


def draw(seed: int, *names: str) -> int:
    """A 64-bit number that depends on the seed and the names alone, on any machine and in any order."""
    digest = hashlib.blake2b(digest_size=8, key=seed.to_bytes(16, "little", signed=True))
    for name in names:
        encoded = name.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return int.from_bytes(digest.digest(), "little")


def share(seed: int, *names: str) -> float:
    """A number in [0, 1) that depends on the seed and the names alone."""
    return draw(seed, *names) / 2**64
