"""What a model will be trained on, token by token: of a recipe, or of a build that stands."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from dataforge import kinds, pair_view, recipe, report, shard_writer, shards
from dataforge.bases import load_tokenizer, with_new_tokens
from dataforge.config import Document
from dataforge.errors import BuildError
from dataforge.frames import Frames
from dataforge.kinds.pairs import CHOSEN as BETTER
from dataforge.kinds.pairs import PROMPT
from dataforge.kinds.pairs import REJECTED as WORSE
from dataforge.line import Line
from dataforge.records import Message, Preference, Trainable
from dataforge.sample import first_records

RECORDS_PER_SOURCE = 200
RECORDS_PER_BATCH = 256


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a row. A character of several tokens stands with the last of them."""

    id: int
    text: str
    trained: bool
    stop: bool
    """Whether it ends an answer."""
    differs: bool = False
    """Of a pair: whether it, or another token of the same character, stands where the two answers differ."""


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row as its tokens."""

    id: str
    tokens: tuple[Token, ...]

    @property
    def trained(self) -> int:
        """Tokens that carry loss."""
        return sum(token.trained for token in self.tokens)

    @property
    def text(self) -> str:
        """What the tokens say."""
        return "".join(token.text for token in self.tokens)


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message of a record as it was read."""

    role: str
    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A record with the rows it became."""

    id: str
    place: str
    messages: tuple[ShownMessage, ...]
    rows: tuple[ShownRow, ...]
    judged: str = ""
    """Of a pair: by how much, by what and when, in one line."""


@dataclass(frozen=True, slots=True)
class ShownReject:
    """A record that is not trained on."""

    id: str
    place: str
    reason: str
    """`station/reason`."""
    detail: str


@dataclass(frozen=True)
class Preview:
    """The first records, and what is known of the rest."""

    title: str
    shown: tuple[Shown, ...]
    rejects: tuple[ShownReject, ...]
    note: str
    stop_tokens: tuple[str, ...]
    funnel: tuple[shards.Stage, ...]
    turns: shards.Turns
    lengths: tuple[int, ...]
    """Tokens of every row that is known."""
    kind: str = "chat"
    """`chat`, `pairs` or `prompts`."""


def of_recipe(document: Document, count: int, record: str | None = None, frames: Frames | None = None) -> Preview:
    """Run the real line over the first records of each source."""
    line = Line(recipe.read(document))
    sample = first_records(line, RECORDS_PER_SOURCE, frames or {})
    rejects = tuple(_reject(report.reject_as_json(reject)) for reject in sample.rejects)
    chosen = [item for item in sample.encoded if record in (None, item.record.id)]
    format_, data = line.format, line.recipe.data
    if record is not None and not chosen and record not in [reject.id for reject in rejects]:
        raise BuildError(f"{record}: no such record among the first {RECORDS_PER_SOURCE} of each source")
    encoder, stops = format_.tokenizer.encoder, format_.stop_tokens.values()
    shown = tuple(
        Shown(
            item.record.id,
            f"{item.record.origin.source}, {item.record.origin.file}:{item.record.origin.line}",
            tuple(_messages(item.record, line.kind.trained(item.record, data.train_on))),
            tuple(shown for row in item.rows for shown in _shown(row.id, row.input_ids, row.mask, encoder, stops)),
            _judged(item.record),
        )
        for item in chosen[:count]
    )
    return Preview(
        title=data.name,
        shown=shown,
        rejects=tuple(reject for reject in rejects if record in (None, reject.id)),
        note="; ".join(
            [f"the first {RECORDS_PER_SOURCE} records of each source: {len(sample.encoded)} kept", *format_.notes]
        ),
        stop_tokens=tuple(format_.stop_tokens),
        funnel=tuple(sample.funnel),
        turns=sample.turns,
        lengths=tuple(len(row.input_ids) for item in sample.encoded for row in item.rows),
        kind=data.kind,
    )


def of_build(folder: Path, count: int, record: str | None = None) -> Preview:
    """Read the first records of a build back, or one of them, with their rows from the shards."""
    manifest = shards.open_build(folder).manifest
    records = _records(folder, manifest.kind, count, record)
    rejects = tuple(reject for reject in _rejects(folder) if record in (None, reject.id))
    if record is not None and not records and not rejects:
        raise BuildError(f"{folder}: holds no record {record}, kept or rejected")
    tokenizer = with_new_tokens(load_tokenizer(manifest.tokenizer.name), list(manifest.tokenizer.new_tokens))
    encoder, stops = tokenizer.encoder, manifest.tokenizer.stop_tokens.values()
    rows: dict[str, dict[str, ShownRow]] = {identity: {} for identity in records}
    lengths: list[int] = []
    for entry in manifest.shards:
        windows = shard_writer.whole(folder / entry.file, manifest.kind)
        lengths += windows.seq_lengths.tolist()
        ends = np.cumsum(windows.seq_lengths, dtype=np.int64).tolist()
        for number, row_id in enumerate(windows.record_ids):
            found = rows.get(row_id.partition("#")[0])
            if found is not None and row_id not in found:
                part = slice(ends[number] - int(windows.seq_lengths[number]), ends[number])
                ids, mask = windows.input_ids[part], windows.assistant_masks[part]
                found |= {row.id: row for row in _shown(row_id, ids, mask, encoder, stops)}
    shown = tuple(
        Shown(
            identity,
            f"{found.origin.source}, {found.origin.file}:{found.origin.line}",
            tuple(_messages(found, trained)),
            tuple(sorted(rows[identity].values(), key=lambda row: _order(row.id))),
            _judged(found),
        )
        for identity, (found, trained) in records.items()
    )
    return Preview(
        title=manifest.name,
        shown=shown,
        rejects=rejects,
        note=f"{sum(sizes.rows for sizes in manifest.statistics.values()):,} rows in {folder}",
        stop_tokens=tuple(manifest.tokenizer.stop_tokens),
        funnel=tuple(manifest.funnel),
        turns=manifest.turns,
        lengths=tuple(lengths),
        kind=manifest.kind,
    )


def show(row_id: str, ids: Sequence[int], mask: Sequence[int], encoder: Tokenizer, stops: Collection[int]) -> ShownRow:
    """A row as tokens with their texts."""
    stream, tokens = DecodeStream(skip_special_tokens=False), []
    for number, (id_, trained) in enumerate(zip(ids, mask, strict=True)):
        ends_answer = bool(trained) and not any(mask[number + 1 : number + 2]) and id_ in stops
        tokens.append(Token(id_, stream.step(encoder, id_) or "", bool(trained), ends_answer))
    return ShownRow(row_id, tuple(tokens))


def _shown(
    row_id: str, ids: npt.NDArray[np.int32], mask: npt.NDArray[np.int8], encoder: Tokenizer, stops: Collection[int]
) -> Iterator[ShownRow]:
    """A row, or the two sides of a pair."""
    if mask.max(initial=0) < WORSE:
        yield show(row_id, ids.tolist(), mask.tolist(), encoder, stops)
        return
    sides = (ids[mask == which].tolist() for which in (BETTER, WORSE))
    alone = dict(zip((BETTER, WORSE), pair_view.differing(*sides), strict=True))
    for side, which in (("chosen", BETTER), ("rejected", WORSE)):
        mine = (mask == PROMPT) | (mask == which)
        marks = [False] * int((mask == PROMPT).sum()) + alone[which]
        yield _marked(show(f"{row_id}#{side}", ids[mine].tolist(), mask[mine].tolist(), encoder, stops), marks)


def _marked(row: ShownRow, differs: Sequence[bool]) -> ShownRow:
    """The row with what differs; a character of several tokens does if one of them does."""
    tokens: list[Token] = []
    character = 0
    for number, token in enumerate(row.tokens):
        if token.text:
            mark = any(differs[character : number + 1])
            tokens += [replace(each, differs=mark) for each in row.tokens[character : number + 1]]
            character = number + 1
    return replace(row, tokens=(*tokens, *row.tokens[character:]))


def _judged(record: Trainable) -> str:
    return pair_view.judged(record) if isinstance(record, Preference) else ""


def _order(row_id: str) -> tuple[int, str]:
    """The row of the whole conversation first, the chosen side before the rejected one."""
    turn = row_id.partition("#")[2]
    return (-int(turn), "") if turn.isdecimal() else (0, turn)


def _messages(record: Trainable, trained: Sequence[bool]) -> Iterator[ShownMessage]:
    if isinstance(record, Preference):
        yield from (_message(message, False) for message in record.prompt)
        for side in ("chosen", "rejected"):
            yield from (_message(message, True, side) for message in getattr(record, side))
        return
    flags = trained or [False] * len(record.messages)
    yield from (_message(message, flag) for message, flag in zip(record.messages, flags, strict=True))


def _message(message: Message, trained: bool, role: str | None = None) -> ShownMessage:
    calls = [f"{call.name}({orjson.dumps(call.arguments).decode()})" for call in message.tool_calls]
    text = "\n".join(part for part in (message.reasoning, message.text, *calls) if part)
    return ShownMessage(role or message.role, text, trained)


def _reject(found: dict[str, Any]) -> ShownReject:
    place = f"{found['source']}, {found['file']}:{found['line']}"
    return ShownReject(found["id"], place, f"{found['stage']}/{found['reason']}", found["detail"])


def _rejects(folder: Path) -> Iterator[ShownReject]:
    with (folder / "rejects.jsonl").open("rb") as file:
        for line in file:
            yield _reject(orjson.loads(line))


def _records(folder: Path, kind: str, count: int, record: str | None) -> dict[str, tuple[Trainable, Sequence[bool]]]:
    """The first so many records of a build, or the one with an id, by their ids, each with what is trained of it."""
    found: dict[str, tuple[Trainable, Sequence[bool]]] = {}
    known = kinds.of(kind)
    for split in shards.SPLITS:
        for path in sorted((folder / "records").glob(f"{split}-*.parquet")):
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(RECORDS_PER_BATCH):
                    wanted = batch if record is None else batch.filter(pc.equal(batch.column("id"), record))
                    for each in known.from_records(wanted):
                        found.setdefault(each.id, (each, known.trained(each, "all_turns")))
                        if len(found) == (count if record is None else 1):
                            return found
    return found
