"""Rows become windows: documents laid end to end, none split, as full as best-fit makes them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dataforge import seeds
from dataforge.row_table import Rows
from dataforge.shard_writer import Windows

TOKENS_PER_SHARD = 2**23
TOKENS_PER_ROW = 256
"""What a row counts at least, so that a shard holds at most 32,768 rows and 8.4 M tokens, whatever their lengths."""


def pack(rows: Rows, order: npt.NDArray[np.intp], window: int, seed: int) -> Windows:
    """Windows of at most `window` tokens; within one, documents keep the order that is given of all."""
    found = [order[sorted(members)].tolist() for members in best_fit(rows.lengths[order].tolist(), window)]
    bins = sorted(found, key=lambda members: seeds.draw(seed, "window", *(rows.ids[member] for member in members)))
    documents = rows.take(np.array([member for members in bins for member in members], dtype=np.intp))
    per_window = np.array([len(members) for members in bins], dtype=np.int64)
    return Windows(
        input_ids=documents.input_ids,
        assistant_masks=documents.masks,
        seq_lengths=documents.lengths.astype(np.int32),
        record_ids=documents.ids,
        documents=per_window,
    )


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
