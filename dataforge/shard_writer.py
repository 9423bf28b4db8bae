"""Windows become the bytes of a shard and its entry in the manifest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataforge import arrow_bytes
from dataforge.pair_shards import PAIR_SCHEMA, PROMPT_SCHEMA, PairShard, PromptShard
from dataforge.row_table import Rows
from dataforge.shards import CHAT_SCHEMA, Shard, ShardEntry, Split, Window


@dataclass(frozen=True)
class Windows:
    """The windows of one shard, laid end to end; a pair or a prompt is a window of its own."""

    input_ids: npt.NDArray[np.int32]
    """(tokens,); of a pair those of the prompt, of what is better and of what is worse."""
    assistant_masks: npt.NDArray[np.int8]
    """(tokens,), 1 where the token is trained; of a pair 2 in what is worse."""
    seq_lengths: npt.NDArray[np.int32]
    """(documents,), in tokens."""
    record_ids: Sequence[str]
    """One `record#turn` for each document."""
    documents: npt.NDArray[np.int64]
    """(windows,), how many documents each holds."""
    margins: npt.NDArray[np.float64] | None = None
    """(windows,) of pairs, not a number where none is known."""

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "Windows":
        """Single windows laid end to end; there must be at least one."""
        return cls(
            np.concatenate([window.input_ids for window in windows]),
            np.concatenate([window.assistant_masks for window in windows]),
            np.concatenate([window.seq_lengths for window in windows]),
            [identity for window in windows for identity in window.record_ids],
            np.array([len(window.seq_lengths) for window in windows], dtype=np.int64),
        )

    @classmethod
    def single(cls, rows: Rows, *, margins: bool = False) -> "Windows":
        """Each row a window of its own."""
        return cls(
            rows.input_ids,
            rows.masks,
            rows.lengths.astype(np.int32),
            rows.ids,
            np.ones(len(rows.ids), dtype=np.int64),
            rows.margins if margins else None,
        )

    def edges(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where windows begin and end, in documents and in tokens: (windows + 1,) each."""
        documents = np.concatenate(([0], np.cumsum(self.documents)))
        tokens = np.concatenate(([0], np.cumsum(self.seq_lengths, dtype=np.int64)))
        return documents, tokens[documents]


def shard(name: str, split: Split, windows: Windows) -> tuple[bytes, ShardEntry]:
    """The content of `shards/<name>.arrow` with packed windows, and what the manifest says of it."""
    in_documents, in_tokens = windows.edges()
    edges = {"input_ids": in_tokens, "assistant_masks": in_tokens, "seq_lengths": in_documents}
    columns = [
        pa.ListArray.from_arrays(
            pa.array(edges.get(field.name, in_documents), pa.int32()),
            pa.array(getattr(windows, field.name), field.type.value_type),
        )
        for field in CHAT_SCHEMA
    ]
    return _written(name, split, windows, pa.table(columns, schema=CHAT_SCHEMA))


def pair_shard(name: str, split: Split, pairs: Windows) -> tuple[bytes, ShardEntry]:
    """The same of pairs."""
    parts = [_lists(pairs, mark) for mark in range(3)]
    margins = pa.array(pairs.margins, pa.float64(), from_pandas=True)
    table = pa.table([*parts, margins, pa.array(pairs.record_ids, pa.string())], schema=PAIR_SCHEMA)
    return _written(name, split, pairs, table)


def prompt_shard(name: str, split: Split, prompts: Windows) -> tuple[bytes, ShardEntry]:
    """The same of prompts."""
    table = pa.table([_lists(prompts, 0), pa.array(prompts.record_ids, pa.string())], schema=PROMPT_SCHEMA)
    return _written(name, split, prompts, table)


def _lists(rows: Windows, mark: int) -> pa.Array:
    """The ids of each row whose mask is this."""
    chosen = rows.assistant_masks == mark
    counts = np.concatenate(([0], np.cumsum(chosen)))
    edges = counts[np.concatenate(([0], np.cumsum(rows.seq_lengths, dtype=np.int64)))]
    return pa.ListArray.from_arrays(pa.array(edges, pa.int32()), pa.array(rows.input_ids[chosen], pa.int32()))


def _written(name: str, split: Split, windows: Windows, table: pa.Table) -> tuple[bytes, ShardEntry]:
    content = arrow_bytes.stream(table)
    entry = ShardEntry(
        file=f"shards/{name}.arrow",
        split=split,
        sha256=hashlib.sha256(content).hexdigest(),
        columns_sha256=columns_sha256(windows),
        windows=len(windows.documents),
        documents=len(windows.seq_lengths),
        tokens=len(windows.input_ids),
        trained_tokens=int(np.count_nonzero(windows.assistant_masks)),
    )
    return content, entry


def columns_sha256(windows: Windows) -> str:
    """SHA-256 over the logical values of a shard, whatever wrote it."""
    digest = hashlib.sha256()
    input_ids, masks = windows.input_ids.astype("<i4", copy=False), windows.assistant_masks.astype("i1", copy=False)
    lengths, (in_documents, in_tokens) = windows.seq_lengths.astype("<i4", copy=False), windows.edges()
    edges = zip(*(np.stack((edge[:-1], edge[1:])).T.tolist() for edge in (in_documents, in_tokens)), strict=True)
    for (first, last), (start, end) in edges:
        ids = "\n".join(windows.record_ids[first:last]).encode()
        for size in (end - start, last - first, len(ids)):
            digest.update(size.to_bytes(8, "little"))
        for column in (input_ids[start:end], masks[start:end], lengths[first:last]):
            digest.update(np.ascontiguousarray(column).data)
        digest.update(ids)
    if windows.margins is not None:
        digest.update(windows.margins.astype("<f8", copy=False).data)
    return digest.hexdigest()


def columns(path: Path, kind: str) -> dict[str, pa.Array]:
    """The columns of a shard file. Raises `BuildError` where it is not of a build of that kind."""
    if kind == "chat":
        shard = Shard(path)
        return {field.name: shard.column(field.name) for field in CHAT_SCHEMA}
    batch = (PairShard if kind == "pairs" else PromptShard)(path).batch
    return {name: batch.column(name) for name in batch.schema.names}


def whole(path: Path, kind: str) -> Windows:
    """All of a shard file, laid end to end. Raises `BuildError` where it is not of a build of that kind."""
    found = columns(path, kind)
    if kind == "chat":
        return Windows(
            found["input_ids"].flatten().to_numpy(),
            found["assistant_masks"].flatten().to_numpy(),
            found["seq_lengths"].flatten().to_numpy(),
            found["record_ids"].flatten().to_pylist(),
            found["seq_lengths"].value_lengths().to_numpy().astype(np.int64),
        )
    lists = [column for column in found.values() if pa.types.is_list(column.type)]
    lengths = np.stack([column.value_lengths().to_numpy() for column in lists], axis=1)
    marks = np.repeat(np.tile(np.arange(len(lists), dtype=np.int8), len(lengths)), lengths.ravel())
    input_ids = np.empty(len(marks), dtype=np.int32)
    for mark, column in enumerate(lists):
        input_ids[marks == mark] = column.flatten().to_numpy()
    ids = found["record_id"].to_pylist()
    margins = found["margin"].to_numpy(zero_copy_only=False) if "margin" in found else None
    ones = np.ones(len(ids), dtype=np.int64)
    return Windows(input_ids, marks, lengths.sum(axis=1).astype(np.int32), ids, ones, margins)
