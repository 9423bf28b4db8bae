"""Shards of pairs and of prompts, one a row, unpacked: the rest of the contract between the two packages.

    shards/{train,eval}-NNNNN.arrow   Arrow IPC streams of one record batch, memory-mapped when read

Both completions of a pair go on from the same prompt and end with the stop token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataforge.errors import BuildError

REFERENCE = "reference"
"""The folder beside `shards/` for what a trainer computes of pairs beforehand, such as a reference model's
log-probabilities: one file for each shard, under its name. It goes when the shards do."""
_IDS = pa.list_(pa.int32())
PAIR_SCHEMA = pa.schema(
    [
        pa.field("prompt_ids", _IDS, nullable=False),
        pa.field("chosen_completion_ids", _IDS, nullable=False),
        pa.field("rejected_completion_ids", _IDS, nullable=False),
        pa.field("margin", pa.float64()),
        pa.field("record_id", pa.string(), nullable=False),
    ]
)
PROMPT_SCHEMA = pa.schema(
    [pa.field("prompt_ids", _IDS, nullable=False), pa.field("record_id", pa.string(), nullable=False)]
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and two answers to it."""

    prompt_ids: npt.NDArray[np.int32]
    chosen_completion_ids: npt.NDArray[np.int32]
    rejected_completion_ids: npt.NDArray[np.int32]
    margin: float | None
    """By how much the one is better, in the source's own measure."""
    record_id: str


class PairShard(Sequence[Pair]):
    """The pairs of one shard file, memory-mapped: reading one touches only its pages."""

    def __init__(self, path: Path) -> None:
        """Raises `BuildError` where the file is no shard of pairs."""
        self.batch = _batch(path, PAIR_SCHEMA, "pairs")

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        prompt, chosen, rejected, margin, record = (column[position] for column in self.batch.columns)
        return Pair(
            prompt.values.to_numpy(),
            chosen.values.to_numpy(),
            rejected.values.to_numpy(),
            margin.as_py(),
            record.as_py(),
        )


class PromptShard(Sequence[npt.NDArray[np.int32]]):
    """The ids of the prompts of one shard file, memory-mapped."""

    def __init__(self, path: Path) -> None:
        """Raises `BuildError` where the file is no shard of prompts."""
        self.batch = _batch(path, PROMPT_SCHEMA, "prompts")

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return self.batch.column("prompt_ids")[range(len(self))[index]].values.to_numpy()


def _batch(path: Path, schema: pa.Schema, what: str) -> pa.RecordBatch:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        batches = list(reader)
    if len(batches) != 1 or not batches[0].schema.equals(schema):
        raise BuildError(f"{path}: not a shard of {what}; build again")
    return batches[0]
