"""The contract between the two packages: a build folder of packed, checksummed shards and their manifest.

    manifest.json                     written last; a folder without one is no build
    shards/{train,eval}-NNNNN.arrow   Arrow IPC streams of one record batch, memory-mapped when read

A row is one window of documents end to end, and no labels are stored; of pairs and prompts see `pair_shards`.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from dataforge.errors import BuildError

Split = Literal["train", "eval"]
SPLITS: tuple[Split, ...] = ("train", "eval")
FORMAT = 1

CHAT_SCHEMA = pa.schema(
    [
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("assistant_masks", pa.list_(pa.int8()), nullable=False),
        pa.field("seq_lengths", pa.list_(pa.int32()), nullable=False),
        pa.field("record_ids", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Window:
    """Documents that are computed together and do not see each other."""

    input_ids: npt.NDArray[np.int32]
    """(tokens,)"""
    assistant_masks: npt.NDArray[np.int8]
    """(tokens,), 1 where the token is trained."""
    seq_lengths: npt.NDArray[np.int32]
    """(documents,), summing to the number of tokens."""
    record_ids: tuple[str, ...]
    """One `record#turn` for each document."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardEntry(_Part):
    """What the manifest says of one shard file."""

    file: str
    split: Split
    sha256: str
    columns_sha256: str
    """Over the logical values alone, so that it does not change with the Arrow version."""
    windows: int
    documents: int
    tokens: int
    trained_tokens: int


class TemplateEntry(_Part):
    """The chat template that the build was rendered with."""

    source: str
    """What the recipe's `chat` said."""
    text: str
    sha256: str
    kwargs: dict[str, Any] = {}
    """What it was given beside the messages in every record, such as `enable_thinking`."""


class TokenizerEntry(_Part):
    """The tokenizer that the build was encoded with."""

    name: str
    sha256: str
    vocabulary: int
    stop_tokens: dict[str, int]
    """The texts on which an answer ends, with the id of their last token."""
    new_tokens: dict[str, int] = {}
    """Control tokens of the chat template that the tokenizer did not have, with the ids they were given."""


class Turns(_Part):
    """What became of the turns that were to be trained."""

    certified: int
    """Carried by the row of their whole conversation."""
    forked: int
    """Carried by a row of their own."""
    refused: int
    """Whose record was refused because no mask could be proven."""
    fork_tokens: int
    """Tokens of those rows of their own."""


class Statistics(_Part):
    """Sizes of one split."""

    rows: int
    windows: int
    tokens: int
    trained_tokens: int
    longest_row: int
    median_row: int


class Stage(_Part):
    """One station of the funnel; `read` and `unfolded` are `passed`, `joined` and all rejects together."""

    stage: str
    read: int
    passed: int
    rejected: dict[str, int]
    added: int = 0
    """Repetitions of records whose source weighs more than 1: the next station reads them too."""
    unfolded: int = 0
    """How many more came out than went in, where one record holds several."""
    joined: int = 0
    """Records that became part of others that passed."""


class Amount(_Part):
    """How much there is of a source, a task or a language; a record that is repeated counts as often."""

    records: int
    tokens: int
    trained_tokens: int


Diversity = dict[Split, dict[str, dict[str, Amount]]]
"""By `source`, `task` and `language`, and by name."""


class SourceNote(_Part):
    """What a source is and gave, for the dataset card; none of it enters the digest."""

    name: str
    use: str
    records: int
    """That were kept, each counted once."""
    attributed: int = 0
    """Records that name their own author or licence, in their facts."""
    languages: dict[str, int] = {}
    """Records by language, where it is known."""
    licence: str | None = None
    attribution: str | None = None
    origin_url: str | None = None


class Manifest(_Part):
    """All that a build says of itself."""

    format: int
    name: str
    kind: Literal["chat", "pairs", "prompts"]
    key: str
    """A hash of all that decides what is built: the same key is not built twice."""
    recipe: dict[str, Any]
    recipe_sha256: str
    inputs: dict[str, str]
    """Content hash of each input file, by the name of its source, or `step NAME`."""
    template: TemplateEntry
    tokenizer: TokenizerEntry
    seed: int
    window: int
    funnel: list[Stage]
    turns: Turns
    sources: list[SourceNote] = []
    statistics: dict[Split, Statistics]
    shards: list[ShardEntry]
    versions: dict[str, str]
    diversity: Diversity = {}
    noted: dict[str, dict[str, int]] = {}
    """What steps counted for themselves, such as redacted places."""
    measured: dict[Split, dict[str, dict[str, int]]] = {}
    """How many pairs fall into which range of what."""
    digest: str


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tokenizer_sha256(tokenizer_json: bytes) -> str:
    """A hash of what makes ids out of text in a `tokenizer.json`.

    Truncation, padding and the post-processor are left out: texts are rendered whole and no tokens are added.
    """
    parts = json.loads(tokenizer_json)
    kept = {key: parts.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
    return hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()


def replace_file(path: Path, content: bytes | Iterable[bytes], *, synced: bool = True) -> None:
    """Write a file, given at once or in pieces, whole or not at all: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a build folder.

    Raises `BuildError` where there is none, or one that this version does not read.
    """
    path = folder / "manifest.json"
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BuildError(
            f"{folder}: no finished build here (no manifest.json); run `forge build RECIPE` first"
        ) from None
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, place: str) -> Manifest:
    """A manifest from its file's content. Raises `BuildError` where this version does not read it."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise BuildError(f"{place}: not a manifest this version reads ({where}: {fault['msg']}); build again") from None


class Shard(Sequence[Window]):
    """The windows of one shard file, memory-mapped: reading one touches only its pages."""

    _windows: int

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            batches = list(reader)
        if len(batches) != 1 or not batches[0].schema.equals(CHAT_SCHEMA):
            raise BuildError(f"{path}: not a chat shard; build again")
        self._columns = {field.name: batches[0].column(field.name) for field in CHAT_SCHEMA}
        self._windows = batches[0].num_rows

    def column(self, name: str) -> pa.Array:
        """A column of `CHAT_SCHEMA`."""
        return self._columns[name]

    def __len__(self) -> int:
        return self._windows

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        ids, masks, lengths, records = (self._columns[field.name][position].values for field in CHAT_SCHEMA)
        return Window(
            input_ids=ids.to_numpy(),
            assistant_masks=masks.to_numpy(),
            seq_lengths=lengths.to_numpy(),
            record_ids=tuple(records.to_pylist()),
        )


@dataclass(frozen=True)
class Build:
    """A build folder whose manifest has been read and whose shards have been checked."""

    folder: Path
    manifest: Manifest

    def shards(self, split: Split) -> list[Shard]:
        """The split's shards in order."""
        return [Shard(self.folder / entry.file) for entry in self.manifest.shards if entry.split == split]

    def windows(self, split: Split) -> Iterator[Window]:
        """All windows of a split in order."""
        for shard in self.shards(split):
            yield from shard


def open_build(folder: Path) -> Build:
    """Open a build and check every shard's bytes against its manifest.

    Raises `BuildError` where a shard is missing or a bit of it has changed.
    """
    manifest = read_manifest(folder)
    for entry in manifest.shards:
        path = folder / entry.file
        if not path.is_file():
            raise BuildError(f"{path}: the shard is missing; build again")
        if sha256_of(path) != entry.sha256:
            why = "the shard's bytes are not those that were built (its sha256 differs from the manifest's)"
            raise BuildError(f"{path}: {why}; delete {folder} and build again")
    return Build(folder, manifest)
