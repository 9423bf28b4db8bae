"""Shards as the model eats them: packed windows, laid end to end in one row."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from dataforge.errors import BuildError
from dataforge.shards import Build, Split, Window
from trainkit.micro_batch import MicroBatch


class Windows:
    """All windows of one split, with their sizes."""

    def __init__(self, build: Build, split: Split) -> None:
        """Raises `BuildError` where a window has nothing to train."""
        self._shards = build.shards(split)
        self._places = [(shard, row) for shard, rows in enumerate(self._shards) for row in range(len(rows))]
        self.tokens_W: npt.NDArray[np.int64] = np.zeros(len(self), np.int64)
        self.trained_W: npt.NDArray[np.int64] = np.zeros(len(self), np.int64)
        self.largest_id = 0
        for index, window in enumerate(self):
            self.tokens_W[index] = len(window.input_ids)
            self.trained_W[index] = len(trained_places(window))
            self.largest_id = max(self.largest_id, int(window.input_ids.max(initial=0)))
            if not self.trained_W[index]:
                record = window.record_ids[0] if window.record_ids else "none"
                raise BuildError(f"{build.folder}: a window (record {record}) has no trained token; build again")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Window:
        shard, row = self._places[index]
        window: Window = self._shards[shard][row]
        return window

    def __iter__(self) -> Iterator[Window]:
        return (self[index] for index in range(len(self)))


def trained_places(window: Window) -> npt.NDArray[np.int64]:
    """Places in a window of the tokens whose prediction is trained.

    The first token of a document has nothing before it that could predict it.
    """
    masks = window.assistant_masks.astype(bool)
    masks[_starts(window.seq_lengths)] = False
    return np.flatnonzero(masks)


def parts(window: Window, limit: int) -> list[Window]:
    """A window cut between documents into windows of at most `limit` tokens, or of one document that is longer."""
    found: list[Window] = []
    first, size = 0, 0
    for document, length in enumerate(window.seq_lengths.tolist()):
        if size and size + length > limit:
            found.append(_documents(window, first, document))
            first, size = document, 0
        size += length
    found.append(_documents(window, first, len(window.seq_lengths)))
    return found


def _documents(window: Window, first: int, end: int) -> Window:
    ends = np.concatenate([[0], np.cumsum(window.seq_lengths, dtype=np.int64)])
    tokens = slice(int(ends[first]), int(ends[end]))
    return Window(
        input_ids=window.input_ids[tokens],
        assistant_masks=window.assistant_masks[tokens],
        seq_lengths=window.seq_lengths[first:end],
        record_ids=window.record_ids[first:end],
    )


def micro_batch(windows: Sequence[Window], device: torch.device) -> MicroBatch:
    """Windows laid end to end; their documents do not see each other."""
    lengths = np.concatenate([window.seq_lengths for window in windows]).astype(np.int64)
    offsets = _starts(np.array([len(window.input_ids) for window in windows]))
    ids = np.concatenate([window.input_ids for window in windows]).astype(np.int64)
    trained = np.concatenate([trained_places(window) + offset for window, offset in zip(windows, offsets, strict=True)])
    positions = np.arange(len(ids)) - np.repeat(_starts(lengths), lengths)
    cu_seqlens = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    return MicroBatch(
        input_ids_T=torch.from_numpy(ids).to(device),
        position_ids_T=torch.from_numpy(positions).to(device),
        cu_seqlens=cu_seqlens,
        cu_seqlens_on_device=cu_seqlens.to(device),
        trained_P=torch.from_numpy(trained).to(device),
        record_ids=tuple(record for window in windows for record in window.record_ids),
    )


def _starts(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return np.cumsum(lengths, dtype=np.int64) - lengths
