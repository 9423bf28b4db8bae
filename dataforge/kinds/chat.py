"""Conversations, packed into windows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataforge import chat_table, shard_writer, tokenize
from dataforge.pack import pack
from dataforge.records import Chat, Reject
from dataforge.render import Renderer, Rendering
from dataforge.row_table import Rows
from dataforge.shard_writer import Windows
from dataforge.shards import ShardEntry, Split
from dataforge.text_ids import TextEncoder
from dataforge.tokenize import Encoded, TrainOn
from dataforge.validate import Gate

RECORD = Chat
RECORDS = chat_table.RECORDS
MARKS = 1


def check(chat: Chat, gate: Gate) -> Reject | None:
    """What is wrong with a conversation."""
    return gate.check(chat)


def render(chat: Chat, renderer: Renderer) -> Rendering | Reject:
    """The whole of it, and up to each of its answers."""
    return renderer.render(chat)


def encode(rendered: Iterable[Rendering], encoder: TextEncoder, train_on: TrainOn) -> Iterator[Encoded | Reject]:
    """The row of the whole conversation, and those of turns that need their own."""
    return tokenize.encode(rendered, encoder, train_on)


def texts(rendering: Rendering, encoded: Encoded) -> Iterator[str]:
    """The whole of the conversation first, where a row carries that."""
    turns = {turn.message: turn for turn in rendering.turns}
    if encoded.certified:
        yield rendering.text
    for row in encoded.rows[bool(encoded.certified) :]:
        turn = turns[int(row.id.rpartition("#")[2])]
        yield turn.prompt + turn.rest


def longest(encoded: Encoded) -> int:
    """The tokens of the longest row."""
    return max(len(row.input_ids) for row in encoded.rows)


def trained(chat: Chat, train_on: TrainOn) -> Sequence[bool]:
    """Of each message whether it is trained."""
    chosen = tokenize.trained_messages(chat, train_on)
    return [number in chosen for number in range(len(chat.messages))]


def measured(kept: Iterable[Encoded]) -> Mapping[str, Mapping[str, int]]:
    """Nothing beyond what is told of every kind."""
    return {}


def to_records(table: pa.Table, trained: npt.NDArray[np.uint8]) -> pa.Table:
    """Conversations with what is trained of each."""
    return chat_table.to_records(table, trained)


def from_records(batch: pa.RecordBatch) -> Iterator[Chat]:
    """Conversations whose answers have the weights that say the same."""
    return chat_table.from_table(pa.Table.from_batches([batch]))


def faults(rows: Windows) -> Iterator[tuple[str, str]]:
    """Rows without a trained token, trained from the first on, or misnamed."""
    mask = rows.assistant_masks
    starts = np.cumsum(rows.seq_lengths, dtype=np.int64) - rows.seq_lengths
    # No document is empty, so each begins after the one before.
    counts = np.add.reduceat(mask, starts, dtype=np.int64) if starts.size else starts
    for row in np.flatnonzero(counts == 0).tolist():
        yield rows.record_ids[row], "has no trained token"
    for row in np.flatnonzero(mask[starts]).tolist():
        yield rows.record_ids[row], "is trained from its first token on, before any prompt"
    fits = pc.match_substring_regex(pa.array(rows.record_ids, pa.string()), r"^[^#]+#[0-9]+$")
    for row in np.flatnonzero(~fits.to_numpy(zero_copy_only=False)).tolist():
        yield repr(rows.record_ids[row]), "is not named `record#turn`"


def shard(
    name: str, split: Split, rows: Rows, order: npt.NDArray[np.intp], window: int, seed: int
) -> tuple[bytes, ShardEntry]:
    """Packed windows."""
    return shard_writer.shard(name, split, pack(rows, order, window, seed))
