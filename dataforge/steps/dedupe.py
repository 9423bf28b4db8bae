"""Reject records that repeat another: the same text, or with `near:` nearly the same.

The text of a record is that of all its messages with their roles, or with `by: questions` of the user's messages alone.
Case, runs of white space and Unicode's compatibility forms do not matter; punctuation does. What is not text (weights,
ids of tool calls, `chat_template_kwargs`) is not compared.

Near-duplicates are records whose sets of runs of five characters have at least `near` of their union in common (their
Jaccard similarity), as 128 MinHash values of each tell: at 0.8 the estimate is off by 0.035 (one standard deviation),
so that of pairs at the bound itself half are found, and of those 0.07 above it 99 in 100. System messages and tools
are left out of that, since a long instruction that records share would make all of them alike; records that differ in
them are never the same, only near.

Of all records that are linked to one another, through others too, the first in the order of sources and files stays.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from dataforge import config
from dataforge.context import Context
from dataforge.minhash import band_columns, equal_values, per_mille, sketches, within
from dataforge.record_keys import RECORDS
from dataforge.records import Example, Record, Reject, Text, canonical_json, turns
from dataforge.text import normalised

_TURNS = ("user", "assistant", "tool")
_FEW = 16  # records with a common key of which all pairs are compared

_LINKS = pa.schema([("first", pa.int64()), ("second", pa.int64()), ("exact", pa.int8())])
_DECISIONS = pa.schema(
    [
        ("part", pa.int32()),
        ("position", pa.int32()),
        ("kept_part", pa.int32()),
        ("kept_position", pa.int32()),
        ("kept", pa.string()),
        ("kept_place", pa.string()),
        ("exact", pa.int8()),
        ("twin", pa.string()),
        ("twin_place", pa.string()),
        ("similarity", pa.int16()),
    ]
)


class Settings(config.Settings):
    """Which records repeat another."""

    near: Annotated[float, Field(ge=0.5, le=1)] | None = None
    """The Jaccard similarity from which two records are near-duplicates; without it only the same text is one."""
    by: Literal["conversation", "questions"] = "conversation"
    """What is compared: all messages with their roles, or only what the user says."""


@dataclass(frozen=True)
class Gather:
    """The filter over all parts of a build.

    In links and decisions a record is one integer: the number of its part times 2^32, and its position in the part.
    """

    name: str
    settings: Settings

    def thin(self, records: Sequence[Record]) -> pa.Table:
        """What is compared of each record of a part.

        Columns: `position` int32, `id` and `place` (file:line) string, `exact_high` and `exact_low` uint64 (the hash of
        its text), and with `near` also `sketch`, 128 bytes. A record without anything to compare has nulls.
        """
        said = [_said(record, self.settings.by) for record in records]
        exact = [_hash(whole) if whole else (None, None) for whole, _ in said]
        columns: dict[str, pa.Array] = {
            "position": pa.array(range(len(records)), pa.int32()),
            "id": pa.array([record.id for record in records], pa.string()),
            "place": pa.array([f"{record.origin.file}:{record.origin.line}" for record in records], pa.string()),
            "exact_high": pa.array([high for high, _ in exact], pa.uint64()),
            "exact_low": pa.array([low for _, low in exact], pa.uint64()),
        }
        if self.settings.near is not None:
            columns["sketch"] = pa.array(sketches([near for _, near in said]), pa.binary())
        return pa.table(columns)

    def link(self, connection: duckdb.DuckDBPyConnection, cut: int = 0, cuts: int = 1) -> pa.Table:
        """Pairs of records that are the same or near, those whose common key falls into this cut.

        Columns: `first` and `second` int64, first < second, and `exact` int8 (0 or 1). Sorted, without repetition; the
        union over all cuts does not depend on their number.
        """
        same = connection.sql(f"""
            SELECT first, second, 1::TINYINT AS exact FROM (
                SELECT min(record) OVER (PARTITION BY exact_high, exact_low) AS first, record AS second
                FROM ({RECORDS}) WHERE exact_low IS NOT NULL AND exact_low % {cuts} = {cut}
            ) WHERE first < second ORDER BY first, second
        """).to_arrow_table()
        if self.settings.near is None:
            return same.cast(_LINKS)
        _candidates(connection, self.settings.near, cut, cuts)
        near = _verified(connection, self.settings.near)
        return pa.concat_tables([same.cast(_LINKS), near])

    def decide(self, connection: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
        """A line for each record that goes: what it repeats, of which record that stays, and how alike they are.

        Columns: `part`, `position`, `kept_part`, `kept_position` int32, `kept` and `kept_place` string; `exact` int8, 1
        where an earlier record has the same text, and `twin` and `twin_place`, the first such record where it is not
        the one that stays; `similarity` to the one that stays in per mille, int16. Sorted by part and position.
        """
        links = connection.sql("SELECT first, second FROM links").to_arrow_table()
        record, kept = _clusters(links.column("first").to_numpy(), links.column("second").to_numpy())
        connection.register("gone", pa.table({"record": record[record != kept], "kept": kept[record != kept]}))
        connection.execute("CREATE OR REPLACE TEMP TABLE goes AS SELECT * FROM gone")
        connection.unregister("gone")
        connection.execute("""
            CREATE OR REPLACE TEMP TABLE twins AS SELECT DISTINCT first, second FROM links WHERE exact = 1
        """)
        _look_up(connection, "SELECT unnest([goes.record, kept]) FROM goes UNION ALL SELECT first FROM twins")
        sketches = "" if self.settings.near is None else ", r.sketch, k.sketch AS kept_sketch"
        found = connection.sql(f"""
            SELECT r.part::INTEGER AS part, r.position::INTEGER AS position, k.part::INTEGER AS kept_part,
                k.position::INTEGER AS kept_position, k.id AS kept, k.place AS kept_place,
                (twins.first IS NOT NULL)::TINYINT AS exact, t.id AS twin, t.place AS twin_place {sketches}
            FROM goes JOIN records r ON r.record = goes.record JOIN records k ON k.record = goes.kept
            LEFT JOIN twins ON twins.second = goes.record
            LEFT JOIN records t ON t.record = twins.first AND t.record != goes.kept
            ORDER BY r.part, r.position
        """).to_arrow_reader()

        def measured() -> Iterator[pa.RecordBatch]:
            for batch in found:
                columns = [batch.column(name) for name in _DECISIONS.names[:-1]]
                yield pa.RecordBatch.from_arrays([*columns, _similarity(batch)], schema=_DECISIONS)
            connection.execute("DROP TABLE goes; DROP TABLE twins; DROP TABLE records")

        return pa.RecordBatchReader.from_batches(_DECISIONS, measured())

    def take(self, record: Record, decision: Mapping[str, Any]) -> Record | Reject:
        """The reject that a decision makes of its record: `exact` where a record before it has the same text."""
        kept = f"record {decision['kept']} ({decision['kept_place']})"
        similarity = decision["similarity"] / 1000
        facts = {"repeats": decision["kept"], "place": decision["kept_place"], "similarity": similarity}
        if decision["exact"]:
            twin = f"record {decision['twin']} ({decision['twin_place']}), a repeat of "
            detail = f"has the same text as {'' if decision['twin'] is None else twin}{kept}"
            return Reject(record.id, record.origin, self.name, "exact", detail, facts)
        detail = f"is about {similarity:.0%} like {kept}"
        if self.settings.near is not None and similarity < self.settings.near:
            detail += ", through records between them"
        return Reject(record.id, record.origin, self.name, "near", detail, facts)


def start(name: str, settings: Settings, context: Context) -> Gather:
    """The filter; its rejects carry `name`."""
    return Gather(name, settings)


def _said(record: Record, by: str) -> tuple[str, str]:
    """All text that tells records apart, and the part of it whose nearness counts; empty where there is none.

    Each piece begins with U+001E and a letter for what it is, which no normalised text holds.
    """
    if by == "questions":
        asked = [normalised(message.text) for message in turns(record) if message.role == "user"]
        text = "".join(f"\x1eu{question}" for question in asked) if any(asked) else ""
        return text, text
    tools = () if isinstance(record, Example | Text) else record.tools
    pieces = [("tool schema", f"\x1ef{normalised(canonical_json(tool).decode())}") for tool in tools]
    for message in turns(record):
        pieces.append((message.role, f"\x1e{message.role[0]}{normalised(message.text)}"))
        if message.name:
            pieces.append((message.role, f"\x1en{normalised(message.name)}"))
        if message.reasoning:
            pieces.append((message.role, f"\x1er{normalised(message.reasoning)}"))
        for call in message.tool_calls:
            arguments = normalised(canonical_json(call.arguments).decode())
            pieces.append((message.role, f"\x1ec{normalised(call.name)} {arguments}"))
    counted = (text for role, text in pieces if role in _TURNS)
    return "".join(text for _, text in pieces), "".join(counted)


def _hash(text: str) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def _candidates(connection: duckdb.DuckDBPyConnection, near: float, cut: int, cuts: int) -> None:
    """Make a table `candidates` of the pairs of records worth comparing.

    Of up to 16 records with a common key each is compared with each. All pairs of many would be the square of their
    number: they are put in the order of the values after the key, where those that are most alike are neighbours, and
    each is compared with the two before it and with the first record of them all, which the others often come from.
    Records with the same text are neighbours there, and only the first of them is compared on.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE candidates (first BIGINT, second BIGINT)")
    for key, after in band_columns(near):
        connection.execute(f"""
            INSERT INTO candidates
            WITH keyed AS (
                SELECT record, exact_low, exact_high, {key} AS key, {after} AS after
                FROM ({RECORDS}) WHERE sketch IS NOT NULL AND {within(cut, cuts)}
            ), shared AS (
                SELECT key FROM keyed GROUP BY key HAVING count(*) > 1
            ), neighbours AS (
                SELECT record, exact_low, lag(exact_low) OVER beside AS exact_before,
                    unnest(CASE WHEN count(*) OVER together <= {_FEW}
                        THEN list(record) OVER (beside ROWS BETWEEN {_FEW} PRECEDING AND 1 PRECEDING)
                        ELSE [lag(record) OVER beside, lag(record, 2) OVER beside, min(record) OVER together]
                    END) AS other
                FROM keyed SEMI JOIN shared USING (key) WINDOW together AS (PARTITION BY key),
                    beside AS (PARTITION BY key ORDER BY after, exact_low, exact_high, record)
            )
            SELECT least(record, other), greatest(record, other) FROM neighbours
            WHERE other != record AND exact_before IS DISTINCT FROM exact_low
        """)


def _verified(connection: duckdb.DuckDBPyConnection, near: float) -> pa.Table:
    """The candidates whose sketches say that they are near, sorted."""
    _look_up(connection, "SELECT unnest([first, second]) FROM candidates")
    pairs = connection.sql("""
        SELECT c.first, c.second, a.sketch AS one, b.sketch AS other FROM (SELECT DISTINCT * FROM candidates) c
        JOIN records a ON a.record = c.first JOIN records b ON b.record = c.second
    """).to_arrow_reader()
    links = [np.empty((0, 2), np.int64)]
    for batch in pairs:
        alike = per_mille(equal_values(batch.column("one"), batch.column("other"))) >= near * 1000
        links.append(np.stack([batch.column("first").to_numpy(), batch.column("second").to_numpy()], axis=1)[alike])
    connection.execute("DROP TABLE candidates; DROP TABLE records")
    found = np.concatenate(links)
    first, second = found[np.lexsort((found[:, 1], found[:, 0]))].T
    return pa.table({"first": first, "second": second, "exact": np.zeros(len(first), np.int8)}, schema=_LINKS)


def _look_up(connection: duckdb.DuckDBPyConnection, wanted: str) -> None:
    """Make a table `records` of the records that a query names: thin tables are read once, and little is kept."""
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE records AS
        SELECT found.* FROM ({RECORDS}) AS found SEMI JOIN ({wanted}) AS wanted (record) USING (record)
    """)


def _similarity(batch: pa.RecordBatch) -> pa.Array:
    """How alike each record is to the one that stays, in per mille; without a sketch it has the same text."""
    found = np.full(batch.num_rows, 1000)
    if "sketch" in batch.schema.names:
        # Records whose messages are all from the system have none.
        measured = np.asarray(batch.column("sketch").is_valid())
        pairs = (batch.column(name).drop_null() for name in ("sketch", "kept_sketch"))
        found[measured] = per_mille(equal_values(*pairs))
    return pa.array(found, pa.int16())


def _clusters(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every linked record and the smallest record that it hangs together with: a union-find over whole arrays."""
    records, ends = np.unique(np.concatenate([first, second]), return_inverse=True)
    one, other = ends[: len(first)], ends[len(first) :]
    root = np.arange(len(records))
    while True:
        low, high = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
        if np.array_equal(low, high):
            return records, records[root]
        np.minimum.at(root, high, low)
        while not np.array_equal(root[root], root):
            root = root[root]
