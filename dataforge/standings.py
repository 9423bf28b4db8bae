"""Who stands above whom after comparisons two by two: by Bradley and Terry's model, or by wins less losses.

In the model one beats another with the probability p_i / (p_i + p_j). Its strengths p are found by the
minorisation-maximisation of Hunter (2004). They exist only where each can be reached from each by wins; where somebody
never lost, or never won, they would grow without end, and Copeland's count stands in for them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

Method = Literal["bradley_terry", "copeland"]
Points = Mapping[tuple[int, int], int]
"""How many points the first of two took from the other: 2 for a win, 1 for each side of a tie."""

_ROUNDS = 100_000
_CLOSE = 1e-13
_DIGITS = 6


def standings(count: int, points: Points) -> tuple[Method, list[float]]:
    """The method, and the score of each of `count`, the higher the better.

    Scores are logarithms of strengths whose mean is 0, or wins less losses, rounded to six digits.
    """
    if _connected(count, points):
        return "bradley_terry", _bradley_terry(count, points)
    taken = [[points.get((one, other), 0) for other in range(count)] for one in range(count)]
    scores = [
        sum((taken[one][other] > taken[other][one]) - (taken[one][other] < taken[other][one]) for other in range(count))
        for one in range(count)
    ]
    return "copeland", [float(score) for score in scores]


def ranks(scores: Sequence[float]) -> list[int]:
    """0 for the highest score, 1 for the next; equal scores share a rank."""
    levels = {score: rank for rank, score in enumerate(sorted(set(scores), reverse=True))}
    return [levels[score] for score in scores]


def _connected(count: int, points: Points) -> bool:
    """Whether from each of them all others are reached by points taken."""
    beaten: dict[int, set[int]] = {one: set() for one in range(count)}
    beaten_by: dict[int, set[int]] = {one: set() for one in range(count)}
    for (winner, loser), taken in points.items():
        if taken:
            beaten[winner].add(loser)
            beaten_by[loser].add(winner)
    return all(len(_reached(0, edges)) == count for edges in (beaten, beaten_by))


def _reached(start: int, edges: Mapping[int, set[int]]) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        for other in edges[waiting.pop()] - seen:
            seen.add(other)
            waiting.append(other)
    return seen


def _bradley_terry(count: int, points: Points) -> list[float]:
    strength = [1.0] * count
    won = [sum(points.get((one, other), 0) for other in range(count)) for one in range(count)]
    met = [
        [(other, points.get((one, other), 0) + points.get((other, one), 0)) for other in range(count) if other != one]
        for one in range(count)
    ]
    for _ in range(_ROUNDS):
        moved = [
            won[one] / math.fsum(games / (strength[one] + strength[other]) for other, games in met[one])
            for one in range(count)
        ]
        scale = math.exp(math.fsum(map(math.log, moved)) / count)
        moved = [each / scale for each in moved]
        done = max(abs(new - old) / old for new, old in zip(moved, strength, strict=True)) < _CLOSE
        strength = moved
        if done:
            break
    # Adding 0.0 turns -0.0 into 0.0.
    return [round(math.log(each), _DIGITS) + 0.0 for each in strength]
