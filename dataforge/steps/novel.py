"""Reject records that have the words of an earlier one in the same order: a ROUGE-L of 0.7, as Self-Instruct has it.

    - {use: novel}

Compared is what the user asks, without the passage that a question is about, or with `by: conversation` all that is
said but system messages: words, and single characters in Chinese, without case and punctuation. Records come in the
order of sources and files, and one goes if an earlier one that stays is so much like it.

Not all pairs are measured. Two texts of ROUGE-L F have at least F / (2 - F) of their words in common, counted with
repetitions (their Jaccard similarity, 0.54 at 0.7); 128 MinHash values of the words find such pairs, and of those at
the bound itself at least 97 in 100. Of records that share a key with more than 64 others each is compared with the 32
before it and with the first.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from dataforge import config
from dataforge.context import Context
from dataforge.minhash import band_columns, equal_values, per_mille, sketches_of, within
from dataforge.record_keys import RECORDS
from dataforge.records import Record, Reject, Text, turns
from dataforge.rouge import common
from dataforge.text import pieces

_FEW = 64  # records with a common key of which all pairs are compared
_BESIDE = 32  # of more, how many before it each is compared with
_MARGIN = 132  # per mille by which a sketch may tell less than the least similarity: three standard deviations
_LINKS = pa.schema([("first", pa.int64()), ("second", pa.int64()), ("rouge", pa.int16())])
_TOKEN = np.dtype("<u4")


class Settings(config.Settings):
    """Which records repeat an earlier one."""

    rouge_l: Annotated[float, Field(ge=0.5, le=1)] = 0.7
    """The F measure from which a record goes."""
    by: Literal["questions", "conversation"] = "questions"
    """What is compared."""


@dataclass(frozen=True)
class Gather:
    """The filter over all parts of a build.

    In links a record is one integer: the number of its part times 2^32, and its position in the part.
    """

    name: str
    settings: Settings

    def thin(self, records: Sequence[Record]) -> pa.Table:
        """What is compared of each record of a part.

        Columns: `position` int32, `id` and `place` (file:line) string, `sketch`, 128 bytes, and `tokens`, 4 bytes of
        each. A record without words has nulls in both.
        """
        tokens = [[_hash(piece) for piece in pieces(_said(record, self.settings.by))] for record in records]
        sketches = iter(sketches_of(*_multisets([each for each in tokens if each])) if any(tokens) else ())
        return pa.table(
            {
                "position": pa.array(range(len(records)), pa.int32()),
                "id": pa.array([record.id for record in records], pa.string()),
                "place": pa.array([f"{record.origin.file}:{record.origin.line}" for record in records], pa.string()),
                "sketch": pa.array([next(sketches) if each else None for each in tokens], pa.binary()),
                "tokens": pa.array(
                    [np.array(each, _TOKEN).tobytes() if each else None for each in tokens], pa.binary()
                ),
            }
        )

    def link(self, connection: duckdb.DuckDBPyConnection, cut: int = 0, cuts: int = 1) -> pa.Table:
        """Pairs of records that are at or above the bound, of those whose common key falls into this cut.

        Columns: `first` and `second` int64, first < second, and `rouge` int16, the F measure in per mille. Sorted,
        without repetition; the union over all cuts does not depend on their number.
        """
        least = self.settings.rouge_l / (2 - self.settings.rouge_l)
        bound = round(self.settings.rouge_l * 1000)
        _candidates(connection, least, cut, cuts)
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE records AS SELECT found.* FROM ({RECORDS}) AS found
            SEMI JOIN (SELECT unnest([first, second]) FROM candidates) AS wanted (record) USING (record)
        """)
        # An F measure of the bound needs at least bound / (2000 - bound) of the longer text's tokens in the shorter.
        pairs = connection.sql(f"""
            SELECT c.first, c.second, a.sketch AS one, b.sketch AS other, a.tokens AS left, b.tokens AS right
            FROM (SELECT DISTINCT * FROM candidates) c
            JOIN records a ON a.record = c.first JOIN records b ON b.record = c.second
            WHERE 2000 * least(octet_length(a.tokens), octet_length(b.tokens))
                >= {bound} * (octet_length(a.tokens) + octet_length(b.tokens))
        """).to_arrow_reader(100_000)
        links: list[tuple[int, int, int]] = []
        for batch in pairs:
            hopeful = per_mille(equal_values(batch.column("one"), batch.column("other"))) >= 1000 * least - _MARGIN
            chosen = batch.filter(pa.array(hopeful))
            columns = (chosen.column(name).to_pylist() for name in ("first", "second", "left", "right"))
            for first, second, left, right in zip(*columns, strict=True):
                one, other = (np.frombuffer(side, _TOKEN).tolist() for side in (left, right))
                twice, total = 2 * common(one, other), len(one) + len(other)
                if 1000 * twice >= bound * total:
                    links.append((first, second, 1000 * twice // total))
        connection.execute("DROP TABLE candidates; DROP TABLE records")
        columns_of = list(zip(*sorted(links), strict=True)) or [(), (), ()]
        return pa.table(list(map(list, columns_of)), schema=_LINKS)

    def decide(self, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        """A line for each record that goes: the first record that stays and is so much like it, and how much.

        Columns: `part` and `position` int32, `kept` and `kept_place` string, `rouge` int16. Sorted by part and
        position.
        """
        links = connection.sql("SELECT DISTINCT first, second, rouge FROM links ORDER BY second, first").fetchall()
        gone: dict[int, tuple[int, int]] = {}
        for second, group in itertools.groupby(links, key=lambda link: link[1]):
            kept = next(((first, rouge) for first, _, rouge in group if first not in gone), None)
            if kept is not None:
                gone[second] = kept
        connection.register(
            "goes",
            pa.table(
                {
                    "record": pa.array(gone, pa.int64()),
                    "kept": pa.array([kept for kept, _ in gone.values()], pa.int64()),
                    "rouge": pa.array([rouge for _, rouge in gone.values()], pa.int16()),
                }
            ),
        )
        found = connection.sql(f"""
            SELECT (goes.record >> 32)::INTEGER AS part, (goes.record & 4294967295)::INTEGER AS position,
                k.id AS kept, k.place AS kept_place, goes.rouge AS rouge
            FROM goes JOIN ({RECORDS}) k ON k.record = goes.kept ORDER BY goes.record
        """).to_arrow_table()
        connection.unregister("goes")
        return found

    def take(self, record: Record, decision: Mapping[str, Any]) -> Reject:
        """The reject that a decision makes of its record."""
        alike = decision["rouge"] / 1000
        detail = f"has a ROUGE-L of {alike:.2f} with record {decision['kept']} ({decision['kept_place']})"
        facts = {"repeats": decision["kept"], "place": decision["kept_place"], "rouge_l": alike}
        return Reject(record.id, record.origin, self.name, "not_novel", detail, facts)


def start(name: str, settings: Settings, context: Context) -> Gather:
    """The filter; its rejects carry `name`."""
    return Gather(name, settings)


def _said(record: Record, by: str) -> str:
    if isinstance(record, Text):
        return record.text
    if by == "questions":
        return "\n".join(message.content or "" for message in turns(record) if message.role == "user")
    return "\n".join(message.text for message in turns(record) if message.role not in ("system", "developer"))


def _hash(piece: str) -> int:
    return int.from_bytes(hashlib.blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little")


def _multisets(tokens: Sequence[Sequence[int]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Each text's tokens with how often they occurred before, as hashes, and where each text's begin."""
    hashes = np.array([hashed for each in tokens for hashed in _counted(each)], np.uint64)
    # Odd, so that it loses no bit: neighbours must not be near, for MinHash permutes by a multiplication too.
    mixed = hashes * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    return mixed, np.cumsum([0, *map(len, tokens)]).astype(np.uint64)


def _counted(tokens: Sequence[int]) -> list[int]:
    seen: Counter[int] = Counter()
    found = []
    for token in tokens:
        found.append(token | seen[token] << 32)
        seen[token] += 1
    return found


def _candidates(connection: duckdb.DuckDBPyConnection, least: float, cut: int, cuts: int) -> None:
    """Make a table `candidates` of the pairs of records worth comparing."""
    connection.execute("CREATE OR REPLACE TEMP TABLE candidates (first BIGINT, second BIGINT)")
    for key, after in band_columns(least):
        connection.execute(f"""
            INSERT INTO candidates
            WITH keyed AS (
                SELECT record, {key} AS key, {after} AS after
                FROM ({RECORDS}) WHERE sketch IS NOT NULL AND {within(cut, cuts)}
            ), shared AS (
                SELECT key FROM keyed GROUP BY key HAVING count(*) > 1
            ), neighbours AS (
                SELECT record, unnest(CASE WHEN count(*) OVER together <= {_FEW}
                    THEN list(record) OVER (beside ROWS BETWEEN {_FEW} PRECEDING AND 1 PRECEDING)
                    ELSE list_append(list(record) OVER (beside ROWS BETWEEN {_BESIDE} PRECEDING AND 1 PRECEDING),
                        min(record) OVER together)
                END) AS other
                FROM keyed SEMI JOIN shared USING (key) WINDOW together AS (PARTITION BY key),
                    beside AS (PARTITION BY key ORDER BY after, record)
            )
            SELECT least(record, other), greatest(record, other) FROM neighbours WHERE other != record
        """)
