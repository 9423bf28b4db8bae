"""Rows as Arrow files: those of one part, in the order in which training meets them.

That order is the rows' own: a number drawn for each by the seed and its id. A shard is a range of the order, so it
finds its rows of a part side by side. The numbers and lengths alone are the thin table that packing starts from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataforge import arrow_bytes, seeds
from dataforge.tokenize import Row

ROWS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("assistant_masks", pa.list_(pa.int8()), nullable=False),
        pa.field("draw", pa.uint64(), nullable=False),
        pa.field("margin", pa.float64()),
    ]
)
THIN = pa.schema([pa.field("draw", pa.uint64(), nullable=False), pa.field("length", pa.int32(), nullable=False)])
_ROWS_PER_BATCH = 128
"""So that a range of rows is read without what stands around it."""


@dataclass(frozen=True)
class Rows:
    """Rows laid end to end."""

    ids: Sequence[str]
    """`record#turn` of each."""
    draws: npt.NDArray[np.uint64]
    """(rows,), the order."""
    lengths: npt.NDArray[np.int64]
    """(rows,), in tokens."""
    input_ids: npt.NDArray[np.int32]
    """(tokens,)"""
    masks: npt.NDArray[np.int8]
    """(tokens,), as in `tokenize.Row`."""
    margins: npt.NDArray[np.float64]
    """(rows,), not a number where there is none."""

    def take(self, order: npt.NDArray[np.intp]) -> "Rows":
        """The rows of these numbers, in this order."""
        edges = np.concatenate(([0], np.cumsum(self.lengths)))
        # Slices, since an index for each token would be larger than the tokens.
        slices = [slice(*edge) for edge in zip(edges[order].tolist(), edges[order + 1].tolist(), strict=True)]
        return Rows(
            [self.ids[number] for number in order.tolist()],
            self.draws[order],
            self.lengths[order],
            _laid([self.input_ids[each] for each in slices], np.int32),
            _laid([self.masks[each] for each in slices], np.int8),
            self.margins[order],
        )


def in_order(rows: Iterable[tuple[Row, int]], seed: int) -> Rows:
    """Rows, each as often as it is to be trained, in the order of their draws."""
    found = [
        (seeds.draw(seed, "order", row.id, str(copy)), row) for row, copies in rows for copy in range(1, copies + 1)
    ]
    found.sort(key=lambda item: item[0])
    return Rows(
        [row.id for _, row in found],
        np.array([draw for draw, _ in found], dtype=np.uint64),
        np.array([len(row.input_ids) for _, row in found], dtype=np.int64),
        _laid([row.input_ids for _, row in found], np.int32),
        _laid([row.mask for _, row in found], np.int8),
        np.array([row.margin for _, row in found], dtype=np.float64),
    )


def write(rows: Rows) -> bytes:
    """Rows as an Arrow file of several batches."""
    edges = pa.array(np.concatenate(([0], np.cumsum(rows.lengths))).astype(np.int32))
    table = pa.table(
        [
            pa.array(rows.ids, pa.string()),
            pa.ListArray.from_arrays(edges, pa.array(rows.input_ids)),
            pa.ListArray.from_arrays(edges, pa.array(rows.masks)),
            pa.array(rows.draws),
            pa.array(rows.margins, pa.float64(), from_pandas=True),
        ],
        schema=ROWS,
    )
    return arrow_bytes.file(table, _ROWS_PER_BATCH)


def write_thin(rows: Rows) -> bytes:
    """The thin table of rows as a Parquet file, in the same order."""
    table = pa.table([pa.array(rows.draws), pa.array(rows.lengths, pa.int32())], schema=THIN)
    return arrow_bytes.parquet(table, "none", dictionary=False)


def read(file: pa.NativeFile, start: int, stop: int) -> Rows:
    """The rows `start` to `stop` of a file that `write` made.

    They are copies: while a view of a mapped file lives, the system counts what it read ahead as this process's memory.
    """
    reader = pa.ipc.open_file(file)
    first, last = start // _ROWS_PER_BATCH, -(-stop // _ROWS_PER_BATCH)
    table = pa.Table.from_batches([reader.get_batch(number) for number in range(first, last)], schema=ROWS)
    table = table.slice(start - first * _ROWS_PER_BATCH, stop - start)
    return Rows(
        table.column("id").to_pylist(),
        _copied(table.column("draw").chunks),
        _copied([chunk.value_lengths() for chunk in table.column("input_ids").chunks]).astype(np.int64),
        _copied([chunk.flatten() for chunk in table.column("input_ids").chunks]),
        _copied([chunk.flatten() for chunk in table.column("assistant_masks").chunks]),
        np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in table.column("margin").chunks]),
    )


def together(parts: Sequence[Rows]) -> tuple[Rows, npt.NDArray[np.intp]]:
    """Rows of several parts, and their numbers in order; what is drawn alike keeps the order of the parts."""
    rows = Rows(
        [identity for part in parts for identity in part.ids],
        np.concatenate([part.draws for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.input_ids for part in parts]),
        np.concatenate([part.masks for part in parts]),
        np.concatenate([part.margins for part in parts]),
    )
    return rows, np.argsort(rows.draws, kind="stable")


def lengths_of(rows: Rows) -> dict[str, int]:
    """How many rows have each length."""
    lengths, counts = np.unique(rows.lengths, return_counts=True)
    return {str(length): count for length, count in zip(lengths.tolist(), counts.tolist(), strict=True)}


def _copied(chunks: Sequence[pa.Array]) -> npt.NDArray[Any]:
    return np.concatenate([chunk.to_numpy() for chunk in chunks])


def _laid(arrays: Sequence[npt.NDArray[Any]], kind: type[Any]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=kind)
