"""Text becomes rows: ids, and a mask that is proven turn by turn.

For an answer k let P be the ids of what an inference server feeds the model before it. A row carries k only if it
begins with P, and the trained tokens run from there through the stop token. The row is, in this order: the whole
conversation, where it carries the same answer as the conversation up to k; the conversation up to k, cut after the
stop; P and the encoding of what the model writes after it. The loss policy is looked at only after that, so ids never
depend on it.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from dataforge import control, headers
from dataforge.records import Chat, Reject, Trainable
from dataforge.render import Rendering, Turn
from dataforge.text_ids import Ids, TextEncoder

TrainOn = Literal["all_turns", "last_turn"]
T = TypeVar("T")

_RECORDS_PER_BATCH = 1024
_PROVED_TWICE = 1024
"""One conversation in so many is held against each of its texts encoded on its own."""


@dataclass(frozen=True, slots=True)
class Row:
    """One training document."""

    id: str
    """`record#turn`, where turn is the number of the last answer that the row carries."""
    input_ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.int8]
    """1 where the token is trained; in the row of a pair 2 in the answer that is worse, which stands last."""
    margin: float | None = None
    """Of a pair, where it is known by how much the one answer is better."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record as rows, and what became of the turns to train."""

    record: Trainable
    rows: tuple[Row, ...]
    certified: int
    """Turns carried by the row of the whole conversation."""
    forked: int
    """Turns carried by a row of their own."""
    fork_tokens: int
    """Tokens of those rows."""


@dataclass(frozen=True, slots=True)
class _Span:
    """The trained part of a row: from the end of the prompt through the stop token."""

    message: int
    start: int
    end: int


def encode(renderings: Iterable[Rendering], encoder: TextEncoder, train_on: TrainOn) -> Iterator[Encoded | Reject]:
    """Encode conversations in batches; while one is being encoded, the next is rendered."""
    with ThreadPoolExecutor(max_workers=1) as encoding:
        waiting: tuple[list[Rendering], Future[headers.Batch]] | None = None
        for batch in batches(renderings):
            following = batch, encoding.submit(headers.encode, batch, encoder)
            if waiting is not None:
                yield from _certify_batch(*waiting, encoder, train_on)
            waiting = following
        if waiting is not None:
            yield from _certify_batch(*waiting, encoder, train_on)


def trained_messages(chat: Chat, train_on: TrainOn) -> set[int]:
    """The numbers of the messages that are trained; a message's own weight wins over the policy."""
    answers = [number for number, message in enumerate(chat.messages) if message.role == "assistant"]
    chosen = set(answers if train_on == "all_turns" else answers[-1:])
    for number in answers:
        weight = chat.messages[number].weight
        if weight is not None:
            (chosen.add if weight else chosen.discard)(number)
    return chosen


def batches(records: Iterable[T]) -> Iterator[list[T]]:
    """So many records at a time as are encoded at once."""
    batch: list[T] = []
    for record in records:
        batch.append(record)
        if len(batch) == _RECORDS_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _certify_batch(
    batch: Sequence[Rendering], encoded: "Future[headers.Batch]", encoder: TextEncoder, train_on: TrainOn
) -> Iterator[Encoded | Reject]:
    found = headers.certify(batch, encoded.result())
    others = [rendering for rendering, proven in zip(batch, found, strict=True) if proven is None]
    ids_of = encoder.batch({text for rendering in others for text in rendering.texts()})
    for rendering, proven in zip(batch, found, strict=True):
        if proven is None:
            result = _certify(rendering, ids_of, encoder, train_on)
        else:
            spans = [
                _Span(turn.message, start, end)
                for turn, start, end in zip(rendering.turns, proven.starts, proven.ends, strict=True)
            ]
            result = _apply_policy(rendering.chat, proven.ids, spans, [], train_on)
        if zlib.crc32(rendering.chat.id.encode()) % _PROVED_TWICE == 0:
            _prove_again(rendering, result, encoder, train_on)
        yield result


def _certify(
    rendering: Rendering, ids_of: Mapping[str, Ids], encoder: TextEncoder, train_on: TrainOn
) -> Encoded | Reject:
    chat = rendering.chat
    try:
        marked = {text: encoder.whole(text) for text in rendering.texts() if control.is_marked(text)}
        whole, *of_turns = (marked.get(text) or ids_of[text] for text in rendering.texts())
        carried: list[_Span] = []
        forks: list[tuple[Ids, _Span]] = []
        for turn, prompt, through in zip(rendering.turns, of_turns[::2], of_turns[1::2], strict=True):
            span = _Span(turn.message, len(prompt), len(through))
            if _begins(whole, prompt) and _begins(whole, through) and span.start < span.end:
                carried.append(span)
                continue
            fork = _fork(turn, prompt, through, encoder)
            if fork is None:
                detail = f"message {turn.message + 1} (assistant): no ids say {turn.rest[:60]!r} after the prompt's"
                return Reject(chat.id, chat.origin, "tokenize", "mask_not_provable", detail)
            forks.append(fork)
    except ValueError as error:
        detail = f"the tokenizer reads {str(error)!r} as a control token even where it is ordinary text"
        return Reject(chat.id, chat.origin, "tokenize", "control_token", detail)
    return _apply_policy(chat, np.asarray(whole, dtype=np.int32), carried, forks, train_on)


def _fork(turn: Turn, prompt: Ids, through: Ids, encoder: TextEncoder) -> tuple[Ids, _Span] | None:
    """A row of the turn's own, cut after its stop token."""
    if turn.through.endswith(turn.rest) and _begins(through, prompt) and len(prompt) < len(through):
        return through, _Span(turn.message, len(prompt), len(through))
    rest = encoder.after(turn.prompt, prompt, turn.rest)
    return ([*prompt, *rest], _Span(turn.message, len(prompt), len(prompt) + len(rest))) if rest else None


def _begins(ids: Ids, prefix: Ids) -> bool:
    return list(ids[: len(prefix)]) == list(prefix)


def _apply_policy(
    chat: Chat,
    whole: npt.NDArray[np.int32],
    carried: Sequence[_Span],
    forks: Sequence[tuple[Ids, _Span]],
    train_on: TrainOn,
) -> Encoded | Reject:
    trained = trained_messages(chat, train_on)
    spans = [span for span in carried if span.message in trained]
    whole_row = [_row(chat, carried[-1].message, whole, spans)] if spans else []
    forked = [
        _row(chat, span.message, np.asarray(ids, dtype=np.int32), [span])
        for ids, span in forks
        if span.message in trained
    ]
    if not whole_row and not forked:
        detail = "every answer has weight 0, so there is nothing to train"
        return Reject(chat.id, chat.origin, "tokenize", "nothing_trained", detail)
    fork_tokens = sum(len(row.input_ids) for row in forked)
    return Encoded(chat, (*whole_row, *forked), len(spans), len(forked), fork_tokens)


def _row(chat: Chat, message: int, ids: npt.NDArray[np.int32], spans: Iterable[_Span]) -> Row:
    mask = np.zeros(len(ids), dtype=np.int8)
    for span in spans:
        mask[span.start : span.end] = 1
    return Row(f"{chat.id}#{message}", ids, mask)


def _prove_again(rendering: Rendering, result: Encoded | Reject, encoder: TextEncoder, train_on: TrainOn) -> None:
    """Hold a result against every text of its conversation encoded on its own; a difference is a fault of ours."""
    ids_of = {text: encoder.whole(text) for text in rendering.texts() if not control.is_marked(text)}
    again = _certify(rendering, ids_of, encoder, train_on)
    if isinstance(result, Reject) or isinstance(again, Reject):
        same = result == again
    else:
        same = [_comparable(row) for row in result.rows] == [_comparable(row) for row in again.rows]
    if not same:
        raise RuntimeError(f"record {rendering.chat.id}: encoded in parts and on its own, its rows differ")


def _comparable(row: Row) -> tuple[str, list[int], list[int]]:
    return row.id, row.input_ids.tolist(), row.mask.tolist()
