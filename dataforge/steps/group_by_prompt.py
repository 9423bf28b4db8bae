"""Put labelled answers to the same prompt, which are records of their own, together to one ranking.

Data for KTO has a row for each answer, with `true` or `false`. All rankings with the same prompt, the same tools and
the same family, whose replies have labels and nothing else to compare, become one in the place of the first; its
replies stand in the order of sources and files. What they know in common the ranking knows, and the rest each reply.
With `scores: true` replies with scores are put together too, where all of them were scored in one measure. Ranks say
nothing across records, so that rankings with ranks pass, as do trees and other records.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from dataforge import config
from dataforge.context import Context
from dataforge.records import Joined, Message, Ranking, Record, Reply, ToolCall, canonical_json, derived_id


class Settings(config.Settings):
    """What is put together."""

    scores: bool = False
    """Whether scores of different records may be compared."""


@dataclass(frozen=True)
class Gather:
    """The join of all rankings with the same prompt."""

    name: str
    settings: Settings

    def thin(self, records: Sequence[Record]) -> pa.Table:
        """The rankings of a part that may be joined.

        Columns: `position` int32, `record` (its id) string, `key` (16 bytes of a hash of the prompt) and `content` (its
        replies and facts as JSON) string.
        """
        found = [(at, record, self._measure(record)) for at, record in enumerate(records)]
        rankings = [(at, record, measure) for at, record, measure in found if measure and isinstance(record, Ranking)]
        return pa.table(
            {
                "position": pa.array([at for at, _, _ in rankings], pa.int32()),
                "record": pa.array([record.id for _, record, _ in rankings], pa.string()),
                "key": pa.array([_key(record, measure) for _, record, measure in rankings], pa.binary()),
                "content": pa.array([_content(record) for _, record, _ in rankings], pa.string()),
            }
        )

    def link(self, connection: duckdb.DuckDBPyConnection, cut: int = 0, cuts: int = 1) -> pa.Table:
        """What becomes of the rankings of one cut that share their prompt with others.

        Columns: `at_part` and `at_position` int32, `head` (the id of the first) string; of the first also `records` and
        `contents`, the ids and contents of the others in order. Sorted by part and position.
        """
        return connection.sql(f"""
            WITH grouped AS (
                SELECT part, position, record, key, content,
                    first_value(record) OVER together AS head, row_number() OVER together AS number
                FROM thin WHERE hash(key) % {cuts} = {cut} WINDOW together AS (PARTITION BY key ORDER BY part, position)
            ), listed AS (
                SELECT key, list(record ORDER BY part, position) AS records,
                    list(content ORDER BY part, position) AS contents
                FROM grouped WHERE number > 1 GROUP BY key
            )
            SELECT part::INTEGER AS at_part, position::INTEGER AS at_position, head,
                CASE WHEN number = 1 THEN records END AS records, CASE WHEN number = 1 THEN contents END AS contents
            FROM grouped JOIN listed USING (key) ORDER BY part, position
        """).to_arrow_table()

    def decide(self, connection: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
        """The links of all cuts, sorted by part and position: a line for each ranking that is not alone."""
        return connection.sql("""
            SELECT at_part AS part, at_position AS position, head, records, contents
            FROM links ORDER BY at_part, at_position
        """).to_arrow_reader()

    def take(self, record: Record, decision: Mapping[str, Any]) -> Record | Joined:
        """The ranking of all replies in the place of the first; of the others, that they are in it."""
        if decision["records"] is None or not isinstance(record, Ranking):
            return Joined(record.id, record.origin, decision["head"])
        others = [orjson.loads(content) for content in decision["contents"]]
        known: list[Mapping[str, Any]] = [record.facts, *(facts for _, facts in others)]
        common = {key: value for key, value in record.facts.items() if all(facts.get(key) == value for facts in known)}
        lists = [record.replies, *(tuple(map(_reply, replies)) for replies, _ in others)]
        return replace(
            record,
            id=derived_id(record.id, "group_by_prompt", *sorted(decision["records"])),
            replies=tuple(
                replace(reply, facts={**{key: facts[key] for key in facts if key not in common}, **reply.facts})
                for replies, facts in zip(lists, known, strict=True)
                for reply in replies
            ),
            facts=common,
        )

    def _measure(self, record: Record) -> str:
        """What the replies of a ranking can be compared by across records: `label`, `score`, or nothing."""
        if not isinstance(record, Ranking) or not record.prompt or any(reply.replies for reply in record.replies):
            return ""
        if any(reply.rank is not None for reply in record.replies):
            return ""
        if all(reply.score is not None for reply in record.replies):
            return "score" if self.settings.scores and record.replies else ""
        return "label" if all(reply.label is not None and reply.score is None for reply in record.replies) else ""


def start(name: str, settings: Settings, context: Context) -> Gather:
    """The join."""
    return Gather(name, settings)


def _key(record: Ranking, measure: str) -> bytes:
    said = orjson.loads(orjson.dumps([record.prompt, list(record.tools)]))
    return hashlib.blake2b(canonical_json([measure, record.family, said]), digest_size=16).digest()


def _content(record: Ranking) -> str:
    return orjson.dumps([record.replies, record.facts]).decode()


def _reply(found: Mapping[str, Any]) -> Reply:
    message = dict(found["message"])
    message["tool_calls"] = tuple(ToolCall(**call) for call in message["tool_calls"])
    return Reply(Message(**message), found["rank"], found["score"], found["label"], found["facts"])
