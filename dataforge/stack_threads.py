"""Questions and answers of Stack Exchange become threads, joined out of core by rules that are counted.

What is left out is counted by reason: `post_type_N` for what is neither question nor answer, `listed_twice` for all but
the last of equal numbers, `orphan` for an answer whose question is missing, `question_left_out` for one whose question
does not count, and what the rules ask: `empty_body`, `deleted_user`, `low_post_score`, `low_score`, `zero_score`,
`closed`, `community_wiki`, `too_early`, `too_late`, `own_answer`, `question_edited_since`, `edited`,
`over_max_answers` and `too_few_answers`.
"""

import re
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dataforge.assembly import Assembly, Rows, asked, database
from dataforge.content import Fault
from dataforge.stack_dump import Site, Tables, tables

if TYPE_CHECKING:
    import duckdb

_TAG = re.compile(r"[^<>|]+")


@dataclass(frozen=True)
class Rules:
    """Which posts count; None takes a limit away. Times are seconds since 1970, UTC."""

    min_post_score: int | None
    min_score: int | None
    zero_scores: bool
    deleted_users: bool
    own_answers: bool
    closed: bool
    community_wiki: bool
    edited_after_answer: bool
    edited_answers: bool
    after: int | None
    before: int | None
    max_answers: int
    min_answers: int


def threads(sites: list[Site], rules: Rules, scratch: Path, tally: Assembly) -> Rows:
    """A row for each question that counts with its answers, sorted by site and number; then the faults.

    Raises `InputError` where a file is something else.
    """
    faults: list[Fault] = []
    made = tables(sites, scratch, faults, tally)
    for site in sites:
        if not (site.history or rules.edited_after_answer):
            tally.note(
                f"{site.host}: there is no PostHistory.xml, so an edit of tags alone counts as an edit of the text"
            )
    number = 0
    with database(scratch) as opened:
        asked(opened, lambda to: _decide(to, made, rules))
        left_out = dict(
            opened.sql("SELECT reason, count(*) FROM decided WHERE reason IS NOT NULL GROUP BY 1").fetchall()
        )
        tally.count(read=sum(left_out.values()), rejected=left_out)
        reader = asked(opened, lambda to: _joined(to, made))
        posts = (post for batch in reader for post in batch.to_pylist())
        for _, (question, *answers) in groupby(posts, key=lambda post: (post["site"], post["thread"])):
            number += 1
            tally.count(read=1 + len(answers), passed=1, joined=len(answers))
            yield number, _row(sites[question["site"]].host, question, answers)
    if faults:
        tally.note(f"what cannot be read is rejected ({len(faults):,} places); the first: {faults[0].detail}")
    for fault in faults:
        number += 1
        tally.count(read=1, passed=1)
        yield number, fault


def _decide(opened: "duckdb.DuckDBPyConnection", made: Tables, rules: Rules) -> None:
    """Make the table `decided`: of each post the reason why it does not count, or none, its thread and its place."""
    opened.execute(_LISTED, {"posts": made.posts, "edits": made.edits})
    opened.execute(_QUESTIONS, _named(rules, _QUESTIONS))
    opened.execute(_ANSWERS, _named(rules, _ANSWERS))
    opened.execute(_DECIDED, _named(rules, _DECIDED))


def _named(rules: Rules, query: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(rules).items() if f"${name}" in re.findall(r"\$\w+", query)}


_LISTED = """CREATE TABLE listed AS
    SELECT n, p.site, id, parent, created, CASE WHEN logged THEN e.changed ELSE edited END AS edited, score, owner,
        question, closed, wiki, empty, row_number() OVER (PARTITION BY p.site, id ORDER BY n DESC) > 1 AS again
    FROM read_parquet($posts) p LEFT JOIN (
        SELECT site, post, max(changed) AS changed FROM read_parquet($edits) GROUP BY site, post
    ) e ON p.site = e.site AND p.id = e.post"""
_QUESTIONS = """CREATE TABLE questions AS
    SELECT n, site, id, edited, owner, CASE
        WHEN empty THEN 'empty_body'
        WHEN owner IS NULL AND NOT $deleted_users THEN 'deleted_user'
        WHEN score < $min_post_score THEN 'low_post_score'
        WHEN closed AND NOT $closed THEN 'closed'
        WHEN wiki AND NOT $community_wiki THEN 'community_wiki'
        WHEN created < $after THEN 'too_early'
        WHEN created >= $before THEN 'too_late'
        END AS reason
    FROM listed WHERE question AND NOT again"""
_ANSWERS = """CREATE TABLE answers AS
    SELECT a.n, a.site, a.parent, a.id, a.created, a.score, CASE
        WHEN q.n IS NULL THEN 'orphan'
        WHEN q.reason IS NOT NULL THEN 'question_left_out'
        WHEN a.empty THEN 'empty_body'
        WHEN a.owner IS NULL AND NOT $deleted_users THEN 'deleted_user'
        WHEN a.owner = q.owner AND NOT $own_answers THEN 'own_answer'
        WHEN a.score < $min_score THEN 'low_score'
        WHEN a.score = 0 AND NOT $zero_scores THEN 'zero_score'
        WHEN a.wiki AND NOT $community_wiki THEN 'community_wiki'
        WHEN a.created < q.edited AND NOT $edited_after_answer THEN 'question_edited_since'
        WHEN a.edited IS NOT NULL AND NOT $edited_answers THEN 'edited'
        END AS reason
    FROM listed a LEFT JOIN questions q ON a.site = q.site AND a.parent = q.id
    WHERE NOT a.question AND NOT a.again"""
_DECIDED = """CREATE TABLE decided AS
    WITH best AS (
        SELECT *, row_number() OVER (PARTITION BY site, parent ORDER BY score DESC, created, id) AS place
        FROM answers WHERE reason IS NULL
    ), few AS (
        SELECT site, parent FROM best GROUP BY site, parent HAVING count(*) >= $min_answers
    )
    SELECT n, 'listed_twice' AS reason, site, NULL AS thread, false AS answer FROM listed WHERE again
    UNION ALL
    SELECT n, reason, site, parent, true FROM answers WHERE reason IS NOT NULL
    UNION ALL
    SELECT b.n, CASE WHEN f.parent IS NULL THEN 'too_few_answers' WHEN b.place > $max_answers THEN 'over_max_answers'
        END, b.site, b.parent, true
    FROM best b LEFT JOIN few f USING (site, parent)
    UNION ALL
    SELECT q.n, coalesce(q.reason, CASE WHEN f.parent IS NULL THEN 'too_few_answers' END), q.site, q.id, false
    FROM questions q LEFT JOIN few f ON q.site = f.site AND q.id = f.parent"""
_JOINED = """
    SELECT d.site, d.thread, p.id, p.accepted, p.created, l.edited, p.score, p.owner,
        coalesce(u.display, p.name) AS name, p.licence, p.title, p.tags, p.body
    FROM decided d JOIN listed l USING (n) JOIN read_parquet($posts) p USING (n) LEFT JOIN (
        SELECT site, owner, max(display) AS display FROM read_parquet($users) GROUP BY site, owner
    ) u ON d.site = u.site AND p.owner = u.owner
    WHERE d.reason IS NULL
    ORDER BY d.site, d.thread, d.answer, p.created, p.id"""


def _joined(opened: "duckdb.DuckDBPyConnection", made: Tables) -> pa.RecordBatchReader:
    return opened.sql(_JOINED, params={"posts": made.posts, "users": made.users}).to_arrow_reader(2048)


def _row(host: str, question: dict[str, Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    said = ("id", "score", "created", "edited", "owner", "name", "licence", "body")
    return {
        "site": host,
        **{key: question[key] for key in (*said, "title", "accepted")},
        "tags": _TAG.findall(question["tags"]),
        "answers": [{key: answer[key] for key in said} for answer in answers],
    }
