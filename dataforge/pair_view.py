"""What there is to see of a pair: where its answers differ, and in one line how it was judged."""

from collections.abc import Sequence
from datetime import UTC, datetime
from difflib import Match, SequenceMatcher
from itertools import pairwise
from typing import Any

from dataforge.records import Preference

_SPANS = ((86_400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
_SIDES = ("chosen", "rejected")


def differing(one: Sequence[int], other: Sequence[int]) -> tuple[list[bool], list[bool]]:
    """Of each token of two sequences whether it is where they differ; all others stand in both, in the same order.

    What both begin and end with never differs. Between, what they have in common counts as such only if it is at least
    as long as what differs before it, or after: two sentences that share a comma and an article have nothing in common.
    Ids that are very common in a long sequence do not begin a common stretch, so that the time stays near the length
    whatever the answers repeat.
    """
    shortest = min(len(one), len(other))
    begin = next((at for at in range(shortest) if one[at] != other[at]), shortest)
    end = next((at for at in range(shortest - begin) if one[-1 - at] != other[-1 - at]), shortest - begin)
    inner = one[begin : len(one) - end], other[begin : len(other) - end]
    marks = [True] * len(inner[0]), [True] * len(inner[1])
    for first, second, length in _telling(SequenceMatcher(None, *inner).get_matching_blocks(), *map(len, inner)):
        marks[0][first : first + length] = marks[1][second : second + length] = [False] * length
    same_before, same_after = [False] * begin, [False] * end
    return same_before + marks[0] + same_after, same_before + marks[1] + same_after


def _telling(common: list[Match], first: int, second: int) -> list[Match]:
    """Common stretches of two sequences of these lengths without those that are shorter than what surrounds them."""
    while True:
        bounds = [Match(0, 0, 0), *common, Match(first, second, 0)]
        gaps = [max(after.a - one.a - one.size, after.b - one.b - one.size) for one, after in pairwise(bounds)]
        kept = [each for each, *around in zip(common, gaps, gaps[1:], strict=False) if each.size >= min(around)]
        if len(kept) == len(common):
            return kept
        common = kept


def judged(pair: Preference) -> str:
    """Margin, scores, ranks, times and rule, as far as the record knows them; may be empty."""
    facts = pair.facts
    said = [] if pair.margin is None else [f"margin {_number(pair.margin)}"]
    for name in ("score", "rank"):
        both = [facts.get(f"{name}_{side}") for side in _SIDES]
        if all(value is not None for value in both):
            said.append(f"{name}s {_number(both[0])} and {_number(both[1])}")
    if facts.get("score_ratio") is not None:
        said.append(f"ratio {_number(facts['score_ratio'])}")
    later = facts.get("seconds_later")
    if isinstance(later, int | float) and abs(later) < 1e12:
        said.append(f"chosen written {_span(later)}")
    written = [when for side in _SIDES if (when := _when(facts.get(f"created_{side}")))]
    if len(written) == len(_SIDES):
        said.append(f"at {written[0]} and {written[1]} UTC")
    if facts.get("rule") is not None:
        said.append(f"rule {facts['rule']}")
    return ", ".join(said)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _span(seconds: float) -> str:
    if not seconds:
        return "at the same time"
    size, unit = next(((size, unit) for size, unit in _SPANS if abs(seconds) >= size), _SPANS[-1])
    return f"{abs(seconds) / size:.3g} {unit} {'later' if seconds > 0 else 'earlier'}"


def _when(seconds: Any) -> str | None:
    if not isinstance(seconds, int | float) or not 0 <= seconds < 2**35:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
