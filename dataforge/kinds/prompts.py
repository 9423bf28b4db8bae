"""Prompts: the ids that a server feeds the model, for training in which the model writes the answers itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataforge import control, pair_table, record_table, shard_writer
from dataforge.pair_table import PROMPTS as RECORDS
from dataforge.records import Prompt, Reject
from dataforge.render import Renderer
from dataforge.row_table import Rows
from dataforge.shard_writer import Windows
from dataforge.shards import ShardEntry, Split
from dataforge.text_ids import TextEncoder
from dataforge.tokenize import Encoded, Row, TrainOn, batches
from dataforge.validate import Gate

__all__ = ["RECORDS"]
RECORD = Prompt
MARKS = 0


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt as a server renders it."""

    prompt: Prompt
    text: str


def check(prompt: Prompt, gate: Gate) -> Reject | None:
    """What is wrong with a prompt."""
    return gate.check_prompt(prompt)


def render(prompt: Prompt, renderer: Renderer) -> RenderedPrompt | Reject:
    """The messages with the generation prompt."""
    text = renderer.prompt(prompt)
    return text if isinstance(text, Reject) else RenderedPrompt(prompt, text)


def encode(rendered: Iterable[RenderedPrompt], encoder: TextEncoder, train_on: TrainOn) -> Iterator[Encoded | Reject]:
    """Prompts as one row each, in which nothing is trained."""
    for batch in batches(rendered):
        ids_of = encoder.batch({each.text for each in batch})
        for each in batch:
            try:
                ids = encoder.whole(each.text) if control.is_marked(each.text) else ids_of[each.text]
            except ValueError as error:
                detail = f"the tokenizer reads {str(error)!r} as a control token even where it is ordinary text"
                yield Reject(each.prompt.id, each.prompt.origin, "tokenize", "control_token", detail)
                continue
            row = Row(each.prompt.id, np.asarray(ids, dtype=np.int32), np.zeros(len(ids), dtype=np.int8))
            yield Encoded(each.prompt, (row,), 0, 0, 0)


def texts(rendered: RenderedPrompt, encoded: Encoded) -> Iterator[str]:
    """The one text."""
    yield rendered.text


def longest(encoded: Encoded) -> int:
    """The tokens of the prompt."""
    (row,) = encoded.rows
    return len(row.input_ids)


def trained(prompt: Prompt, train_on: TrainOn) -> Sequence[bool]:
    """Nothing is."""
    return ()


def measured(kept: Iterable[Encoded]) -> Mapping[str, Mapping[str, int]]:
    """Nothing beyond what is told of every kind."""
    return {}


def to_records(table: pa.Table, trained: npt.NDArray[np.uint8]) -> pa.Table:
    """Prompts, one a row."""
    return pair_table.prompts_to_table([each for each in record_table.from_table(table) if isinstance(each, Prompt)])


def from_records(batch: pa.RecordBatch) -> Iterator[Prompt]:
    """Prompts, one a row."""
    return pair_table.prompts_from_batch(batch)


def faults(rows: Windows) -> Iterator[tuple[str, str]]:
    """None beyond what holds of every kind."""
    return iter(())


def shard(
    name: str, split: Split, rows: Rows, order: npt.NDArray[np.intp], window: int, seed: int
) -> tuple[bytes, ShardEntry]:
    """One prompt a row, not packed."""
    return shard_writer.prompt_shard(name, split, Windows.single(rows.take(order)))
