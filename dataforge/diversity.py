"""How much of what is trained on, and of what is kept for evaluation, is of which source, task and language."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dataforge.records import language_of, task_of
from dataforge.shards import Amount, Diversity
from dataforge.tokenize import Encoded

MOST = 1000
"""Names of one kind that a manifest lists; the smaller ones are one entry."""
OTHERS = "(others)"
NONE = "(none)"
"""Where a source says no task or no language."""
Counted = dict[str, dict[str, list[int]]]
"""By what records are told apart, and by name: records, tokens and trained tokens, as often as they are trained on."""


def counted(encoded: Iterable[Encoded]) -> Counted:
    """The amounts of some records that were kept."""
    found: Counted = {}
    for item in encoded:
        record = item.record
        tokens = sum(len(row.input_ids) for row in item.rows)
        trained = sum(int(np.count_nonzero(row.mask)) for row in item.rows)
        task, language = task_of(record) or NONE, language_of(record) or NONE
        names = {"source": record.origin.source, "task": task, "language": language}
        for kind, name in names.items():
            amount = found.setdefault(kind, {}).setdefault(name, [0, 0, 0])
            for at, value in enumerate((1, tokens, trained)):
                amount[at] += value * record.copies
    return found


def together(parts: Iterable[Mapping[str, Counted]]) -> Diversity:
    """The amounts of all parts by split, the largest first."""
    sums: dict[str, Counted] = {}
    for of_part in parts:
        for split, kinds in of_part.items():
            for kind, names in kinds.items():
                mine = sums.setdefault(split, {}).setdefault(kind, {})
                for name, amounts in names.items():
                    mine[name] = [a + b for a, b in zip(mine.get(name, (0, 0, 0)), amounts, strict=True)]
    found: dict[Any, dict[str, dict[str, Amount]]] = {}
    for split, kinds in sums.items():
        found[split] = {kind: _largest(names) for kind, names in kinds.items()}
    return found


def _largest(names: Mapping[str, list[int]]) -> dict[str, Amount]:
    ranked = sorted(names.items(), key=lambda item: (-item[1][0], item[0]))
    shown, rest = ranked[:MOST], [amounts for _, amounts in ranked[MOST:]]
    if rest:
        shown.append((OTHERS, [sum(column) for column in zip(*rest, strict=True)]))
    return {name: Amount(records=amounts[0], tokens=amounts[1], trained_tokens=amounts[2]) for name, amounts in shown}
