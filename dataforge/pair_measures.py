"""How pairs are spread: over ratios and margins, the time between their answers, and lengths.

Whole numbers of records in fixed ranges, so that they add up over parts and machines. `longer in tokens` tells how
often the longer answer is the better one: where that is far from half, a model learns to prefer length.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from dataforge.records import Preference
from dataforge.tokenize import Encoded

RATIOS = (0, 1, 1.25, 1.5, 2, 3, 5, 10, 100, math.inf)
MARGINS = (-math.inf, 0, 0.5, 1, 2, 5, 10, 100, math.inf)
SECONDS = (-math.inf, 0, 60, 3600, 6 * 3600, 86400, 7 * 86400, math.inf)
SPANS = ("earlier", "in a minute", "in an hour", "in 6 hours", "in a day", "in a week", "later than a week")
TOKENS = (0, 16, 64, 128, 256, 512, 1024, 4096, math.inf)
UNKNOWN = "not known"


def counted(kept: Iterable[Encoded]) -> dict[str, dict[str, int]]:
    """How many pairs fall into which range, each as often as it is trained on; the ranges in order."""
    found: dict[str, Counter[str]] = {what: Counter() for what in RANGES}
    for item in kept:
        pair = item.record
        if not isinstance(pair, Preference):
            raise RuntimeError(f"record {pair.id} is no pair")
        (row,) = item.rows
        _, chosen, rejected = np.bincount(row.mask, minlength=3).tolist()
        longer = "chosen" if chosen > rejected else "rejected" if rejected > chosen else "neither"
        for what, name in (
            ("score ratio", _range(pair.facts.get("score_ratio"), RATIOS, _named(RATIOS))),
            ("margin", _range(pair.margin, MARGINS, _named(MARGINS))),
            ("chosen after rejected", _range(pair.facts.get("seconds_later"), SECONDS, SPANS)),
            ("tokens chosen", _range(chosen, TOKENS, _named(TOKENS))),
            ("tokens rejected", _range(rejected, TOKENS, _named(TOKENS))),
            ("longer in tokens", longer),
        ):
            found[what][name] += pair.copies
    return {
        what: {name: counts[name] for name in RANGES[what] if counts[name]} for what, counts in found.items() if counts
    }


def in_order(what: str, ranges: Mapping[str, int]) -> list[tuple[str, int]]:
    """The ranges of one measure from the least to the greatest."""
    known = RANGES.get(what, ())
    return [(name, ranges[name]) for name in (*known, *sorted(set(ranges) - set(known))) if name in ranges]


def _range(value: object, edges: Sequence[float], names: Sequence[str]) -> str:
    if not isinstance(value, int | float) or math.isnan(value):
        return UNKNOWN
    return names[max(0, min(bisect_right(edges, value), len(names)) - 1)]


def _named(edges: Sequence[float]) -> list[str]:
    return [
        f"below {high:g}" if low == -math.inf else f"{low:g} and more" if high == math.inf else f"{low:g} to {high:g}"
        for low, high in pairwise(edges)
    ]


RANGES: Mapping[str, Sequence[str]] = {
    "score ratio": (*_named(RATIOS), UNKNOWN),
    "margin": (*_named(MARGINS), UNKNOWN),
    "chosen after rejected": (*SPANS, UNKNOWN),
    "tokens chosen": _named(TOKENS),
    "tokens rejected": _named(TOKENS),
    "longer in tokens": ("chosen", "rejected", "neither"),
}
"""The ranges of each measure, from the least to the greatest."""
