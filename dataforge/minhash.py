"""How alike texts are, from 128 bytes of each: MinHash over runs of characters.

A text is the set of its shingles, runs of five characters; the similarity of two is that of Jaccard, the share of
their union that they have in common. A sketch holds 128 MinHash values of the set, of 8 bits each. It depends on the
text alone: not on the machine, the process or what is sketched beside it.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import rensa
from numpy.typing import NDArray

VALUES = 128
"""MinHash values of a text, of 8 bits each."""
SHINGLE = 5
"""Characters that are compared as one: about a word in English, and a phrase in Chinese."""
KEY_BYTES = 12
"""The longest key; DuckDB keeps values of up to so many bytes in place."""
_FOUND = 0.97
_SEED = 5
_BLOCK = 1 << 15  # characters hashed at a time: their arrays stay in the cache, 2.5 times as fast as 2^20 of them
_MULTIPLIER = np.uint64(0xD1342543DE82EF95)  # odd, so that it loses no bit modulo 2^64


def sketches(texts: Sequence[str]) -> list[bytes | None]:
    """128 MinHash values of each text's set of shingles, of 8 bits each; none for an empty text."""
    found: list[bytes | None] = [None] * len(texts)
    block: list[int] = []
    size = 0
    for number, text in enumerate(texts):
        if text:
            block.append(number)
            size += len(text)
        if block and (size >= _BLOCK or number == len(texts) - 1):
            hashes, starts = shingle_hashes([texts[member] for member in block], SHINGLE)
            for member, sketch in zip(block, sketches_of(hashes, starts), strict=True):
                found[member] = sketch
            block, size = [], 0
    return found


def sketches_of(hashes: NDArray[np.uint64], starts: NDArray[np.uint64]) -> list[bytes]:
    """The sketch of each of several sets of 64-bit hashes, which stand one after another.

    `starts` has where each set begins, with the end of the last: shape (sets + 1,). No set may be empty.
    """
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts, VALUES, _SEED)
    values = np.array(matrix.to_rows(), dtype=np.uint32)
    eight_bits = ((values * np.uint32(0x9E3779B1)) >> np.uint32(24)).astype(np.uint8)
    return [sketch.tobytes() for sketch in eight_bits]


def equal_values(one: pa.Array, other: pa.Array) -> NDArray[np.int64]:
    """How many of their values pairs of sketches have in common, shape (pairs,)."""
    first, second = (np.frombuffer(b"".join(side.to_pylist()), np.uint8).reshape(-1, VALUES) for side in (one, other))
    equal: NDArray[np.int64] = (first == second).sum(axis=1, dtype=np.int64)
    return equal


def per_mille(equal: NDArray[np.int64]) -> NDArray[np.int64]:
    """The similarity that so many equal values tell, of 1000, without those that are equal by chance.

    Values of 8 bits are equal with p = s + (1 - s) / 256, so that m of 128 tell s = (2 m - 1) / 255.
    """
    return np.maximum(2 * equal - 1, 0) * 1000 // 255


def bands(near: float) -> tuple[int, int]:
    """How many values a key holds, and how many keys a record has.

    As many values as still give two records of similarity `near` a common key with a probability of at least 0.97,
    which is 1 - (1 - p^values)^keys with p = near + (1 - near) / 256, since values of 8 bits are also equal by chance.
    At most 12, which is as long a key as DuckDB keeps in place.
    """
    equal = near + (1 - near) / 256
    serves = [r for r in range(1, KEY_BYTES + 1) if 1 - (1 - equal**r) ** (VALUES // r) > _FOUND]
    return serves[-1], VALUES // serves[-1]


def band_columns(near: float) -> list[tuple[str, str]]:
    """Of each band the key in a column `sketch` and what stands after it there, as SQL."""
    rows, keys = bands(near)
    found = []
    for start in range(0, keys * rows, rows):
        after = start + rows if start + rows + KEY_BYTES <= VALUES else 0
        found.append((f"sketch[{start + 1}:{start + rows}]", f"sketch[{after + 1}:{after + KEY_BYTES}]"))
    return found


def within(cut: int, cuts: int) -> str:
    """Whether a column `key` falls into one of so many cuts, as SQL."""
    bounds = [bytes(divmod(number * 65536 // cuts, 256)) for number in (cut, cut + 1) if number < cuts]
    return " AND ".join(f"key {sign} unhex('{bound.hex()}')" for sign, bound in zip((">=", "<"), bounds, strict=False))


def shingle_hashes(texts: Sequence[str], length: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """A 64-bit hash of every run of `length` characters of each text, in its order, repetitions included.

    Characters need no word boundaries, so that Chinese and English are cut alike. A text that is shorter has one
    shingle, itself. Returns the hashes of all texts one after another, and where each text's begin, with the end of
    the last: shapes (shingles,) and (texts + 1,). Holds about 40 bytes for each character.
    """
    padded = [text.ljust(length, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    ends = np.cumsum([0, *map(len, padded)])
    starts = max(len(codes) - length + 1, 0)
    hashes = codes[:starts].copy()
    for place in range(1, length):
        hashes *= _MULTIPLIER
        hashes += codes[place : place + starts]
    inside = np.ones(starts, dtype=np.bool_)
    for place in range(1, length):
        inside[ends[1:-1] - place] = False
    return _mixed(hashes[inside]), (ends - (length - 1) * np.arange(len(ends))).astype(np.uint64)


def _mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64, in place: afterwards every bit depends on every bit."""
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes ^= hashes >> np.uint64(shift)
        hashes *= np.uint64(multiplier)
    hashes ^= hashes >> np.uint64(31)
    return hashes
