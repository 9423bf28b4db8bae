"""Mix sources by shares of their records, tokens or trained tokens, by leaving out records or repeating them.

    - use: mix
      shares: {dialogues: 0.5, encyclopedia: 0.3, riddles: 0.2}
      by: tokens
      stop: all_exhausted

With `first_exhausted` no record is repeated: the source that is shortest of its share stays whole, and the others lose
what is too much. With `all_exhausted` no record is lost: the source that is longest stays as it is, and the others are
repeated, some of their records once more than the others. Which ones, is drawn by their ids.

`tokens` are those of a record's texts, its reasoning and the arguments of its calls, without what a chat template
writes around them, and `trained_tokens` those of them that an assistant says whose turn has not the weight 0; what a
build says of its sources is counted in its rows. Records that only evaluation sees stay as they are, and so do those of
sources that have no share. A record that fills a source's share only in part is left out, so that a source may be
short by less than one record.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Any, Literal

import duckdb
import pyarrow as pa
from pydantic import Field

from dataforge import config, seeds
from dataforge.context import Context, Depends
from dataforge.errors import InputError
from dataforge.records import Chat, Record, Reject, canonical_json, derived_id, group_of, turns

By = Literal["records", "tokens", "trained_tokens"]


class Settings(config.Settings):
    """What is mixed."""

    shares: Annotated[dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=2)]
    """Of each source by its name; they need not add up to 1."""
    by: By = "records"
    """What the shares are of."""
    stop: Literal["first_exhausted", "all_exhausted"] = "first_exhausted"
    """Whether records are left out, or repeated."""


def depends(settings: Settings) -> tuple[Depends, ...]:
    """Seed and split; the tokenizer, where tokens are counted."""
    return ("seed", "split") if settings.by == "records" else ("seed", "split", "tokenizer")


@dataclass(frozen=True)
class Gather:
    """The mixture over all parts of a build."""

    name: str
    settings: Settings
    context: Context

    def thin(self, records: Sequence[Record]) -> pa.Table:
        """What each record of a part that is mixed counts for.

        Columns: `position` int32, `source` string, `draw` uint64, `cost` int64.
        """
        mixed = [
            (position, record)
            for position, record in enumerate(records)
            if record.origin.source in self.settings.shares and not self.context.is_eval(record)
        ]
        draws = [seeds.draw(self.context.seed, "mix", record.id) for _, record in mixed]
        return pa.table(
            {
                "position": pa.array([position for position, _ in mixed], pa.int32()),
                "source": pa.array([record.origin.source for _, record in mixed], pa.string()),
                "draw": pa.array(draws, pa.uint64()),
                "cost": pa.array(self._costs([record for _, record in mixed]), pa.int64()),
            }
        )

    def decide(self, connection: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
        """A line for each record that is left out or repeated.

        Columns: `part`, `position` and `copies` int32, `there` and `wanted` int64, of its source. Sorted by part and
        position. Raises `InputError` where a source with a share has nothing to train on.
        """
        found = connection.sql("SELECT source, sum(cost)::BIGINT FROM thin GROUP BY source").fetchall()
        there = {str(source): int(cost) for source, cost in found}
        wanted = self._wanted(there)
        sources = {
            "source": pa.array(list(wanted), pa.string()),
            "there": pa.array([there[source] for source in wanted], pa.int64()),
            "wanted": pa.array(list(wanted.values()), pa.int64()),
        }
        connection.register("sources", pa.table(sources))
        return connection.sql("""
            WITH drawn AS (
                SELECT part, position, there, wanted, wanted // there AS whole, wanted % there AS rest,
                    sum(cost) OVER (PARTITION BY source ORDER BY draw, part, position) AS through
                FROM thin JOIN sources USING (source)
            ), decided AS (
                SELECT part, position, there, wanted, whole + (through <= rest)::BIGINT AS copies FROM drawn
            )
            SELECT part::INTEGER AS part, position::INTEGER AS position, copies::INTEGER AS copies, there, wanted
            FROM decided WHERE copies != 1 ORDER BY part, position
        """).to_arrow_reader()

    def take(self, record: Record, decision: Mapping[str, Any]) -> Record | Reject | Sequence[Record]:
        """The reject that a record becomes which is too much; of others a conversation with copies, or several."""
        copies: int = decision["copies"]
        if not copies:
            detail = (
                f"the share of {record.origin.source} is {decision['wanted']:,} of its {decision['there']:,} "
                f"{self.settings.by.replace('_', ' ')}, and this record is not among those that were drawn"
            )
            return Reject(record.id, record.origin, self.name, "share", detail)
        if isinstance(record, Chat):
            return replace(record, copies=record.copies * copies)
        return [record, *_repeats(record, copies)]

    def _wanted(self, there: Mapping[str, int]) -> dict[str, int]:
        """How much of each source there is to be."""
        shares = {source: Fraction(str(share)) for source, share in self.settings.shares.items()}
        empty = sorted(source for source in shares if not there.get(source))
        if empty:
            raise InputError(
                f"{self.name}: there is nothing to train on of a source {empty[0]!r} that `shares:` names; "
                f"there are: {', '.join(sorted(there)) or 'none'}; "
                "`name:` of a source says what it is called"
            )
        bound = min if self.settings.stop == "first_exhausted" else max
        scale = bound(there[source] / share for source, share in shares.items())
        return {source: int(scale * share) for source, share in shares.items()}

    def _costs(self, records: Sequence[Record]) -> list[int]:
        if self.settings.by == "records":
            return [1] * len(records)
        texts = [list(_texts(record, trained=self.settings.by == "trained_tokens")) for record in records]
        counts = iter(self.context.token_counts([text for of_record in texts for text in of_record]))
        return [sum(next(counts) for _ in of_record) for of_record in texts]


def start(name: str, settings: Settings, context: Context) -> Gather:
    """The mixture; its rejects carry `name`."""
    return Gather(name, settings, context)


def _texts(record: Record, trained: bool) -> Iterator[str]:
    for message in turns(record):
        if trained and (message.role != "assistant" or message.weight == 0):
            continue
        yield message.text
        if message.reasoning:
            yield message.reasoning
        for call in message.tool_calls:
            yield call.name
            yield canonical_json(call.arguments).decode()


def _repeats(record: Record, copies: int) -> Iterator[Record]:
    """Of a record that becomes a conversation only later: the same under other ids, on its side of the split."""
    for number in range(1, copies):
        yield replace(record, id=derived_id(record.id, "mix", str(number)), family=group_of(record))
