"""How much of two texts is the same in the same order: ROUGE-L over words, and over characters in Chinese.

The longest common subsequence of two token sequences of m and n has L tokens; precision is L / n, recall L / m, and
their harmonic mean 2 L / (m + n) does not depend on which of the two comes first.
"""

from collections import Counter
from collections.abc import Hashable, Sequence

from dataforge.text import pieces


def common(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence of two sequences.

    Bits of one integer stand for the tokens of one sequence, so that a token of the other is one addition (Hyyrö 2004).
    """
    if len(one) < len(other):
        one, other = other, one
    places: dict[Hashable, int] = {}
    for number, token in enumerate(other):
        places[token] = places.get(token, 0) | 1 << number
    whole = (1 << len(other)) - 1
    row = whole
    for token in one:
        found = places.get(token)
        if found is not None:
            matched = row & found
            row = (row + matched) | (row - matched)
    return len(other) - (row & whole).bit_count()


def rouge_l(one: str, other: str) -> float:
    """The F measure of two texts, 0 where one of them has no tokens."""
    left, right = pieces(one), pieces(other)
    return 2 * common(left, right) / (len(left) + len(right)) if left and right else 0.0


def token_f1(one: str, other: str) -> float:
    """The F measure of the tokens that two texts have in common in any order, as SQuAD scores answers."""
    left, right = Counter(pieces(one)), Counter(pieces(other))
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 0.0
