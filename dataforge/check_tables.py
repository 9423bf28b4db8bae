"""The tables of a build, shards and records, each checked for itself and then one against the other."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataforge import kinds, shard_writer, shards
from dataforge.errors import BuildError
from dataforge.kinds import Kind
from dataforge.shard_writer import Windows
from dataforge.shards import SPLITS, Manifest, ShardEntry

SHOWN = 3
"""How many windows or rows of a shard are named that break the same rule."""
RECORDS_PER_BATCH = 8192
_OF = {"chat": "windows", "pairs": "pairs", "prompts": "prompts"}


@dataclass(frozen=True)
class Kept:
    """What the Parquet files hold together."""

    records: int
    repetitions: int
    """Beyond the first time that each is trained on."""
    turns: int
    """Trained answers; of a record that is repeated, as often."""


def prepare(opened: duckdb.DuckDBPyConnection) -> None:
    """Make the tables that `shard` and `records` fill and `unlike` compares."""
    opened.execute("CREATE TABLE in_shards (split VARCHAR, record VARCHAR, turn VARCHAR, times BIGINT)")
    opened.execute("CREATE TABLE in_records (split VARCHAR, record VARCHAR, times BIGINT)")


def names(folder: Path, inside: str, suffix: str, listed: Sequence[str]) -> Iterator[str]:
    """What does not hold of the names of the files in a folder of a build, of which some must be there."""
    for split in SPLITS:
        found = [name for name in listed if name.startswith(f"{inside}/{split}-")]
        for number, name in enumerate(found):
            if name != f"{inside}/{split}-{number:05d}.{suffix}":
                yield f"{inside}/{split}-{number:05d}.{suffix}: is missing between those that are there"
                break
    there = {path.relative_to(folder).as_posix() for path in (folder / inside).rglob("*") if path.is_file()}
    known = {name for name in listed if name.startswith(tuple(f"{inside}/{split}-" for split in SPLITS))}
    for name in sorted(there - known):
        yield f"{name}: is no file of this build"


def shard(
    opened: duckdb.DuckDBPyConnection, folder: Path, entry: ShardEntry, manifest: Manifest
) -> Generator[str, None, Windows | None]:
    """What does not hold of a shard; returns its windows, or None where it cannot be read as such."""
    path = folder / entry.file
    if not path.is_file():
        yield f"{entry.file}: is missing"
        return None
    if shards.sha256_of(path) != entry.sha256:
        yield f"{entry.file}: the bytes are not those that were built"
        return None
    try:
        columns = shard_writer.columns(path, manifest.kind)
        for column in columns.values():
            column.validate(full=True)
    except (BuildError, pa.ArrowException, OSError):
        yield f"{entry.file}: is not a shard of {_OF[manifest.kind]}"
        return None
    torn = list(_windows(columns, manifest.window) if manifest.kind == "chat" else _lists(columns))
    if torn:
        yield from (f"{entry.file}: {fault}" for fault in torn)
        return None
    windows = shard_writer.whole(path, manifest.kind)
    trained = int(np.count_nonzero(windows.assistant_masks))
    counted = len(windows.documents), len(windows.seq_lengths), len(windows.input_ids), trained
    if counted != (entry.windows, entry.documents, entry.tokens, entry.trained_tokens):
        yield f"{entry.file}: the manifest's counts are not those of the shard"
    if shard_writer.columns_sha256(windows) != entry.columns_sha256:
        yield f"{entry.file}: the manifest's hash of the columns is not that of the shard"
    yield from (f"{entry.file}: {fault}" for fault in _rows(windows, kinds.of(manifest.kind)))
    rows = pa.table({"row": pa.array(windows.record_ids, pa.string())})
    opened.register("rows", rows)
    opened.execute(
        "INSERT INTO in_shards SELECT ?, split_part(row, '#', 1), split_part(row, '#', 2), count(*) "
        "FROM rows GROUP BY row",
        [entry.split],
    )
    opened.unregister("rows")
    return windows


def _lists(found: Mapping[str, pa.Array]) -> Iterator[str]:
    """Whether a shard of pairs or prompts holds what it must."""
    if any(column.null_count for name, column in found.items() if name != "margin"):
        yield "holds nulls"
        return
    for name, column in found.items():
        if pa.types.is_list(column.type):
            if column.flatten().null_count:
                yield "holds nulls"
            for number in np.flatnonzero(column.value_lengths().to_numpy() == 0)[:SHOWN].tolist():
                yield f"row {number}: has no {name}"


def _windows(found: Mapping[str, pa.Array], capacity: int) -> Iterator[str]:
    """Whether the columns of a shard fit each other, so that rows can be told apart in it."""
    columns = list(found.values())
    if any(column.null_count or column.flatten().null_count for column in columns):
        yield "holds nulls"
        return
    tokens, masks, documents, named = (column.value_lengths().to_numpy() for column in columns)
    edges = np.concatenate(([0], np.cumsum(documents, dtype=np.int64)))
    row_edges = np.concatenate(([0], np.cumsum(columns[2].flatten().to_numpy(), dtype=np.int64)))
    if len(row_edges) != edges[-1] + 1 or np.any(np.diff(row_edges) <= 0):
        yield "has documents without a token"
        return
    lengths = np.diff(row_edges[edges])
    torn = (lengths != tokens) | (tokens != masks) | (documents != named) | (tokens > capacity) | (documents == 0)
    for number in np.flatnonzero(torn)[:SHOWN].tolist():
        yield f"window {number}: documents, ids and mask do not have one length of at most {capacity}"


def _rows(windows: Windows, kind: Kind) -> Iterator[str]:
    """Whether every row may be trained on as it stands."""
    mask, named = windows.assistant_masks, Counter[str]()
    if mask.size and (mask.min() < 0 or mask.max() > kind.MARKS):
        yield "the mask holds other numbers than 0 and 1"
    if windows.input_ids.size and windows.input_ids.min() < 0:
        yield "holds ids less than 0"
    for row, fault in kind.faults(windows):
        named[fault] += 1
        if named[fault] <= SHOWN:
            yield f"row {row}: {fault}"


def records(opened: duckdb.DuckDBPyConnection, folder: Path, manifest: Manifest) -> Generator[str, None, Kept | None]:
    """What does not hold of the Parquet files; returns what they hold, or None where one cannot be read as such."""
    listed = sorted(f"records/{path.name}" for path in (folder / "records").glob("*.parquet"))
    yield from names(folder, "records", "parquet", listed)
    kept, whole = Kept(0, 0, 0), True
    for name in listed:
        split = name.removeprefix("records/").partition("-")[0]
        found = yield from _parquet(opened, folder / name, name, split, manifest.kind)
        if found is None:
            whole = False
        else:
            kept = Kept(kept.records + found.records, kept.repetitions + found.repetitions, kept.turns + found.turns)
    return kept if whole else None


def _parquet(
    opened: duckdb.DuckDBPyConnection, path: Path, name: str, split: str, kind: str
) -> Generator[str, None, Kept | None]:
    number, repetitions, turns = 0, 0, 0
    columns, known = ["id", "copies"], kinds.of(kind)
    if kind == "chat":
        columns += ["messages.list.element.role", "trained", "inputs"]
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if not file.schema_arrow.equals(known.RECORDS):
                yield f"{name}: the columns are not those of records"
                return None
            for batch in file.iter_batches(RECORDS_PER_BATCH, columns=columns):
                batch.validate(full=True)
                torn = _every_fault(batch) or (_chats_fault(batch) if kind == "chat" else None)
                if torn:
                    yield f"{name}: {torn}"
                    return None
                copies = batch.column("copies").to_numpy().astype(np.int64)
                if split == "eval" and np.any(copies != 1):
                    yield f"{name}: repeats records, which only training does"
                number += batch.num_rows
                repetitions += int((copies - 1).sum())
                turns += _turns(batch.column("trained"), copies) if kind == "chat" else known.MARKS * int(copies.sum())
                opened.register("batch", pa.table({"id": batch.column("id"), "copies": batch.column("copies")}))
                opened.execute("INSERT INTO in_records SELECT ?, id, copies FROM batch", [split])
                opened.unregister("batch")
    except (pa.ArrowException, OSError):
        yield f"{name}: cannot be read as a Parquet file"
        return None
    return Kept(number, repetitions, turns)


def _turns(trained: pa.Array, copies: npt.NDArray[np.int64]) -> int:
    """The trained answers of conversations that are repeated so often."""
    of_record = np.repeat(copies, trained.value_lengths().to_numpy())
    return int(of_record[trained.flatten().to_numpy(zero_copy_only=False)].sum())


def _every_fault(batch: pa.RecordBatch) -> str | None:
    """Whether each record has what every one has."""
    if any(batch.column(name).null_count for name in batch.schema.names if name not in ("inputs",)):
        return "holds records with nulls for what every record has"
    if batch.num_rows and pc.min(batch.column("copies")).as_py() < 1:
        return "holds records that are taken less than once"
    return None


def _chats_fault(batch: pa.RecordBatch) -> str | None:
    """Whether each conversation's lists fit each other, and only answers are trained."""
    messages, trained, inputs = (batch.column(name) for name in ("messages", "trained", "inputs"))
    roles, flags = messages.flatten().field("role"), trained.flatten()
    if flags.null_count or not messages.value_lengths().equals(trained.value_lengths()):
        return "`trained` does not say of each message whether it is"
    if pc.any(pc.not_equal(inputs.value_lengths(), messages.value_lengths())).as_py():
        return "`inputs` does not say of each message what it is about"
    if pc.any(pc.and_(flags, pc.not_equal(roles, "assistant"))).as_py():
        return "messages are trained that are no answers"
    return None


def unlike(opened: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """How the records of the shards and of the Parquet files differ: each row stands as often as its record says."""
    found = opened.execute(
        """
        WITH rows AS (SELECT split, record, turn, sum(times) AS times FROM in_shards GROUP BY ALL),
        shards AS (SELECT split, record, min(times) AS least, max(times) AS most FROM rows GROUP BY ALL),
        records AS (SELECT split, record, sum(times) AS times FROM in_records GROUP BY ALL),
        compared AS (
            SELECT split, record, CASE
                WHEN records.record IS NULL THEN 'in the shards but not in records/'
                WHEN shards.record IS NULL THEN 'in records/ but not in the shards'
                WHEN least <> times OR most <> times THEN 'not as often in the shards as records/ say'
            END AS stands
            FROM shards FULL JOIN records USING (split, record)
        )
        SELECT split, stands, count(*), min(record) FROM compared WHERE stands IS NOT NULL
        GROUP BY split, stands ORDER BY split DESC, stands
        """
    )
    for split, stands, count, first in found.fetchall():
        others = f" (and {count - 1:,} other records)" if count > 1 else ""
        yield f"{split}: record {first}{others}: stands {stands}"
