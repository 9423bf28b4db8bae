"""A build proven from its own records: each is rendered and encoded again, and its rows are those of the shards.

The template and every setting are the manifest's, so that neither sources nor recipe are needed. What the shards hold
is decoded too, and compared with what was rendered.
"""

import itertools
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from dataforge import control, gathers, kinds, seeds, shard_writer, shards
from dataforge.bases import BaseTokenizer, load_tokenizer
from dataforge.chat_format import ChatFormat
from dataforge.data_settings import Data
from dataforge.errors import BaseModelError, BuildError
from dataforge.kinds import Kind
from dataforge.records import ROLES, Preference, Reject, Trainable, turns
from dataforge.row_compare import DECODER, NORMALIZER, UNKNOWN, Rows, Unlike
from dataforge.shards import SPLITS, Manifest, Split
from dataforge.validate import Gate

RECORDS_PER_BATCH = 1024
ROWS_PER_DECODE = 1024


@dataclass
class Proof:
    """What a build was found to hold."""

    shown: int
    """How many faults are put down at most."""
    faults: list[str] = field(default_factory=list)
    """One sentence each."""
    more: int = 0
    """Faults beyond those."""
    records: int = 0
    """That were encoded again."""
    rows: int = 0
    """Of them in the shards."""
    decoded: int = 0
    """Rows as their record gives them whose ids decode to what was rendered."""
    undecoded: dict[str, int] = field(default_factory=dict)
    """Rows as their record gives them whose ids decode to another text, by what is to be said of the tokenizer."""

    def fault(self, text: str) -> None:
        """Put down or count what does not hold."""
        if len(self.faults) < self.shown:
            self.faults.append(text)
        else:
            self.more += 1


def prove(folder: Path, sample: int | None, shown: int) -> Proof:
    """Encode all records of a build again, or so many that its seed draws, and compare their rows with the shards'.

    The build must be one in which `check.faults` finds nothing.

    Raises `BuildError` where there is no build, where this version does not know its settings, or where its tokenizer
    is not at hand.
    """
    manifest, proof = shards.read_manifest(folder), Proof(shown)
    data = _settings(folder, manifest)
    format_ = _format(folder, manifest, data)
    _tokenizer_entry(manifest, format_, proof)
    chosen = None if sample is None else _drawn(folder, manifest.seed, sample)
    with gathers.connection() as opened:
        rows = Rows(opened)
        kind = kinds.of(manifest.kind)
        counted = _expect(rows, _records(folder, kind, chosen, rows, proof), kind, format_, data, proof)
        if chosen is None and counted != Counter(manifest.turns.model_dump(exclude={"refused"})):
            proof.fault("manifest.json: the turns are not those that its records give")
        for number, entry in enumerate(manifest.shards):
            windows = shard_writer.whole(folder / entry.file, manifest.kind)
            proof.rows += _find(rows, entry.split, number, windows, format_.tokenizer, chosen)
        for unlike in rows.unlike():
            proof.fault(_sentence(unlike, manifest))
        proof.decoded, proof.undecoded = rows.decoded()
    return proof


def _settings(folder: Path, manifest: Manifest) -> Data:
    found = {key: value for key, value in manifest.recipe.items() if key in Data.model_fields}
    try:
        return Data.model_validate({"name": manifest.name, **found})
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise BuildError(
            f"{folder}/manifest.json: not a recipe this version reads ({where}: {fault['msg']}); build again"
        ) from None


def _format(folder: Path, manifest: Manifest, data: Data) -> ChatFormat:
    name = manifest.tokenizer.name
    try:
        tokenizer = load_tokenizer(name)
    except BaseModelError as error:
        raise BuildError(f"{folder}: cannot be encoded again without its tokenizer: {error}") from None
    if tokenizer.sha256 != manifest.tokenizer.sha256:
        raise BuildError(
            f"{folder}: was encoded with another tokenizer than {name} has now (its sha256 differs from the "
            "manifest's), so it cannot be encoded again; have the tokenizer of the build under that name"
        )
    return ChatFormat(
        tokenizer,
        manifest.template.source,
        Path(),
        text=manifest.template.text,
        date=data.date,
        kwargs=manifest.template.kwargs,
        reasoning=data.reasoning,
        special_tokens=data.special_tokens,
        missing_tokens=data.missing_tokens,
        lawful=False,
    )


def _tokenizer_entry(manifest: Manifest, format_: ChatFormat, proof: Proof) -> None:
    entry = manifest.tokenizer
    if entry.stop_tokens != format_.stop_tokens:
        proof.fault("manifest.json: the stop tokens are not those that the chat template and the tokenizer give")
    if entry.new_tokens != format_.new_tokens:
        proof.fault("manifest.json: the new tokens are not those that the chat template and the tokenizer give")
    if entry.vocabulary != format_.tokenizer.encoder.get_vocab_size(with_added_tokens=True):
        proof.fault("manifest.json: the vocabulary is not as large as the tokenizer's")


def _batches(folder: Path, columns: list[str] | None = None) -> Iterator[tuple[Split, pa.RecordBatch]]:
    """The Parquet files of a build, a few records at a time."""
    for split in SPLITS:
        for path in sorted((folder / "records").glob(f"{split}-*.parquet")):
            with pq.ParquetFile(path, pre_buffer=False) as file:
                for batch in file.iter_batches(RECORDS_PER_BATCH, columns=columns):
                    yield split, batch


def _drawn(folder: Path, seed: int, sample: int) -> frozenset[str]:
    """The ids of so many records: those for which the seed draws the smallest numbers."""
    smallest: dict[int, str] = {}
    for _, batch in _batches(folder, ["id"]):
        smallest |= {seeds.draw(seed, "validate", identity): identity for identity in batch.column("id").to_pylist()}
        smallest = dict(sorted(smallest.items())[:sample])
    return frozenset(smallest.values())


def _records(
    folder: Path, kind: Kind, chosen: Collection[str] | None, rows: Rows, proof: Proof
) -> Iterator[tuple[Split, Trainable]]:
    """The records of a build; those that cannot be read as such are put down."""
    for split, batch in _batches(folder):
        if chosen is not None:
            batch = batch.filter(pc.is_in(batch.column("id"), value_set=pa.array(chosen, pa.string())))
        for record in _read(batch, kind):
            proof.records += 1
            if isinstance(record, str):
                proof.fault(
                    f"{split}: record {record}: its roles, tools, calls or keywords are not what a build writes"
                )
                rows.refuse(record)
            else:
                yield split, record


def _read(batch: pa.RecordBatch, kind: Kind) -> list[Trainable | str]:
    """Records, or the id where one is not as a build writes it."""
    try:
        return [record if _is_sound(record) else record.id for record in kind.from_records(batch)]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        if batch.num_rows == 1:
            return [str(batch.column("id")[0].as_py())]
        halves = batch.slice(0, batch.num_rows // 2), batch.slice(batch.num_rows // 2)
        return [record for half in halves for record in _read(half, kind)]


def _is_sound(record: Trainable) -> bool:
    """Whether what came out of JSON is of the types that a build writes, and the roles are known."""
    said = turns(record)
    mappings = (
        *record.tools,
        {} if isinstance(record, Preference) else record.template_kwargs,
        *(call.arguments for message in said for call in message.tool_calls),
    )
    return all(isinstance(each, dict) for each in mappings) and all(message.role in ROLES for message in said)


def _expect(
    rows: Rows, records: Iterable[tuple[Split, Trainable]], kind: Kind, format_: ChatFormat, data: Data, proof: Proof
) -> Counter[str]:
    """Tell which rows the records give; returns what became of the turns."""
    gate = Gate(format_.typed, format_.typed_in_answers) if data.special_tokens == "reject" else Gate()
    loss_of = _losses(format_.tokenizer)
    waiting: deque[tuple[Split, Any]] = deque()
    counted = Counter({"certified": 0, "forked": 0, "fork_tokens": 0})

    def refuse(split: Split, reject: Reject) -> None:
        proof.fault(
            f"{split}: record {reject.id}: is refused when encoded again: {reject.stage}/{reject.reason}: "
            f"{reject.detail}"
        )
        rows.refuse(reject.id)

    def rendered() -> Iterator[Any]:
        for split, record in records:
            result = kind.check(record, gate) or kind.render(record, format_.renderer)
            if isinstance(result, Reject):
                refuse(split, result)
            else:
                waiting.append((split, result))
                yield result

    for result in kind.encode(rendered(), format_.encoder, data.train_on):
        split, rendering = waiting.popleft()
        if isinstance(result, Reject):
            refuse(split, result)
            continue
        copies = result.record.copies
        counted.update({name: getattr(result, name) * copies for name in counted})
        if kind.longest(result) > data.max_tokens:
            proof.fault(f"{split}: record {result.record.id}: has {kind.longest(result)} tokens, more than max_tokens")
        for row, text in zip(result.rows, kind.texts(rendering, result), strict=True):
            text = control.unmarked(text) if data.special_tokens == "as_text" else text
            rows.expect(split, row.id, row.input_ids, row.mask, text, copies, loss_of(row.input_ids, text))
    return counted


def _losses(tokenizer: BaseTokenizer) -> Callable[[npt.NDArray[np.int32], str], int]:
    """What would explain that right ids do not decode to their text."""
    model = json.loads(tokenizer.encoder.to_str())["model"]
    unknown = model.get("unk_id")
    if unknown is None and model.get("unk_token") is not None:
        unknown = tokenizer.encoder.token_to_id(model["unk_token"])
    normalizer = tokenizer.encoder.normalizer

    def loss(ids: npt.NDArray[np.int32], text: str) -> int:
        if unknown is not None and np.any(ids == unknown):
            return UNKNOWN
        return NORMALIZER if normalizer is not None and normalizer.normalize_str(text) != text else DECODER

    return loss


def _find(
    rows: Rows,
    split: Split,
    number: int,
    windows: shard_writer.Windows,
    tokenizer: BaseTokenizer,
    chosen: Collection[str] | None,
) -> int:
    """Tell which rows a shard holds; returns how many."""
    ends = np.cumsum(windows.seq_lengths, dtype=np.int64)
    starts = ends - windows.seq_lengths
    within = np.repeat(np.arange(len(windows.documents)), windows.documents)
    places = zip(windows.record_ids, starts.tolist(), ends.tolist(), within.tolist(), strict=True)
    wanted = (place for place in places if chosen is None or place[0].partition("#")[0] in chosen)
    found = 0
    while batch := list(itertools.islice(wanted, ROWS_PER_DECODE)):
        ids = [windows.input_ids[start:end] for _, start, end, _ in batch]
        texts = tokenizer.encoder.decode_batch([each.tolist() for each in ids], skip_special_tokens=False)
        for (row, start, end, window), of_row, text in zip(batch, ids, texts, strict=True):
            rows.find(split, row, of_row, windows.assistant_masks[start:end], text, (number, window))
        found += len(batch)
    return found


def _sentence(unlike: Unlike, manifest: Manifest) -> str:
    place = f"{unlike.split}: row {unlike.row}"
    if unlike.shard is not None:
        place = f"{manifest.shards[unlike.shard].file}: window {unlike.window}: row {unlike.row}"
    if not unlike.found:
        return f"{place}: its record gives it, and no shard holds it"
    if not unlike.expected:
        return f"{place}: no record gives it"
    if unlike.other:
        return f"{place}: the {'ids are' if unlike.ids else 'mask is'} not what its record gives"
    return f"{place}: stands {unlike.found} times in the shards, and its record gives it {unlike.expected} times"
