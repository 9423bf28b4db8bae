"""Pairs of real discussions, counted by SQL from the dumps themselves, and by the step `mine_votes`.

    python -m tests.bench.votes_counts FOLDER

FOLDER holds `stackexchange-beer/Posts.xml`, `stackexchange-meta-2023/Posts.xml`, `stackexchange-conlang/Posts.xml`,
and `reddit/submissions.derived.ndjson` with `reddit/comments.derived.ndjson`. The oracle reads them by itself and asks
DuckDB: it knows no records, and takes H4's logarithm as floats, answers by the millisecond. The step is given the
discussions as rankings that are made here. Ends with 1 where the two differ, or one of them from what is known of
these files. A few seconds.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import pyarrow as pa

from dataforge.records import Message, Origin, Preference, Ranking, Reject, Reply
from dataforge.steps import mine_votes
from tests.context import CONTEXT

KNOWN = {
    "stackexchange-beer": {"posts": 410, "shp": 641, "h4": 1904, "h4 ties": 672},
    "stackexchange-meta-2023": {"posts": 238, "shp": 478, "h4": 1063, "h4 ties": 522},
    "stackexchange-conlang": {"posts": 29, "shp": 77, "h4": 132, "h4 ties": 55},
    "reddit": {"posts": 1, "answers": 31, "shp": 137, "shp, ratio 2": 59},
}
SCHEMA = pa.schema(
    [
        ("post", pa.string()),
        ("id", pa.string()),
        ("ms", pa.int64()),
        ("score", pa.int64()),
        ("accepted", pa.bool_()),
        ("author", pa.string()),
        ("text", pa.string()),
    ]
)
COUNTED = """
    WITH many AS (SELECT * FROM answers SEMI JOIN (
        SELECT post FROM answers GROUP BY post HAVING count(*) > 1
    ) USING (post)),
    rated AS (
        SELECT *, CASE WHEN score < 0 THEN -1 ELSE round(log2(1 + score)) END + accepted::INTEGER AS worth FROM many
    ),
    twos AS (
        SELECT a.score AS a, b.score AS b, a.ms - b.ms AS later, a.worth AS a_worth, b.worth AS b_worth,
            a.score > b.score AND a.ms >= b.ms AS shp, a.worth > b.worth AS h4,
            length(a.text) - length(b.text) AS longer, a.author = b.author AND a.author != '' AS same
        FROM rated a JOIN rated b ON a.post = b.post AND a.id != b.id
    )
    SELECT (SELECT count(DISTINCT post) FROM many) AS posts, (SELECT count(*) FROM many) AS answers,
        count(*) // 2 AS compared,
        count(*) FILTER (shp) AS shp, count(*) FILTER (a = b) // 2 AS "shp ties",
        count(*) FILTER (a > b AND later < 0) AS "shp earlier higher",
        count(*) FILTER (shp AND b > 0 AND a >= 2 * b) AS "shp, ratio 2",
        count(*) FILTER (shp AND b + 5 > 0 AND a + 5 >= 1.5 * (b + 5)) AS "shp, ratio 1.5 smoothed by 5",
        count(*) FILTER (shp AND a - b >= 3) AS "shp, difference 3",
        count(*) FILTER (shp AND later <= 86400000) AS "shp, within a day",
        count(*) FILTER (shp AND same) AS "shp, one author",
        count(*) FILTER (shp AND longer > 0) AS "shp, longer", count(*) FILTER (shp AND longer < 0) AS "shp, shorter",
        count(*) FILTER (h4) AS h4, count(*) FILTER (a_worth = b_worth) // 2 AS "h4 ties",
        count(*) FILTER (h4 AND longer > 0) AS "h4, longer", count(*) FILTER (h4 AND longer < 0) AS "h4, shorter",
        count(*) FILTER (shp AND h4) AS both, count(*) FILTER (shp AND b_worth > a_worth) AS "both, opposite"
    FROM twos
"""
"""Each two of answers stands there in both orders, a for the one that may be chosen."""


def main() -> None:
    """Count both ways, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    wrong = 0
    for name, known in KNOWN.items():
        read = reddit(folder / name) if name == "reddit" else stack_exchange(folder / name / "Posts.xml")
        answers = pa.Table.from_pylist(list(read), SCHEMA)
        asked, made = oracle(answers), ours(answers)
        print(f"{name}\n  {'':30} {'SQL':>6} {'step':>6} {'known':>6}")
        for what, count in asked.items():
            said = known.get(what)
            differs = count != made[what] or (said is not None and said != count)
            wrong += differs
            listed = "" if said is None else f"{said:6,}"
            print(f"  {what:30} {count:6,} {made[what]:6,} {listed:>6}{'  <-- differs' * differs}")
    sys.exit(wrong > 0)


def stack_exchange(path: Path) -> Iterator[dict[str, Any]]:
    """The answers of a site, as the dump has them."""
    accepted: dict[str, str] = {}
    found: list[dict[str, Any]] = []
    for _, row in ElementTree.iterparse(path):
        if row.get("PostTypeId") == "1":
            accepted[row.attrib["Id"]] = row.get("AcceptedAnswerId", "")
        elif row.get("PostTypeId") == "2":
            at = datetime.fromisoformat(row.attrib["CreationDate"]).replace(tzinfo=UTC)
            found.append(
                {
                    "post": row.attrib["ParentId"],
                    "id": row.attrib["Id"],
                    "ms": int(at.timestamp()) * 1000 + at.microsecond // 1000,
                    "score": int(row.attrib["Score"]),
                    "author": row.get("OwnerUserId", ""),
                    "text": row.attrib["Body"],
                }
            )
        row.clear()
    orphans = [answer["post"] for answer in found if answer["post"] not in accepted]
    if orphans:
        raise SystemExit(f"{path}: {len(orphans)} answers to questions that are not there")
    for answer in found:
        yield {**answer, "accepted": accepted[answer["post"]] == answer["id"]}


def reddit(folder: Path) -> Iterator[dict[str, Any]]:
    """The comments that SHP's rules let in, of the posts that they let in, all of them: SHP looked at 50 of a post.

    It is posts that must not be edited; its card says nothing of edited comments.
    """

    def objects(path: Path) -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())

    def somebody(one: dict[str, Any]) -> bool:
        return one["author"] not in (None, "[deleted]") and one["distinguished"] is None

    year_2023 = datetime(2023, 1, 1, tzinfo=UTC).timestamp()
    posts = {
        f"t3_{post['id']}": post["author"]
        for post in objects(folder / "submissions.derived.ndjson")
        if post["is_self"] and post["edited"] is False and not post["over_18"] and post["score"] >= 10
        if somebody(post) and post["created_utc"] < year_2023
    }
    for comment in objects(folder / "comments.derived.ndjson"):
        link = comment["link_id"]
        if link not in posts or comment["parent_id"] != link or comment["score"] < 2:
            continue
        if somebody(comment) and comment["author"] != posts[link]:
            yield {
                "post": link,
                "id": comment["id"],
                "ms": int(comment["created_utc"]) * 1000,
                "score": comment["score"],
                "accepted": False,
                "author": comment["author"],
                "text": comment["body"],
            }


def oracle(answers: pa.Table) -> dict[str, int]:
    """What SQL counts."""
    with duckdb.connect() as connection:
        connection.register("answers", answers)
        return connection.sql(COUNTED).to_arrow_table().to_pylist()[0]


def ours(answers: pa.Table) -> dict[str, int]:
    """The same of the step's pairs and counts, where all rankings come by."""
    threads: dict[str, list[Reply]] = {}
    for answer in answers.to_pylist():
        facts = {"id": answer["id"], "created": answer["ms"] // 1000, "author": answer["author"]}
        reply = Reply(Message("assistant", answer["text"]), score=float(answer["score"]), facts=facts)
        accepted = replace(reply, facts={**facts, "accepted": True}) if answer["accepted"] else reply
        threads.setdefault(answer["post"], []).append(accepted)
    records = [
        Ranking(post, Origin("s", "f", 0, 1), (Message("user", "q"),), tuple(replies), family=post)
        for post, replies in threads.items()
        if len(replies) > 1
    ]
    shp, h4, both = counts(records), counts(records, rule="h4"), counts(records, rule="both")
    return {
        "posts": len(records),
        "answers": sum(len(record.replies) for record in records),
        "compared": shp["compared"],
        "shp": shp["pairs"],
        "shp ties": shp["ties"],
        "shp earlier higher": shp["earlier_higher"],
        "shp, ratio 2": counts(records, min_ratio=2)["pairs"],
        "shp, ratio 1.5 smoothed by 5": counts(records, min_ratio=1.5, smoothing=5)["pairs"],
        "shp, difference 3": counts(records, min_difference=3)["pairs"],
        "shp, within a day": counts(records, max_seconds_apart=86400)["pairs"],
        "shp, one author": counts(records, author_on_both_sides="drop")["same_author"],
        "shp, longer": shp["longer_chosen"],
        "shp, shorter": shp["shorter_chosen"],
        "h4": h4["pairs"],
        "h4 ties": h4["ties"],
        "h4, longer": h4["longer_chosen"],
        "h4, shorter": h4["shorter_chosen"],
        "both": both["pairs"],
        "both, opposite": both["rules_disagree"],
    }


def counts(records: Sequence[Ranking], **said: Any) -> Counter[str]:
    """What a step counts of rankings, whose pairs are counted once more here."""
    step = mine_votes.start("mine_votes", mine_votes.Settings(pairs_per_post=None, **said), CONTEXT)
    made = [step.take(record) for record in records]
    pairs = [pair for each in made if not isinstance(each, Reject) for pair in each]
    noted = Counter(step.noted())
    ids = {pair.id for pair in pairs if isinstance(pair, Preference)}
    if len(ids) != len(pairs) or noted["pairs"] != len(pairs):
        raise SystemExit(f"{len(pairs)} pairs with {len(ids)} ids were made and {noted['pairs']} counted")
    return noted


if __name__ == "__main__":
    main()
