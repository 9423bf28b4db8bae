"""The tables of a build, shards and records, each checked for itself and then one against the other."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataforge import shard_writer, shards
from dataforge.chat_table import RECORDS
from dataforge.errors import BuildError
from dataforge.shard_writer import Windows
from dataforge.shards import CHAT_SCHEMA, SPLITS, Shard, ShardEntry

SHOWN = 3
"""How many windows or rows of a shard are named that break the same rule."""
RECORDS_PER_BATCH = 8192


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
    opened: duckdb.DuckDBPyConnection, folder: Path, entry: ShardEntry, capacity: int
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
        found = Shard(path)
        for field in CHAT_SCHEMA:
            found.column(field.name).validate(full=True)
    except (BuildError, pa.ArrowException, OSError):
        yield f"{entry.file}: is not a shard of windows"
        return None
    torn = list(_windows(found, capacity))
    if torn:
        yield from (f"{entry.file}: {fault}" for fault in torn)
        return None
    windows = shard_writer.whole(found)
    counted = len(found), len(windows.seq_lengths), len(windows.input_ids), int(windows.assistant_masks.sum())
    if counted != (entry.windows, entry.documents, entry.tokens, entry.trained_tokens):
        yield f"{entry.file}: the manifest's counts are not those of the shard"
    if shard_writer.columns_sha256(windows) != entry.columns_sha256:
        yield f"{entry.file}: the manifest's hash of the columns is not that of the shard"
    yield from (f"{entry.file}: {fault}" for fault in _rows(windows))
    rows = pa.table({"row": found.column("record_ids").flatten()})
    opened.register("rows", rows)
    opened.execute(
        "INSERT INTO in_shards SELECT ?, split_part(row, '#', 1), split_part(row, '#', 2), count(*) "
        "FROM rows GROUP BY row",
        [entry.split],
    )
    opened.unregister("rows")
    return windows


def _windows(found: Shard, capacity: int) -> Iterator[str]:
    """Whether the columns of a shard fit each other, so that rows can be told apart in it."""
    columns = [found.column(field.name) for field in CHAT_SCHEMA]
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


def _rows(windows: Windows) -> Iterator[str]:
    """Whether every row may be trained on as it stands."""
    mask = windows.assistant_masks
    starts = np.cumsum(windows.seq_lengths, dtype=np.int64) - windows.seq_lengths
    # No document is empty, so each begins after the one before.
    trained = np.add.reduceat(mask, starts, dtype=np.int64) if starts.size else starts
    if mask.size and (mask.min() < 0 or mask.max() > 1):
        yield "the mask holds other numbers than 0 and 1"
    if windows.input_ids.size and windows.input_ids.min() < 0:
        yield "holds ids less than 0"
    for row in np.flatnonzero(trained == 0)[:SHOWN].tolist():
        yield f"row {windows.record_ids[row]}: has no trained token"
    for row in np.flatnonzero(mask[starts])[:SHOWN].tolist():
        yield f"row {windows.record_ids[row]}: is trained from its first token on, before any prompt"
    fits = pc.match_substring_regex(pa.array(windows.record_ids, pa.string()), r"^[^#]+#[0-9]+$")
    for row in np.flatnonzero(~fits.to_numpy(zero_copy_only=False))[:SHOWN].tolist():
        yield f"row {windows.record_ids[row]!r}: is not named `record#turn`"


def records(opened: duckdb.DuckDBPyConnection, folder: Path) -> Generator[str, None, Kept | None]:
    """What does not hold of the Parquet files; returns what they hold, or None where one cannot be read as such."""
    listed = sorted(f"records/{path.name}" for path in (folder / "records").glob("*.parquet"))
    yield from names(folder, "records", "parquet", listed)
    kept, whole = Kept(0, 0, 0), True
    for name in listed:
        split = name.removeprefix("records/").partition("-")[0]
        found = yield from _parquet(opened, folder / name, name, split)
        if found is None:
            whole = False
        else:
            kept = Kept(kept.records + found.records, kept.repetitions + found.repetitions, kept.turns + found.turns)
    return kept if whole else None


def _parquet(opened: duckdb.DuckDBPyConnection, path: Path, name: str, split: str) -> Generator[str, None, Kept | None]:
    number, repetitions, turns = 0, 0, 0
    columns = ["id", "messages.list.element.role", "trained", "inputs", "copies"]
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if not file.schema_arrow.equals(RECORDS):
                yield f"{name}: the columns are not those of records"
                return None
            for batch in file.iter_batches(RECORDS_PER_BATCH, columns=columns):
                batch.validate(full=True)
                torn = _records_fault(batch)
                if torn:
                    yield f"{name}: {torn}"
                    return None
                copies = batch.column("copies").to_numpy().astype(np.int64)
                if split == "eval" and np.any(copies != 1):
                    yield f"{name}: repeats records, which only training does"
                number += batch.num_rows
                repetitions += int((copies - 1).sum())
                trained = batch.column("trained")
                of_record = np.repeat(copies, trained.value_lengths().to_numpy())
                turns += int(of_record[trained.flatten().to_numpy(zero_copy_only=False)].sum())
                opened.register("batch", pa.table({"id": batch.column("id"), "copies": batch.column("copies")}))
                opened.execute("INSERT INTO in_records SELECT ?, id, copies FROM batch", [split])
                opened.unregister("batch")
    except (pa.ArrowException, OSError):
        yield f"{name}: cannot be read as a Parquet file"
        return None
    return Kept(number, repetitions, turns)


def _records_fault(batch: pa.RecordBatch) -> str | None:
    """Whether each record's lists fit each other, and only answers are trained."""
    messages, trained, inputs = (batch.column(name) for name in ("messages", "trained", "inputs"))
    if any(batch.column(name).null_count for name in ("id", "messages", "trained", "copies")):
        return "holds records with nulls for what every record has"
    roles, flags = messages.flatten().field("role"), trained.flatten()
    if flags.null_count or not messages.value_lengths().equals(trained.value_lengths()):
        return "`trained` does not say of each message whether it is"
    if pc.any(pc.not_equal(inputs.value_lengths(), messages.value_lengths())).as_py():
        return "`inputs` does not say of each message what it is about"
    if pc.any(pc.and_(flags, pc.not_equal(roles, "assistant"))).as_py():
        return "messages are trained that are no answers"
    if batch.num_rows and pc.min(batch.column("copies")).as_py() < 1:
        return "holds records that are taken less than once"
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
