"""Right rows made wrong, to see that the judge sees it."""

from collections.abc import Iterator
from dataclasses import replace

from mask_judge import Case, Ids, Judge

Row = tuple[Ids, Ids]


def unseen(judge: Judge, case: Case) -> tuple[int, list[str]]:
    """How many ways of spoiling a conversation's rows there are, and those that the judge does not see."""
    ways = [
        (name, [*case.rows[:number], *rows, *case.rows[number + 1 :]] or [([1], [0])])
        for number, row in enumerate(case.rows)
        for name, rows in _spoilt(*row)
    ]
    return len(ways), [name for name, rows in ways if not judge.check(replace(case, rows=rows))[0]]


def _spoilt(ids: Ids, mask: Ids) -> Iterator[tuple[str, list[Row]]]:
    """What a row may become, around its first answer."""
    start = mask.index(1)
    end = next((at for at in range(start, len(mask)) if not mask[at]), len(mask))
    yield "the first token is not trained", [(ids, _set(mask, 0, start))]
    yield "a token before is trained", [(ids, _set(mask, 1, start - 1))]
    yield "the stop is not trained", [(ids, _set(mask, 0, end - 1))]
    if end < len(mask):
        yield "a token after is trained", [(ids, _set(mask, 1, end))]
    yield "a token of the prompt is trained", [(ids, _set(mask, 1, start // 2))]
    yield "everything is trained", [(ids, [1] * len(mask))]
    yield "a hole", [(ids, _set(mask, 0, (start + end) // 2))]
    yield "an answer is not trained", [(ids, _set(mask, 0, *range(start, end)))]
    yield "another token in the prompt", [(_other(ids, start // 2), mask)]
    yield "another token at the end of the prompt", [(_other(ids, start - 1), mask)]
    yield "another token in the answer", [(_other(ids, start), mask)]
    yield "another stop", [(_other(ids, end - 1), mask)]
    yield "a row twice", [(ids, mask), (ids, mask)]
    yield "a row is missing", []
    yield "a row goes on", [([*ids, ids[0]], [*mask, 0])]


def _set(mask: Ids, bit: int, *places: int) -> Ids:
    return [bit if at in places else found for at, found in enumerate(mask)]


def _other(ids: Ids, at: int) -> Ids:
    return [*ids[:at], (ids[at] + 1) % 100, *ids[at + 1 :]]
