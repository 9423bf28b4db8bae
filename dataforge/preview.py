"""What a model will be trained on, token by token: of a recipe, or of a build that stands."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from dataforge import recipe, report, shards
from dataforge.bases import load_tokenizer, with_new_tokens
from dataforge.config import Document
from dataforge.errors import BuildError
from dataforge.line import Line
from dataforge.records import Chat
from dataforge.sample import first_records
from dataforge.tokenize import trained_messages

RECORDS_PER_SOURCE = 200


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a row. A character of several tokens stands with the last of them."""

    id: int
    text: str
    trained: bool
    stop: bool
    """Whether it ends an answer."""


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


def of_recipe(document: Document, count: int, record: str | None = None) -> Preview:
    """Run the real line over the first records of each source."""
    line = Line(recipe.read(document))
    sample = first_records(line, RECORDS_PER_SOURCE)
    rejects = tuple(_reject(report.reject_as_json(reject)) for reject in sample.rejects)
    chosen = [item for item in sample.encoded if record in (None, item.chat.id)]
    format_, data = line.format, line.recipe.data
    if record is not None and not chosen and record not in [reject.id for reject in rejects]:
        raise BuildError(f"{record}: no such record among the first {RECORDS_PER_SOURCE} of each source")
    encoder, stops = format_.tokenizer.encoder, format_.stop_tokens.values()
    shown = tuple(
        Shown(
            item.chat.id,
            f"{item.chat.origin.source}, {item.chat.origin.file}:{item.chat.origin.line}",
            tuple(_messages(item.chat, trained_messages(item.chat, data.train_on))),
            tuple(show(row.id, row.input_ids.tolist(), row.mask.tolist(), encoder, stops) for row in item.rows),
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
    )


def of_build(folder: Path, count: int, record: str | None = None) -> Preview:
    """Read the shards of a build back."""
    build = shards.open_build(folder)
    manifest = build.manifest
    records = {found["id"]: found for found in _records(folder)}
    rejects = tuple(_reject(orjson.loads(text)) for text in (folder / "rejects.jsonl").read_bytes().splitlines())
    if record is not None and record not in records and record not in [reject.id for reject in rejects]:
        raise BuildError(f"{folder}: holds no record {record}, kept or rejected")
    wanted = list(records)[:count] if record is None else [record] if record in records else []
    tokenizer = with_new_tokens(load_tokenizer(manifest.tokenizer.name), list(manifest.tokenizer.new_tokens))
    encoder, stops = tokenizer.encoder, manifest.tokenizer.stop_tokens.values()
    rows: dict[str, dict[str, ShownRow]] = {identity: {} for identity in wanted}
    lengths: list[int] = []
    for split in shards.SPLITS:
        for window in build.windows(split):
            lengths += window.seq_lengths.tolist()
            start = 0
            for row_id, length in zip(window.record_ids, window.seq_lengths.tolist(), strict=True):
                found, part = rows.get(row_id.partition("#")[0]), slice(start, start + length)
                start += length
                if found is not None and row_id not in found:
                    ids, mask = window.input_ids[part].tolist(), window.assistant_masks[part].tolist()
                    found[row_id] = show(row_id, ids, mask, encoder, stops)
    shown = tuple(
        Shown(
            identity,
            f"{records[identity]['source']}, {records[identity]['file']}:{records[identity]['line']}",
            tuple(_read_messages(records[identity])),
            tuple(sorted(rows[identity].values(), key=lambda row: -int(row.id.partition("#")[2]))),
        )
        for identity in wanted
    )
    return Preview(
        title=manifest.name,
        shown=shown,
        rejects=tuple(reject for reject in rejects if record in (None, reject.id)),
        note=f"{sum(sizes.rows for sizes in manifest.statistics.values()):,} rows in {folder}",
        stop_tokens=tuple(manifest.tokenizer.stop_tokens),
        funnel=tuple(manifest.funnel),
        turns=manifest.turns,
        lengths=tuple(lengths),
    )


def show(row_id: str, ids: Sequence[int], mask: Sequence[int], encoder: Tokenizer, stops: Collection[int]) -> ShownRow:
    """A row as tokens with their texts."""
    stream, tokens = DecodeStream(skip_special_tokens=False), []
    for number, (id_, trained) in enumerate(zip(ids, mask, strict=True)):
        ends_answer = bool(trained) and not any(mask[number + 1 : number + 2]) and id_ in stops
        tokens.append(Token(id_, stream.step(encoder, id_) or "", bool(trained), ends_answer))
    return ShownRow(row_id, tuple(tokens))


def _messages(chat: Chat, trained: set[int]) -> Iterator[ShownMessage]:
    for number, message in enumerate(chat.messages):
        calls = [f"{call.name}({orjson.dumps(call.arguments).decode()})" for call in message.tool_calls]
        text = "\n".join(part for part in (message.reasoning, message.text, *calls) if part)
        yield ShownMessage(message.role, text, number in trained)


def _read_messages(record: dict[str, Any]) -> Iterator[ShownMessage]:
    for message, trained in zip(record["messages"], record["trained"], strict=True):
        called = [call["function"] for call in orjson.loads(message["tool_calls"] or "[]")]
        calls = [f"{call['name']}({call['arguments']})" for call in called]
        text = "\n".join(part for part in (message["reasoning_content"], message["content"], *calls) if part)
        yield ShownMessage(message["role"], text, trained)


def _reject(found: dict[str, Any]) -> ShownReject:
    place = f"{found['source']}, {found['file']}:{found['line']}"
    return ShownReject(found["id"], place, f"{found['stage']}/{found['reason']}", found["detail"])


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for split in shards.SPLITS:
        for path in sorted((folder / "records").glob(f"{split}-*.parquet")):
            yield from pq.read_table(path).to_pylist()
