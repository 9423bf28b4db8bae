"""Text becomes rows: ids, and a mask that is proven turn by turn.

For an answer k let P be the ids of what an inference server feeds the model before it. A row carries k only if it
begins with P, and the trained tokens run from there through the stop token. The row is, in this order: the whole
conversation; the conversation up to k; P and the encoding of what follows it. If none begins with P, the record is
refused with the first divergence. The loss policy is looked at only after that, so ids never depend on it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from dataforge.errors import TemplateError
from dataforge.records import Chat, Reject
from dataforge.render import Rendering, Turn
from dataforge.templates import ChatTemplate

TrainOn = Literal["all_turns", "last_turn"]
Ids = Sequence[int]

_CHATS_PER_BATCH = 2048


@dataclass(frozen=True, slots=True)
class Row:
    """One training document."""

    id: str
    """`record#turn`, where turn is the number of the last answer that the row carries."""
    copy: int
    input_ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.int8]
    """1 where the token is trained."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as rows, and what became of the turns to train."""

    chat: Chat
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


def stop_tokens(template: ChatTemplate, encoder: Tokenizer, control_tokens: Mapping[str, int]) -> dict[str, int]:
    """The control token that ends an answer, found by rendering a probe.

    Raises `TemplateError` where an answer is not ended by a control token.
    """
    probe = "forgeprobe"
    text = template.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": probe}])
    _, found, tail = text.rpartition(probe)
    ids = _encode(encoder, tail) if found else []
    for token, number in control_tokens.items():
        if number == next((id_ for id_ in ids if id_ in control_tokens.values()), None):
            return {token: number}
    raise TemplateError(
        f"the chat template ends an answer with {tail!r}, in which there is no control token of the tokenizer; "
        "a model trained on it would never stop"
    )


def encode(
    renderings: Iterable[Rendering], encoder: Tokenizer, stop_ids: Collection[int], train_on: TrainOn
) -> Iterator[Encoded | Reject]:
    """Encode conversations in batches, each distinct text of a batch once."""
    batch: list[Rendering] = []
    for rendering in renderings:
        batch.append(rendering)
        if len(batch) == _CHATS_PER_BATCH:
            yield from _encode_batch(batch, encoder, stop_ids, train_on)
            batch = []
    yield from _encode_batch(batch, encoder, stop_ids, train_on)


def _encode_batch(
    batch: Sequence[Rendering], encoder: Tokenizer, stop_ids: Collection[int], train_on: TrainOn
) -> Iterator[Encoded | Reject]:
    texts = sorted(set().union(*(rendering.texts() for rendering in batch)))
    encodings = encoder.encode_batch_fast(texts, add_special_tokens=False)
    ids_of = {text: encoding.ids for text, encoding in zip(texts, encodings, strict=True)}
    for rendering in batch:
        yield _certify(rendering, ids_of, encoder, stop_ids, train_on)


def _certify(
    rendering: Rendering,
    ids_of: Mapping[str, Ids],
    encoder: Tokenizer,
    stop_ids: Collection[int],
    train_on: TrainOn,
) -> Encoded | Reject:
    chat, whole = rendering.chat, ids_of[rendering.text]
    carried: list[_Span] = []
    forks: list[tuple[Ids, _Span]] = []
    for turn in rendering.turns:
        prompt, upto = ids_of[turn.prompt], ids_of[turn.upto]
        span = _span(turn, whole, prompt, stop_ids)
        if span is not None and list(whole[: span.end]) == list(upto[: span.end]):
            carried.append(span)
            continue
        fork = _fork(turn, prompt, upto, encoder, stop_ids)
        if fork is None:
            detail = _divergence(turn, prompt, upto, encoder)
            return Reject(chat.id, chat.origin, "tokenize", "mask_not_provable", detail)
        forks.append(fork)
    return _apply_policy(chat, whole, carried, forks, train_on)


def _apply_policy(
    chat: Chat, whole: Ids, carried: Sequence[_Span], forks: Sequence[tuple[Ids, _Span]], train_on: TrainOn
) -> Encoded | Reject:
    trained = trained_messages(chat, train_on)
    spans = [span for span in carried if span.message in trained]
    whole_row = [_row(chat, carried[-1].message, whole, spans)] if spans else []
    forked = [_row(chat, span.message, ids, [span]) for ids, span in forks if span.message in trained]
    if not whole_row and not forked:
        detail = "every answer has weight 0, so there is nothing to train"
        return Reject(chat.id, chat.origin, "tokenize", "nothing_trained", detail)
    fork_tokens = sum(len(row.input_ids) for row in forked)
    return Encoded(chat, (*whole_row, *forked), len(spans), len(forked), fork_tokens)


def trained_messages(chat: Chat, train_on: TrainOn) -> set[int]:
    """The numbers of the messages that are trained; a message's own weight wins over the policy."""
    answers = [number for number, message in enumerate(chat.messages) if message.role == "assistant"]
    chosen = set(answers if train_on == "all_turns" else answers[-1:])
    for number in answers:
        weight = chat.messages[number].weight
        if weight is not None:
            (chosen.add if weight else chosen.discard)(number)
    return chosen


def _span(turn: Turn, ids: Ids, prompt: Ids, stop_ids: Collection[int]) -> _Span | None:
    """Where the turn is trained in `ids`, if they begin with the prompt and a stop token follows."""
    if list(ids[: len(prompt)]) != list(prompt):
        return None
    for position in range(len(prompt), len(ids)):
        if ids[position] in stop_ids:
            return _Span(turn.message, len(prompt), position + 1)
    return None


def _fork(
    turn: Turn, prompt: Ids, upto: Ids, encoder: Tokenizer, stop_ids: Collection[int]
) -> tuple[Ids, _Span] | None:
    """A row of the turn's own, cut after its stop token."""
    candidates = [upto]
    if turn.upto.startswith(turn.prompt):
        candidates.append([*prompt, *_encode(encoder, turn.upto[len(turn.prompt) :])])
    for ids in candidates:
        span = _span(turn, ids, prompt, stop_ids)
        if span is not None:
            return ids[: span.end], span
    return None


def _divergence(turn: Turn, prompt: Ids, upto: Ids, encoder: Tokenizer) -> str:
    common = next(
        (number for number, pair in enumerate(zip(prompt, upto, strict=False)) if pair[0] != pair[1]),
        min(len(prompt), len(upto)),
    )
    if common == len(prompt):
        return f"answer {turn.message}: no stop token follows {encoder.decode(list(upto[common:]))[:80]!r}"
    served = encoder.decode(list(prompt[common : common + 8]), skip_special_tokens=False)
    rendered = encoder.decode(list(upto[common : common + 8]), skip_special_tokens=False)
    return (
        f"answer {turn.message}: a server feeds the model {served!r} where the conversation has {rendered!r} "
        f"(token {common})"
    )


def _row(chat: Chat, message: int, ids: Ids, spans: Iterable[_Span]) -> Row:
    mask = np.zeros(len(ids), dtype=np.int8)
    for span in spans:
        mask[span.start : span.end] = 1
    return Row(f"{chat.id}#{message}", chat.copy, np.asarray(ids, dtype=np.int32), mask)


def _encode(encoder: Tokenizer, text: str) -> list[int]:
    return list(encoder.encode(text, add_special_tokens=False).ids)
