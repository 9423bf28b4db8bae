"""Rows become windows: documents laid end to end, none split, as full as best-fit makes them."""

from collections.abc import Sequence

import numpy as np

from dataforge import seeds
from dataforge.shards import Window
from dataforge.tokenize import Row

ROWS_PER_SHARD = 65_536


def shard_groups(rows: Sequence[Row], seed: int) -> list[list[Row]]:
    """Rows in an order that depends on the seed and their ids alone, cut into groups of one shard each."""
    ordered = sorted(rows, key=lambda row: (seeds.draw(seed, "order", row.id, str(row.copy)), row.id, row.copy))
    return [ordered[start : start + ROWS_PER_SHARD] for start in range(0, len(ordered), ROWS_PER_SHARD)]


def pack(rows: Sequence[Row], window: int, seed: int) -> list[Window]:
    """Windows of at most `window` tokens; within one, documents keep their order."""
    windows = []
    for members in best_fit([len(row.input_ids) for row in rows], window):
        documents = [rows[member] for member in sorted(members)]
        windows.append(
            Window(
                input_ids=np.concatenate([row.input_ids for row in documents]),
                assistant_masks=np.concatenate([row.mask for row in documents]),
                seq_lengths=np.asarray([len(row.input_ids) for row in documents], dtype=np.int32),
                record_ids=tuple(row.id for row in documents),
            )
        )
    return sorted(windows, key=lambda window: seeds.draw(seed, "window", *window.record_ids))


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: each item goes into the bin that it leaves with the least room.

    The free spaces that some bin has are the set bits of one integer, so the best bin is found by a shift.
    Every length must be at most `capacity`.
    """
    bins: list[list[int]] = []
    bins_by_space: dict[int, list[int]] = {}
    spaces = 0
    for item in sorted(range(len(lengths)), key=lambda item: (-lengths[item], item)):
        fitting = spaces >> lengths[item]
        if fitting:
            space = lengths[item] + (fitting & -fitting).bit_length() - 1
            target = bins_by_space[space].pop()
            if not bins_by_space[space]:
                spaces &= ~(1 << space)
        else:
            space, target = capacity, len(bins)
            bins.append([])
        bins[target].append(item)
        left = space - lengths[item]
        bins_by_space.setdefault(left, []).append(target)
        spaces |= 1 << left
    return bins
