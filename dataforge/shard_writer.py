"""Windows become the bytes of a shard and its entry in the manifest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataforge import arrow_bytes
from dataforge.shards import CHAT_SCHEMA, Shard, ShardEntry, Split, Window


@dataclass(frozen=True)
class Windows:
    """The windows of one shard, laid end to end."""

    input_ids: npt.NDArray[np.int32]
    """(tokens,)"""
    assistant_masks: npt.NDArray[np.int8]
    """(tokens,), 1 where the token is trained."""
    seq_lengths: npt.NDArray[np.int32]
    """(documents,), in tokens."""
    record_ids: Sequence[str]
    """One `record#turn` for each document."""
    documents: npt.NDArray[np.int64]
    """(windows,), how many documents each holds."""

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

    def edges(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where windows begin and end, in documents and in tokens: (windows + 1,) each."""
        documents = np.concatenate(([0], np.cumsum(self.documents)))
        tokens = np.concatenate(([0], np.cumsum(self.seq_lengths, dtype=np.int64)))
        return documents, tokens[documents]


def shard(name: str, split: Split, windows: Windows) -> tuple[bytes, ShardEntry]:
    """The content of `shards/<name>.arrow` and what the manifest says of it."""
    in_documents, in_tokens = windows.edges()
    edges = {"input_ids": in_tokens, "assistant_masks": in_tokens, "seq_lengths": in_documents}
    columns = [
        pa.ListArray.from_arrays(
            pa.array(edges.get(field.name, in_documents), pa.int32()),
            pa.array(getattr(windows, field.name), field.type.value_type),
        )
        for field in CHAT_SCHEMA
    ]
    content = arrow_bytes.stream(pa.table(columns, schema=CHAT_SCHEMA))
    entry = ShardEntry(
        file=f"shards/{name}.arrow",
        split=split,
        sha256=hashlib.sha256(content).hexdigest(),
        columns_sha256=columns_sha256(windows),
        windows=len(windows.documents),
        documents=len(windows.seq_lengths),
        tokens=len(windows.input_ids),
        trained_tokens=int(windows.assistant_masks.sum()),
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
    return digest.hexdigest()


def whole(shard: Shard) -> Windows:
    """All windows of a shard file, laid end to end."""
    columns = {field.name: shard.column(field.name) for field in CHAT_SCHEMA}
    return Windows(
        columns["input_ids"].flatten().to_numpy(),
        columns["assistant_masks"].flatten().to_numpy(),
        columns["seq_lengths"].flatten().to_numpy(),
        columns["record_ids"].flatten().to_pylist(),
        columns["seq_lengths"].value_lengths().to_numpy().astype(np.int64),
    )
