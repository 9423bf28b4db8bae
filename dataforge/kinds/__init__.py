"""What shards are made of: a kind of build is a file in this folder, and its name is what a recipe says as `kind`.

Each module takes the records that the steps left through the last stations of the line, and knows how what comes out
stands in shards and in Parquet files.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataforge.records import Reject, Trainable
from dataforge.render import Renderer
from dataforge.row_table import Rows
from dataforge.shard_writer import Windows
from dataforge.shards import ShardEntry, Split
from dataforge.text_ids import TextEncoder
from dataforge.tokenize import Encoded, TrainOn
from dataforge.validate import Gate


class Kind(Protocol):
    """What a module in `kinds/` holds."""

    RECORD: type[Trainable]
    """The kind of record that it is made of."""
    RECORDS: pa.Schema
    """The columns of its Parquet files."""
    MARKS: int
    """The largest number in the masks of its rows; of those that are no conversations, how many answers one has."""

    def check(self, record: Any, gate: Gate) -> Reject | None:
        """What the gate says of a record."""

    def render(self, record: Any, renderer: Renderer) -> Any:
        """A record as text, in whatever form `encode` and `texts` take; or the reject that it became."""

    def encode(self, rendered: Iterable[Any], encoder: TextEncoder, train_on: TrainOn) -> Iterator[Encoded | Reject]:
        """Rendered records as rows, each in its turn."""

    def texts(self, rendered: Any, encoded: Encoded) -> Iterator[str]:
        """What each row of a record was encoded from."""

    def longest(self, encoded: Encoded) -> int:
        """The tokens that the longest of its sequences has, as a model is given them."""

    def trained(self, record: Any, train_on: TrainOn) -> Sequence[bool]:
        """Of each message of a conversation whether it is trained; nothing for other kinds."""

    def measured(self, kept: Iterable[Encoded]) -> Mapping[str, Mapping[str, int]]:
        """How many records fall into which range, by what is measured."""

    def to_records(self, table: pa.Table, trained: npt.NDArray[np.uint8]) -> pa.Table:
        """A table of records on their way as a build shows them."""

    def from_records(self, batch: pa.RecordBatch) -> Iterator[Any]:
        """Records as a build shows them."""

    def faults(self, rows: Windows) -> Iterator[tuple[str, str]]:
        """Names of rows that must not be trained on as they stand, each with what is wrong."""

    def shard(
        self, name: str, split: Split, rows: Rows, order: npt.NDArray[np.intp], window: int, seed: int
    ) -> tuple[bytes, ShardEntry]:
        """The content of a shard of rows in that order, and what the manifest says of it."""


def of(name: str) -> Kind:
    """The kind of that name."""
    return cast(Kind, importlib.import_module(f"dataforge.kinds.{name}"))
