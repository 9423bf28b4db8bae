"""What verdicts on pairs of answers, each asked for in both orders, come to; only what both orders say counts."""

from collections.abc import Mapping, Sequence
from typing import Literal

from dataforge.prompt_set import Tally
from dataforge.verdicts import Verdict

Pair = tuple[int, int]


def points(
    texts: Sequence[str], pairs: Sequence[Pair], raw: Mapping[Pair, Verdict], tally: Tally
) -> dict[tuple[int, int], int]:
    """What each took from another: 2 for a win, 1 for each side of a tie; nothing where the orders disagree.

    Answers with the same text are a tie without a verdict. Counts what the verdicts say in the tally.
    """
    found: dict[tuple[int, int], int] = {}
    for one, other in pairs:
        winner = _winner(texts, raw, one, other, tally)
        if winner == "tie":
            found[one, other] = found[other, one] = 1
        elif winner is not None:
            found[winner, other if winner == one else one] = 2
    return found


def _winner(
    texts: Sequence[str], raw: Mapping[Pair, Verdict], one: int, other: int, tally: Tally
) -> int | Literal["tie"] | None:
    if texts[one] == texts[other]:
        tally.add("same_text")
        return "tie"
    ways = raw[one, other], raw[other, one]
    tally.add("pairs")
    for way in ways:
        if way != "tie":
            tally.add("raw_wins")
            tally.add("first_wins", int(way == "first"))
    if ways == ("tie", "tie"):
        tally.add("ties")
        tally.add("consistent")
        return "tie"
    if "tie" in ways or ways[0] == ways[1]:
        tally.add("half_ties" if "tie" in ways else "flips")
        return None
    winner, loser = (one, other) if ways[0] == "first" else (other, one)
    tally.add("wins")
    tally.add("consistent")
    if len(texts[winner]) != len(texts[loser]):
        tally.add("wins_of_unequal_length")
        tally.add("longer_wins", int(len(texts[winner]) > len(texts[loser])))
    return winner
