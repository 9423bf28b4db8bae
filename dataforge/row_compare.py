"""Rows that records give and rows that shards hold, held against each other without holding them all.

A row is told by its name and by 64-bit hashes of its ids, its mask and its text; DuckDB groups what is alike and
spills to disk. A changed row keeps its hashes by a chance of one in 2**64.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataforge.shards import Split

DECODER, NORMALIZER, UNKNOWN, BLANKS = range(4)
LOSSES = (
    "the tokenizer's decoder does not write it as it was encoded",
    "the tokenizer's normalizer changes it before it is encoded",
    "the tokenizer has no token for some of its characters",
    "it is the same but for blanks, which the tokenizer adds or leaves out",
)
"""Why a row's ids may be right and yet not decode to its text."""
_ROWS_PER_INSERT = 2**15
_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("row", pa.string()),
        ("ids", pa.uint64()),
        ("mask", pa.uint64()),
        ("text", pa.uint64()),
        ("unblanked", pa.uint64()),
        ("expected", pa.int64()),
        ("found", pa.int64()),
        ("place", pa.int64()),
        ("loss", pa.int8()),
    ]
)
_ALIKE = f"""
    SELECT split, row, ids, mask, sum(expected) AS expected, sum(found) AS found, min(place) AS place,
        min(text) <> max(text) AS undecoded, IF(min(unblanked) = max(unblanked), {BLANKS}, max(loss)) AS loss
    FROM rows GROUP BY split, row, ids, mask
"""


@dataclass(frozen=True)
class Unlike:
    """A row that does not stand in the shards as its record gives it, or as often."""

    split: str
    row: str
    expected: int
    """How often records give it."""
    found: int
    """How often shards hold it."""
    other: bool
    """Whether shards hold it otherwise than records give it, and not just too often or too seldom."""
    ids: bool
    """Of another row, whether what differs are the ids; if not, it is the mask."""
    shard: int | None
    """The number of the first shard that holds what no record gives, or None where none does."""
    window: int


@dataclass
class Rows:
    """The rows of both sides."""

    opened: duckdb.DuckDBPyConnection
    _waiting: list[tuple[object, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        columns = {"string": "VARCHAR", "uint64": "UBIGINT", "int64": "BIGINT", "int8": "TINYINT"}
        listed = ", ".join(f"{column.name} {columns[str(column.type)]}" for column in _SCHEMA)
        self.opened.execute(f"CREATE TABLE rows ({listed})")
        self.opened.execute("CREATE TABLE refused (record VARCHAR)")

    def expect(
        self,
        split: Split,
        row: str,
        ids: npt.NDArray[np.int32],
        mask: npt.NDArray[np.int8],
        text: str,
        times: int,
        loss: int,
    ) -> None:
        """A record gives a row so many times; `loss` is which of `LOSSES` would explain that it does not decode."""
        self._add((split, row, *_hashes(ids, mask, text), times, 0, None, loss))

    def find(
        self,
        split: Split,
        row: str,
        ids: npt.NDArray[np.int32],
        mask: npt.NDArray[np.int8],
        text: str,
        place: tuple[int, int],
    ) -> None:
        """A shard holds a row; `place` is the number of the shard and of the window in it."""
        self._add((split, row, *_hashes(ids, mask, text), 0, 1, place[0] << 32 | place[1], 0))

    def refuse(self, record: str) -> None:
        """A record gives no rows; what shards hold of it is not told once more."""
        self.opened.execute("INSERT INTO refused VALUES (?)", [record])

    def unlike(self) -> Iterator[Unlike]:
        """All that does not stand on both sides alike and as often."""
        self._insert()
        found = self.opened.execute(
            f"""
            SELECT split, row, sum(expected)::BIGINT, sum(found)::BIGINT,
                bool_or(expected > found) AND bool_or(found > expected),
                count(DISTINCT ids) FILTER (WHERE expected <> found) > 1, min(place) FILTER (WHERE found > expected)
            FROM ({_ALIKE}) WHERE split_part(row, '#', 1) NOT IN (SELECT record FROM refused)
            GROUP BY split, row HAVING bool_or(expected <> found) ORDER BY split DESC, row
            """
        )
        while rows := found.fetchmany(_ROWS_PER_INSERT):
            for *values, place in rows:
                shard, window = (None, 0) if place is None else divmod(place, 2**32)
                split, row, expected, held, other, ids = values
                yield Unlike(split, row, expected, held, other, ids, shard, window)

    def decoded(self) -> tuple[int, dict[str, int]]:
        """How many of the rows that stand on both sides alike decode to their text, and how many do not, and why."""
        self._insert()
        counted = self.opened.execute(
            f"""
            SELECT undecoded, CASE WHEN undecoded THEN loss END AS why, sum(least(expected, found))::BIGINT
            FROM ({_ALIKE}) WHERE expected > 0 AND found > 0 GROUP BY ALL ORDER BY ALL
            """
        ).fetchall()
        lost = {LOSSES[why]: count for undecoded, why, count in counted if undecoded}
        return sum(count for undecoded, _, count in counted if not undecoded), lost

    def _add(self, row: tuple[object, ...]) -> None:
        self._waiting.append(row)
        if len(self._waiting) == _ROWS_PER_INSERT:
            self._insert()

    def _insert(self) -> None:
        if self._waiting:
            columns: Sequence[tuple[object, ...]] = list(zip(*self._waiting, strict=True))
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
            self.opened.register("waiting", pa.table(arrays, schema=_SCHEMA))
            self.opened.execute("INSERT INTO rows SELECT * FROM waiting")
            self.opened.unregister("waiting")
            self._waiting.clear()


def _hashes(ids: npt.NDArray[np.int32], mask: npt.NDArray[np.int8], text: str) -> tuple[int, int, int, int]:
    """Of ids, mask, text, and text without blanks."""
    return (
        _hash(np.ascontiguousarray(ids, dtype="<i4").data),
        _hash(np.ascontiguousarray(mask, dtype="i1").data),
        _hash(text.encode()),
        _hash("".join(text.split()).encode()),
    )


def _hash(content: bytes | memoryview) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
