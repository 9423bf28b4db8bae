"""Preferences: a prompt and two answers that go on from the same ids.

Each side is a conversation whose last answer is trained, and is certified like any other: its row begins with the ids
that a server feeds the model, and its answer runs from there through the stop. What stands before the answer is one
text for both sides, so both have the same prompt.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataforge import pair_measures, pair_table, record_table, shard_writer, tokenize
from dataforge.pair_table import PAIRS as RECORDS
from dataforge.records import Chat, Message, Preference, Reject
from dataforge.render import Renderer, Rendering
from dataforge.row_table import Rows
from dataforge.shard_writer import Windows
from dataforge.shards import ShardEntry, Split
from dataforge.text_ids import TextEncoder
from dataforge.tokenize import Encoded, Row, TrainOn
from dataforge.validate import Gate

__all__ = ["RECORDS"]
RECORD = Preference
MARKS = 2
PROMPT, CHOSEN, REJECTED = range(3)
"""What the mask of a row says of a token."""


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """Both sides of a preference as conversations."""

    preference: Preference
    chosen: Rendering
    rejected: Rendering


def check(preference: Preference, gate: Gate) -> Reject | None:
    """What is wrong with a preference, or with one of its sides."""
    return gate.check_preference(preference)


def render(preference: Preference, renderer: Renderer) -> RenderedPair | Reject:
    """Both sides; a reject of one is a reject of the pair."""
    chosen = renderer.render(_side(preference, preference.chosen))
    if isinstance(chosen, Reject):
        return _of_side(chosen, "chosen")
    rejected = renderer.render(_side(preference, preference.rejected))
    if isinstance(rejected, Reject):
        return _of_side(rejected, "rejected")
    return RenderedPair(preference, chosen, rejected)


def encode(rendered: Iterable[RenderedPair], encoder: TextEncoder, train_on: TrainOn) -> Iterator[Encoded | Reject]:
    """Pairs as one row each; which answers are trained is settled by what a pair is."""
    waiting: deque[Preference] = deque()

    def sides() -> Iterator[Rendering]:
        for pair in rendered:
            waiting.append(pair.preference)
            yield pair.chosen
            yield pair.rejected

    found = tokenize.encode(sides(), encoder, "last_turn")
    for chosen, rejected in zip(found, found, strict=True):
        preference = waiting.popleft()
        if isinstance(chosen, Reject):
            yield _of_side(chosen, "chosen")
        elif isinstance(rejected, Reject):
            yield _of_side(rejected, "rejected")
        else:
            yield _pair(preference, chosen, rejected)


def texts(pair: RenderedPair, encoded: Encoded) -> Iterator[str]:
    """The prompt, what is better and what is worse, one after another."""
    chosen, rejected = (rendering.turns[-1] for rendering in (pair.chosen, pair.rejected))
    yield chosen.prompt + chosen.rest + rejected.rest


def longest(encoded: Encoded) -> int:
    """The tokens of the prompt with the longer answer."""
    (row,) = encoded.rows
    prompt, chosen, rejected = np.bincount(row.mask, minlength=3).tolist()
    return int(prompt + max(chosen, rejected))


def trained(preference: Preference, train_on: TrainOn) -> Sequence[bool]:
    """Both answers are, and nothing else."""
    return ()


def measured(kept: Iterable[Encoded]) -> Mapping[str, Mapping[str, int]]:
    """Ratios, margins, times between, and lengths."""
    return pair_measures.counted(kept)


def to_records(table: pa.Table, trained: npt.NDArray[np.uint8]) -> pa.Table:
    """Prompts with both answers."""
    return pair_table.to_table([each for each in record_table.from_table(table) if isinstance(each, Preference)])


def from_records(batch: pa.RecordBatch) -> Iterator[Preference]:
    """Prompts with both answers."""
    return pair_table.from_batch(batch)


def faults(rows: Windows) -> Iterator[tuple[str, str]]:
    """Rows that are not a prompt, what is better and what is worse, in this order."""
    starts = np.cumsum(rows.seq_lengths, dtype=np.int64) - rows.seq_lengths
    mask = rows.assistant_masks
    falls = np.concatenate(([0], np.cumsum(np.diff(mask, prepend=mask[:1]) < 0)))
    for row, (start, length) in enumerate(zip(starts.tolist(), rows.seq_lengths.tolist(), strict=True)):
        if falls[start + length] != falls[start + 1] or len(np.unique(mask[start : start + length])) < MARKS + 1:
            yield rows.record_ids[row], "is not a prompt with two answers"


def shard(
    name: str, split: Split, rows: Rows, order: npt.NDArray[np.intp], window: int, seed: int
) -> tuple[bytes, ShardEntry]:
    """One pair a row, not packed."""
    return shard_writer.pair_shard(name, split, Windows.single(rows.take(order), margins=True))


def _side(preference: Preference, answer: tuple[Message, ...]) -> Chat:
    messages = (*preference.prompt, *answer)
    if any(message.weight is not None for message in messages):
        messages = tuple(replace(message, weight=None) for message in messages)
    return Chat(preference.id, preference.origin, messages, tools=preference.tools)


def _of_side(reject: Reject, side: str) -> Reject:
    return replace(reject, detail=f"with the {side} answer, {reject.detail}")


def _pair(preference: Preference, chosen: Encoded, rejected: Encoded) -> Encoded:
    (better,), (worse,) = chosen.rows, rejected.rows
    prompt, chosen_ids = _cut(better)
    same_prompt, rejected_ids = _cut(worse)
    if not np.array_equal(prompt, same_prompt):
        raise RuntimeError(f"record {preference.id}: the prompts of its two sides have other ids")
    parts = (prompt, chosen_ids, rejected_ids)
    mask = np.repeat(np.arange(3, dtype=np.int8), [len(part) for part in parts])
    row = Row(preference.id, np.concatenate(parts), mask, preference.margin)
    certified, forked = chosen.certified + rejected.certified, chosen.forked + rejected.forked
    return Encoded(preference, (row,), certified, forked, 0)


def _cut(row: Row) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """What comes before the trained answer, and the answer through its stop."""
    (trained,) = np.nonzero(row.mask)
    start, end = int(trained[0]), int(trained[-1]) + 1
    return row.input_ids[:start], row.input_ids[start:end]
