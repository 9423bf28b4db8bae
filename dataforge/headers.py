"""The short proof of a mask: answers found by their header's ids, in one encoding of the whole conversation.

A generation prompt that begins with a special token is cut off from what stands before it, so the prompt of an answer
is encoded as the conversation before it followed by the header on its own. Where the conversation is rendered from
left to right and the header's ids stand at the answer, it begins with the prompt's ids: nothing needs to be encoded
twice. Headers are told apart from other text by their number: it must be that of the answers.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataforge.flat_ids import FlatIds
from dataforge.render import Rendering
from dataforge.text_ids import Ids, TextEncoder


@dataclass(frozen=True, slots=True)
class Batch:
    """The conversations of a batch that may be proven so, encoded."""

    numbers: list[int]
    """Which of the batch they are."""
    ids: npt.NDArray[np.int32]
    """Those of all, one after another."""
    lengths: npt.NDArray[np.int64]
    """Of each, how many ids it has."""
    header: Ids
    stop: int


@dataclass(frozen=True, slots=True)
class Proven:
    """A conversation's ids, and where in them the answers of its turns are."""

    ids: npt.NDArray[np.int32]
    starts: list[int]
    ends: list[int]


def encode(batch: Sequence[Rendering], encoder: TextEncoder) -> Batch:
    """Encode the conversations of a batch that have the commonest header; what neighbours share, only once."""
    special = _special_start(batch, encoder)
    if special is None:
        return Batch([], np.empty(0, np.int32), np.empty(0, np.int64), [], 0)
    header, token = special
    numbers = [number for number, rendering in enumerate(batch) if rendering.header == header]
    ids, lengths = _shared_once([batch[number].text for number in numbers], token, encoder)
    stop = encoder.whole(batch[numbers[0]].turns[0].through)[-1]
    return Batch(numbers, ids, lengths, encoder.whole(header), stop)


def certify(batch: Sequence[Rendering], encoded: Batch) -> list[Proven | None]:
    """Find every answer; None for a conversation that needs the long proof."""
    found: list[Proven | None] = [None] * len(batch)
    if not encoded.numbers:
        return found
    flat, edges = encoded.ids, np.concatenate(([0], np.cumsum(encoded.lengths)))
    at = np.flatnonzero(flat[: len(flat) - len(encoded.header) + 1] == encoded.header[0])
    for offset, number in enumerate(encoded.header[1:], start=1):
        at = at[flat[at + offset] == number]
    starts = at + len(encoded.header)
    stops = np.append(np.flatnonzero(flat == encoded.stop), len(flat))
    ends = stops[np.searchsorted(stops, starts)] + 1
    firsts = np.searchsorted(starts, edges).tolist()
    rows = np.searchsorted(edges, starts, side="right") - 1
    in_row = (starts - edges[rows]).tolist(), (ends - edges[rows]).tolist()
    for place, (number, length) in enumerate(zip(encoded.numbers, encoded.lengths.tolist(), strict=True)):
        low, high = firsts[place], firsts[place + 1]
        starts_here, ends_here = in_row[0][low:high], in_row[1][low:high]
        if len(starts_here) == len(batch[number].turns) and (not ends_here or ends_here[-1] <= length):
            found[number] = Proven(flat[edges[place] : edges[place + 1]], starts_here, ends_here)
    return found


def _shared_once(texts: Sequence[str], token: str, encoder: TextEncoder) -> FlatIds:
    """The ids of texts, each cut where it parts from the one beside it, so that what both begin with is encoded once.

    Pairs of answers to one prompt stand side by side, and a system prompt stands in all. Texts are cut only where a
    special token begins, so that the parts are encoded as they are in the whole.
    """
    shared = [0, *(_shared(one, other, token) for one, other in itertools.pairwise(texts)), 0]
    cuts = [max(shared[number : number + 2]) for number in range(len(texts))]
    starts = {text[:cut]: 0 for text, cut in zip(texts, cuts, strict=True)}
    starts = {start: number for number, start in enumerate(starts)}
    ids, lengths = encoder.flat([*starts, *(text[cut:] for text, cut in zip(texts, cuts, strict=True))])
    first = np.array([starts[text[:cut]] for text, cut in zip(texts, cuts, strict=True)], dtype=np.int64)
    parts = np.stack((first, np.arange(len(starts), len(lengths))), axis=1).ravel()
    edges, taken = np.cumsum(lengths) - lengths, lengths[parts]
    tokens = np.repeat(edges[parts] - (np.cumsum(taken) - taken), taken) + np.arange(taken.sum())
    return ids[tokens], taken.reshape(-1, 2).sum(axis=1)


def _shared(one: str, other: str, token: str) -> int:
    """How much two texts have in common at their head, up to where a special token begins."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return max(one.rfind(token, 0, low), 0)


def _special_start(batch: Sequence[Rendering], encoder: TextEncoder) -> tuple[str, str] | None:
    """The header of the batch's first conversation that has one, and the special token that it begins with."""
    header = next((rendering.header for rendering in batch if rendering.header), None)
    if header is None or not encoder.tokenizer.isolates:
        return None
    first = encoder.whole(header)[0]
    token = next((text for text, number in encoder.tokenizer.control_tokens.items() if number == first), None)
    return (header, token) if token is not None and header.startswith(token) else None
