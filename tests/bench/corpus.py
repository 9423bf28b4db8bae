"""A corpus of any size for measurements, with a known number of duplicates; the same seed gives the same bytes.

    python -m tests.bench.corpus N OUT.jsonl [--seed 7]

Writes N records `{"messages": [...]}` of a question and an answer, 25 to 47 phrases together: four fifths of them
English-looking words from syllables (1,200 characters), one fifth common Chinese characters (310, of as many
tokens). There are 32,768 phrases of each kind; the text is nobody's. One record in 100 repeats an earlier one, half of
these with other white space; two in 100 are an earlier one with one phrase exchanged, of a Jaccard similarity of about
0.93. OUT.truth.json says how many there are. What is repeated is one of 4,096 earlier records that are kept at a time,
so that memory does not grow with N.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

EXACT, NEAR = 0.01, 0.02
PHRASES = 1 << 15
SHORTEST, LONGEST = 25, 47
_KEPT = 1 << 12
_BATCH = 1 << 12

_ONSETS = [
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "h",
    "j",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "st",
    "t",
    "v",
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "oa", "ou"]
_CODAS = ["", "", "", "l", "m", "n", "nd", "r", "rt", "s", "ss", "st", "t", "ck"]
# The first level of GB 2312: the 3,755 most common characters, here all but its last row.
_HAN = [bytes((row, cell)).decode("gb2312") for row in range(0xB0, 0xD7) for cell in range(0xA1, 0xFF)]


def main() -> None:
    """Write the corpus and its truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(orjson.dumps(write(options.count, options.out, options.seed)).decode(), file=sys.stderr)


def write(count: int, out: Path, seed: int = 7) -> dict[str, int]:
    """Write `count` records and beside them the truth, which is returned: `records`, `exact` and `near`."""
    truth = {"records": count, "exact": 0, "near": 0}
    with out.open("wb") as file:
        for lines in _batches(count, seed, truth):
            file.write(b"".join(lines))
    out.with_suffix(".truth.json").write_bytes(orjson.dumps(truth))
    return truth


def _batches(count: int, seed: int, truth: dict[str, int]) -> Iterator[list[bytes]]:
    # Of numpy's randomness only the raw numbers of a bit generator are promised to stay what they are.
    source = np.random.PCG64(seed)
    phrases = _phrases(source)
    kept: list[list[int]] = []
    for start in range(0, count, _BATCH):
        rows = min(_BATCH, count - start)
        draws = source.random_raw((rows, 5))
        lengths = (SHORTEST + draws[:, 0] % np.uint64(LONGEST - SHORTEST + 1)).tolist()
        chinese = np.where(draws[:, 1] % np.uint64(5) == 0, PHRASES, 0)
        chosen = (source.random_raw((rows, LONGEST)) % np.uint64(PHRASES)).astype(np.int64) + chinese[:, None]
        kinds = (draws[:, 2] / 2.0**64).tolist()
        lines = []
        for length, places, kind, draw in zip(lengths, chosen.tolist(), kinds, draws[:, 3:].tolist(), strict=True):
            made = places[:length]
            if kept and kind < EXACT + NEAR:
                made = list(kept[draw[0] % len(kept)])
                truth["exact" if kind < EXACT else "near"] += 1
                if kind >= EXACT:
                    _exchange(made, draw[1] % len(made), places[-1] % PHRASES)
            elif len(kept) < _KEPT:
                kept.append(made)
            elif draw[1] % 64 == 0:
                kept[draw[0] % _KEPT] = made
            lines.append(_line(made, phrases, b"  " if kind < EXACT / 2 else b" "))
        yield lines


def _exchange(made: list[int], at: int, other: int) -> None:
    """Put another phrase of the same kind in the place of one."""
    other += made[at] // PHRASES * PHRASES
    made[at] = other ^ 1 if other == made[at] else other


def _line(made: list[int], phrases: list[bytes], between: bytes) -> bytes:
    asked = len(made) // 5
    question = between.join([phrases[place] for place in made[:asked]])
    answer = between.join([phrases[place] for place in made[asked:]])
    return b'{"messages":[{"role":"user","content":"%b"},{"role":"assistant","content":"%b"}]}\n' % (question, answer)


def _phrases(source: np.random.PCG64) -> list[bytes]:
    """Phrases of four to six words, and after them as many of five to eight characters."""

    def pick(things: list[str], draw: int) -> str:
        return things[draw % len(things)]

    english, chinese = [], []
    for draws in source.random_raw((PHRASES, 6)).tolist():
        words = []
        for draw in draws[: 4 + draws[0] % 3]:
            syllables = [
                pick(_ONSETS, part) + pick(_VOWELS, part >> 5) + pick(_CODAS, part >> 9)
                for part in (draw >> 8, draw >> 24)[: 1 + (draw >> 60 < 6)]
            ]
            words.append("".join(syllables))
        english.append((" ".join(words) + pick([",", ".", "", ""], draws[0] >> 40)).encode())
    for draws in source.random_raw((PHRASES, 8)).tolist():
        characters = [pick(_HAN, draw) for draw in draws[: 5 + draws[0] % 4]]
        chinese.append(("".join(characters) + pick(["，", "。", ""], draws[0] >> 40)).encode())
    return [*english, *chinese]


if __name__ == "__main__":
    main()
