"""What needs to see more than one part: a query of DuckDB over thin tables, which spills to disk.

Sums of floats and unordered lists differ from run to run in DuckDB, so all that is asked for are integers, in an order
that is said.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from dataforge import assembly
from dataforge.components import Gather, Linking
from dataforge.folders import named
from dataforge.line import Decisions
from dataforge.pack import TOKENS_PER_ROW, TOKENS_PER_SHARD
from dataforge.records import canonical_json

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")
MEMORY = "512MB"
BYTES_PER_ROW = 12
"""Of the thin table that puts rows in order."""
BYTES_PER_CUT = 2**32
"""Thin tables that are larger are cut by the hash of their keys."""


@contextmanager
def connection(scratch: Path | None = None) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A database of its own, with a folder for what does not fit into its memory: `scratch`, or a passing one."""
    with (
        tempfile.TemporaryDirectory(prefix="forge-") as passing,
        assembly.database(scratch or Path(passing), memory=MEMORY) as opened,
    ):
        yield opened


def asked(scratch: Path, ask: "Callable[[duckdb.DuckDBPyConnection], T]") -> T:
    """What is asked of a database of its own, which hears an interrupt."""
    with connection(scratch) as opened:
        return assembly.asked(opened, ask)


def view(opened: "duckdb.DuckDBPyConnection", name: str, parts: Sequence[tuple[int, Path]]) -> None:
    """Let Parquet files be seen as one table, with their `part` and the number of each row in its file, `row`."""
    opened.execute(f"CREATE TABLE {name}_files (file VARCHAR, part INTEGER)")
    opened.executemany(f"INSERT INTO {name}_files VALUES (?, ?)", [(str(path), part) for part, path in parts])
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for _, path in parts)
    opened.execute(
        f"CREATE VIEW {name} AS SELECT found.* EXCLUDE (filename, file_row_number), part, file_row_number AS row "
        f"FROM read_parquet([{listed}], filename = true, file_row_number = true) AS found "
        f"JOIN {name}_files ON found.filename = {name}_files.file"
    )


def cuts(size: int) -> int:
    """In how many cuts thin tables of so many bytes are gathered."""
    return max(1, -(-size // BYTES_PER_CUT))


def links(gather: Linking, parts: Sequence[tuple[int, Path]], cut: int, of: int, target: Path) -> None:
    """Write what one cut of the keys says belongs together as a Parquet file."""

    def ask(opened: "duckdb.DuckDBPyConnection") -> None:
        view(opened, "thin", parts)
        _write(gather.link(opened, cut, of), target)

    asked(target.parent, ask)


def decide(gather: Gather, parts: Sequence[tuple[int, Path]], linked: Sequence[tuple[int, Path]], target: Path) -> None:
    """Write what is decided as a Parquet file, sorted by part and position."""

    def ask(opened: "duckdb.DuckDBPyConnection") -> None:
        view(opened, "thin", parts)
        if linked:
            view(opened, "links", linked)
        _write(gather.decide(opened), target)

    asked(target.parent, ask)


def in_memory(gather: Gather, thin: Sequence[pa.Table]) -> list[Decisions]:
    """The decisions of a few parts, whose thin tables are given."""
    with tempfile.TemporaryDirectory(prefix="forge-") as place:
        folder = Path(place)
        parts = [(number, folder / f"thin-{number}.parquet") for number in range(len(thin))]
        for (_, path), table in zip(parts, thin, strict=True):
            pq.write_table(table, path)
        linked, decided = folder / "links.parquet", folder / "decided.parquet"
        if isinstance(gather, Linking):
            links(gather, parts, 0, 1, linked)
        decide(gather, parts, [(0, linked)] if linked.exists() else [], decided)
        found: list[dict[int, dict[str, Any]]] = [{} for _ in thin]
        for row in pq.read_table(decided).to_pylist():
            found[row["part"]][row["position"]] = row
    return list(found)


def ranges(decided: Path) -> dict[str, tuple[int, int, str]]:
    """Where the decisions on each part begin and end in a file that `decide` wrote, and a hash of them."""
    found: dict[str, tuple[int, int, str]] = {}
    at, part, digest = 0, -1, hashlib.blake2b(digest_size=16)
    start = 0
    for batch in pq.ParquetFile(decided).iter_batches():
        for row in batch.to_pylist():
            if row["part"] != part:
                if at > start:
                    found[str(part)] = (start, at, digest.hexdigest())
                start, part, digest = at, row["part"], hashlib.blake2b(digest_size=16)
            digest.update(canonical_json(row))
            at += 1
    if at > start:
        found[str(part)] = (start, at, digest.hexdigest())
    return found


def read_range(file: pa.NativeFile, start: int, stop: int) -> list[dict[str, Any]]:
    """The rows from one number to another of a Parquet file."""
    opened = pq.ParquetFile(file)
    found: list[dict[str, Any]] = []
    at = 0
    for group in range(opened.num_row_groups):
        rows = opened.metadata.row_group(group).num_rows
        if at < stop and at + rows > start:
            table = opened.read_row_group(group)
            found += table.slice(max(start - at, 0), min(stop - at, rows) - max(start - at, 0)).to_pylist()
        at += rows
    return found


def shards_of_rows(parts: Sequence[tuple[int, Path]], cut: int, of: int, scratch: Path) -> pa.Table:
    """Which rows of each part go into which shard: `shard`, `part`, `start` and `stop`, of one cut of the draws.

    Rows are ordered by what was drawn for them, then by part. Those before the cut are only counted.
    """
    low, high = cut * 2**64 // of, (cut + 1) * 2**64 // of - 1
    cost = f"greatest(length, {TOKENS_PER_ROW})::BIGINT"

    def ask(opened: "duckdb.DuckDBPyConnection") -> pa.Table:
        view(opened, "thin", parts)
        found = opened.sql(
            f"""
            WITH before AS (SELECT coalesce(sum({cost}), 0)::BIGINT AS total FROM thin WHERE draw < {low}),
            ordered AS (
                SELECT part, row, total - {cost} + (sum({cost}) OVER (ORDER BY draw, part, row))::BIGINT AS begins
                FROM thin, before WHERE draw BETWEEN {low} AND {high}
            ),
            sharded AS (SELECT begins // {TOKENS_PER_SHARD} AS shard, part, row FROM ordered)
            SELECT shard, part, min(row)::BIGINT AS start, (max(row) + 1)::BIGINT AS stop
            FROM sharded GROUP BY shard, part ORDER BY shard, part
            """
        )
        return found.to_arrow_table()

    return asked(scratch, ask)


def _write(found: pa.Table | pa.RecordBatchReader, target: Path) -> None:
    batches = found.to_batches() if isinstance(found, pa.Table) else found
    with named(target), pq.ParquetWriter(target, found.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
