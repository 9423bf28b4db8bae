"""A recipe becomes a build folder: the line is run, packed and written, the manifest last."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dataforge import line, recipe, report, shards
from dataforge.config import Document
from dataforge.errors import BuildError
from dataforge.line import Plan, Prepared
from dataforge.pack import pack, shard_groups
from dataforge.records import Message, Reject, canonical_json
from dataforge.shards import Manifest, ShardEntry, Split, Statistics
from dataforge.tokenize import Encoded, Row, trained_messages

# What a tool takes and what it was called with differ from record to record: as columns they would put nulls into
# every other row, so they are JSON text.
_MESSAGE = pa.struct(
    [(key, pa.string()) for key in ("role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name")]
)
RECORDS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("messages", pa.list_(_MESSAGE), nullable=False),
        pa.field("trained", pa.list_(pa.bool_()), nullable=False),
        pa.field("tools", pa.string()),
        pa.field("chat_template_kwargs", pa.string()),
        pa.field("copies", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
    ]
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a build command has to report."""

    folder: Path
    manifest: Manifest
    reused: bool


def build(document: Document, out: Path | None, say: Say) -> Outcome:
    """Build what the recipe says, or re-use the build that is there if nothing it depends on has changed.

    Raises `ForgeError` for what the user can mend; the folder then holds no half build.
    """
    plan = line.plan(recipe.read(document))
    folder = out or Path("builds") / plan.recipe.data.name
    standing = _standing(folder)
    if standing is not None and standing.key == plan.key:
        return Outcome(folder, shards.open_build(folder).manifest, reused=True)
    if standing is not None:
        say(f"{folder}: is built anew, as {' and '.join(_changes(standing, plan))} changed")
    for note in plan.format.notes:
        say(f"note: {note}")
    prepared = line.prepare(plan)
    for unused in prepared.unused_vars:
        say(f"note: the word to fill in stands in no record: {unused}")
    rows = _rows_by_split(plan, prepared)
    if not rows["train"]:
        raise BuildError(f"{document.path}: nothing is left to train on: {_reasons(prepared)}")
    _clear(folder)
    try:
        manifest = _write(folder, plan, prepared, rows)
    except OSError as error:
        reason = error.strerror or error
        raise BuildError(f"{folder}: cannot be written ({reason}); make room and run the same command again") from None
    return Outcome(folder, manifest, reused=False)


def _write(folder: Path, plan: Plan, prepared: Prepared, rows: dict[Split, list[Row]]) -> Manifest:
    entries = [entry for split in shards.SPLITS for entry in _write_shards(folder, split, rows[split], plan)]
    _write_records(folder, plan, prepared)
    _write_rejects(folder, prepared.rejects)
    manifest = _manifest(plan, prepared, rows, entries)
    shards.replace_file(folder / "README.md", report.dataset_card(manifest).encode())
    shards.write_manifest(folder, manifest)
    return manifest


def digest(manifest: Manifest) -> str:
    """The one number that two builds share exactly if they hold the same: see the design of the manifest.

    Versions, paths, floats and Parquet bytes do not enter.
    """
    decides = {
        "recipe_sha256": manifest.recipe_sha256,
        "inputs": manifest.inputs,
        "template": manifest.template.sha256,
        "tokenizer": manifest.tokenizer.sha256,
        "funnel": [stage.model_dump() for stage in manifest.funnel],
        "shards": [(entry.split, entry.columns_sha256) for entry in manifest.shards],
    }
    return hashlib.sha256(canonical_json(decides)).hexdigest()


def _standing(folder: Path) -> Manifest | None:
    """The manifest of the build that is there, if this version reads it."""
    try:
        return shards.read_manifest(folder)
    except BuildError:
        return None


def _changes(standing: Manifest, plan: Plan) -> list[str]:
    """What a build that stands depends on and is no longer so."""
    parts = {
        "the recipe": standing.recipe_sha256 != _recipe_sha256(plan),
        "what it reads": standing.inputs != plan.inputs,
        "the tokenizer": standing.tokenizer.sha256 != plan.format.tokenizer.sha256,
        "the chat template": standing.template.text != plan.format.template.text,
    }
    return [part for part, changed in parts.items() if changed] or ["the version of this program"]


def _recipe_sha256(plan: Plan) -> str:
    return hashlib.sha256(canonical_json(plan.recipe.normalised())).hexdigest()


def _clear(folder: Path) -> None:
    """Take an older build away, its manifest first, so that no moment shows a mixture."""
    if folder.exists() and not folder.is_dir():
        raise BuildError(f"{folder}: is a file, and a build needs a folder of this name; move it away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)
        for part in ("shards", "records"):
            shutil.rmtree(folder / part, ignore_errors=False) if (folder / part).exists() else None
    except PermissionError as error:
        raise BuildError(f"{error.filename}: cannot be written; name another folder with --out") from None


def _rows_by_split(plan: Plan, prepared: Prepared) -> dict[Split, list[Row]]:
    rows: dict[Split, list[Row]] = {split: [] for split in shards.SPLITS}
    for encoded in prepared.encoded:
        rows[line.split_of(encoded.chat, plan.recipe)].extend(encoded.rows)
    return rows


def _write_shards(folder: Path, split: Split, rows: Sequence[Row], plan: Plan) -> list[ShardEntry]:
    seed = plan.recipe.data.seed
    return [
        shards.write_chat_shard(folder, f"{split}-{number:05d}", split, pack(group, plan.recipe.window, seed))
        for number, group in enumerate(shard_groups(rows, seed))
    ]


def _write_records(folder: Path, plan: Plan, prepared: Prepared) -> None:
    copies = Counter(encoded.chat.id for encoded in prepared.encoded)
    for split in shards.SPLITS:
        records = [
            _record(encoded, plan, copies[encoded.chat.id])
            for encoded in prepared.encoded
            if encoded.chat.copy == 1 and line.split_of(encoded.chat, plan.recipe) == split
        ]
        if records:
            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(records, schema=RECORDS_SCHEMA), sink, compression="zstd")
            (folder / "records").mkdir(exist_ok=True)
            shards.replace_file(folder / "records" / f"{split}-00000.parquet", sink.getvalue().to_pybytes())


def _record(encoded: Encoded, plan: Plan, copies: int) -> dict[str, Any]:
    chat = encoded.chat
    trained = trained_messages(chat, plan.recipe.data.train_on)
    return {
        "id": chat.id,
        "messages": [_message(message) for message in chat.messages],
        "trained": [number in trained for number in range(len(chat.messages))],
        "tools": _json_or_none(chat.tools),
        "chat_template_kwargs": _json_or_none(chat.template_kwargs),
        "copies": copies,
        "source": chat.origin.source,
        "file": chat.origin.file,
        "ordinal": chat.origin.ordinal,
        "line": chat.origin.line,
    }


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
        }
        for call in message.tool_calls
    ]
    return {
        "role": message.role,
        "content": None if message.content is None else message.text,
        "reasoning_content": message.reasoning,
        "tool_calls": _json_or_none(calls),
        "tool_call_id": message.tool_call_id,
        "name": message.name,
    }


def _json_or_none(value: Any) -> str | None:
    """JSON with keys in the order they came in, since a template writes them so."""
    return orjson.dumps(value).decode() if value else None


def _write_rejects(folder: Path, rejects: Sequence[Reject]) -> None:
    lines = [canonical_json(report.reject_as_json(reject)) + b"\n" for reject in rejects]
    shards.replace_file(folder / "rejects.jsonl", b"".join(lines))


def _manifest(plan: Plan, prepared: Prepared, rows: dict[Split, list[Row]], entries: Sequence[ShardEntry]) -> Manifest:
    manifest = Manifest(
        format=shards.FORMAT,
        name=plan.recipe.data.name,
        kind="chat",
        key=plan.key,
        recipe=plan.recipe.normalised(),
        recipe_sha256=_recipe_sha256(plan),
        inputs=plan.inputs,
        template=shards.TemplateEntry(
            source=plan.recipe.data.chat,
            text=plan.format.template.text,
            sha256=hashlib.sha256(plan.format.template.text.encode()).hexdigest(),
            kwargs=plan.format.kwargs,
        ),
        tokenizer=shards.TokenizerEntry(
            name=plan.format.tokenizer.name,
            sha256=plan.format.tokenizer.sha256,
            vocabulary=plan.format.tokenizer.encoder.get_vocab_size(with_added_tokens=True),
            stop_tokens=plan.format.stop_tokens,
            new_tokens=plan.format.new_tokens,
        ),
        seed=plan.recipe.data.seed,
        window=plan.recipe.window,
        funnel=prepared.funnel,
        turns=line.turns(prepared),
        statistics={split: _statistics(rows[split], entries, split) for split in shards.SPLITS},
        shards=list(entries),
        versions={name: metadata.version(name) for name in ("dataforge", "tokenizers", "jinja2", "pyarrow")},
        digest="",
    )
    return manifest.model_copy(update={"digest": digest(manifest)})


def _statistics(rows: Sequence[Row], entries: Sequence[ShardEntry], split: Split) -> Statistics:
    lengths = sorted(len(row.input_ids) for row in rows)
    mine = [entry for entry in entries if entry.split == split]
    return Statistics(
        rows=len(rows),
        windows=sum(entry.windows for entry in mine),
        tokens=sum(lengths),
        trained_tokens=sum(entry.trained_tokens for entry in mine),
        longest_row=max(lengths, default=0),
        median_row=lengths[len(lengths) // 2] if lengths else 0,
    )


def _reasons(prepared: Prepared) -> str:
    total = prepared.funnel[0].read
    counts = Counter(f"{reject.stage}/{reject.reason}" for reject in prepared.rejects)
    listed = ", ".join(f"{reason} {count}" for reason, count in counts.most_common(3))
    first = next(iter(prepared.rejects), None)
    example = f"; the first: {first.origin.file}:{first.origin.line}: {first.detail}" if first else ""
    return f"{len(prepared.rejects)} of {total} records were rejected ({listed}){example}"
