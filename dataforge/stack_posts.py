"""Posts of Stack Exchange's dumps become threads: a table on disk for each file, joined out of core.

What is left out is counted by reason: `post_type_N` for what is neither question nor answer, `listed_twice` for all but
the last of equal numbers, `orphan` for an answer whose question is missing, `question_left_out` for one whose question
does not count, and what the rules ask: `empty_body`, `deleted_user`, `low_post_score`, `low_score`, `zero_score`,
`closed`, `community_wiki`, `too_early`, `too_late`, `own_answer`, `question_edited_since`, `edited`,
`over_max_answers` and `too_few_answers`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataforge import compression, xml_rows
from dataforge.assembly import Assembly, Files, Rows, asked, database
from dataforge.content import BrokenOffError, Fault
from dataforge.errors import InputError

if TYPE_CHECKING:
    import duckdb

_QUESTION, _ANSWER = 1, 2
_SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_TAG = re.compile(r"[^<>|]+")
_ELEMENT = re.compile(r"<(?!img\b)[^>]*>|\s|&nbsp;")
_SHORT = 300
"""Characters of a body that may hold nothing but elements."""
_ROWS, _BYTES = 20_000, 2**25
"""Of a table that are kept in memory until they are written."""
_LICENCES = (("2011-04-08", "CC BY-SA 2.5"), ("2018-05-02", "CC BY-SA 3.0"))
"""Under which a post is that was written before a day, where the dump does not say it; later ones are under 4.0."""
_POSTS = pa.schema(
    [(name, pa.int64()) for name in ("n", "site", "id", "parent", "accepted", "created", "edited", "score", "owner")]
    + [(name, pa.bool_()) for name in ("question", "closed", "wiki", "empty")]
    + [(name, pa.string()) for name in ("name", "licence", "title", "tags", "body")]
)
_USERS = pa.schema([("site", pa.int64()), ("owner", pa.int64()), ("display", pa.string())])


@dataclass(frozen=True)
class Site:
    """The files of one site."""

    host: str
    posts: list[tuple[str, Path]] = field(default_factory=list)
    users: list[tuple[str, Path]] = field(default_factory=list)


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


def sites(files: Files, host: str | None, tally: Assembly) -> list[Site]:
    """The files by site, which `host` names or their folders, and a note on those that are not needed.

    Raises `InputError` where there are no posts, or a file's site is not known.
    """
    found: dict[str, Site] = {}
    unused = []
    for name, path in files:
        with path.open("rb") as raw:
            if raw.peek(6).startswith(_SEVEN_ZIP):
                raise InputError(f"{name}: is packed by 7-Zip; unpack it (`7z x`) and name the folder with Posts.xml")
            with compression.opened(raw) as opened:
                kind = xml_rows.root(opened)
        if kind not in ("posts", "users"):
            unused.append(name)
            continue
        parts = PurePosixPath(name).parts[:-1]
        folder = next((part for part in reversed(parts) if _HOST.fullmatch(part)), None)
        if host is None and folder is None:
            raise InputError(
                f"{name}: of which site? Links to its posts need it; say `site: cooking.stackexchange.com`, or put "
                "the files of each site into a folder of that name"
            )
        if host is not None and folder not in (None, host):
            raise InputError(f"{name}: lies in a folder of another site than {host}; leave `site` out")
        site = found.setdefault(host or folder or "", Site(host or folder or ""))
        (site.posts if kind == "posts" else site.users).append((name, path))
    if unused:
        tally.note(f"{', '.join(unused)}: not read, as neither posts nor users are in it")
    ready = sorted((site for site in found.values() if site.posts), key=lambda site: site.host)
    if not ready:
        raise InputError(f"{', '.join(name for name, _ in files)}: has no posts; name a dump's Posts.xml")
    for site in ready:
        if not site.users:
            tally.note(f"{site.host}: there is no Users.xml, so authors are named by their numbers")
    return ready


def threads(sites: list[Site], rules: Rules, scratch: Path, tally: Assembly) -> Rows:
    """A row for each question that counts with its answers, sorted by site and number; then the faults.

    Raises `InputError` where a file is something else.
    """
    faults: list[Fault] = []
    table, names = scratch / "posts.parquet", scratch / "users.parquet"
    with pq.ParquetWriter(table, _POSTS, compression="zstd") as writer:
        for rows in _batches(_posts(sites, faults, tally)):
            writer.write_table(_table(rows, _POSTS))
    with pq.ParquetWriter(names, _USERS, compression="zstd") as writer:
        for rows in _batches(_users(sites, faults, tally)):
            writer.write_table(_table(rows, _USERS))
    number = 0
    with database(scratch) as opened:
        asked(opened, lambda to: _decide(to, table, rules))
        for reason, count in opened.execute(
            "SELECT reason, count(*) FROM decided GROUP BY reason ORDER BY reason"
        ).fetchall():
            if reason is not None:
                tally.count(read=count, rejected={reason: count})
        reader = asked(opened, lambda to: _joined(to, table, names))
        posts = (post for batch in reader for post in batch.to_pylist())
        for _, (question, *answers) in groupby(posts, key=lambda post: (post["site"], post["thread"])):
            number += 1
            tally.count(read=1 + len(answers), passed=1, joined=len(answers))
            yield number, _row(sites[question["site"]].host, question, answers)
    for fault in faults:
        number += 1
        tally.count(read=1, passed=1)
        yield number, fault


def _posts(sites: list[Site], faults: list[Fault], tally: Assembly) -> Iterator[dict[str, Any]]:
    number = 0
    other = Counter[str]()
    for index, site in enumerate(sites):
        for name, path in site.posts:
            for line, attributes in _rows(name, path, faults):
                try:
                    kind = int(attributes["PostTypeId"])
                    if kind in (_QUESTION, _ANSWER):
                        number += 1
                        yield _post(attributes, kind, index, number)
                    else:
                        other[f"post_type_{kind}"] += 1
                except KeyError as error:
                    faults.append(Fault("bad_post", f"{name}: the row in line {line} has no {error.args[0]}"))
                except ValueError as error:
                    faults.append(Fault("bad_post", f"{name}: the row in line {line} is no post: {error}"))
    tally.count(read=other.total(), rejected=other)


def _post(found: dict[str, str], kind: int, site: int, number: int) -> dict[str, Any]:
    body, created = found["Body"], found["CreationDate"]
    owner = _number(found, "OwnerUserId")
    by_date = next((licence for day, licence in _LICENCES if created < day), "CC BY-SA 4.0")
    return {
        "n": number,
        "site": site,
        "question": kind == _QUESTION,
        "id": int(found["Id"]),
        "parent": int(found["ParentId"]) if kind == _ANSWER else None,
        "accepted": _number(found, "AcceptedAnswerId"),
        "created": _seconds(created),
        "edited": _seconds(found["LastEditDate"]) if found.get("LastEditDate") else None,
        "score": int(found["Score"]),
        "owner": owner if owner is not None and owner > 0 else None,  # -1 is the site itself
        "closed": bool(found.get("ClosedDate")),
        "wiki": bool(found.get("CommunityOwnedDate")),
        "empty": len(body) < _SHORT and not _ELEMENT.sub("", body),
        "name": found.get("OwnerDisplayName") or None,
        "licence": found.get("ContentLicense") or by_date,
        "title": found.get("Title") or "",
        "tags": found.get("Tags") or "",
        "body": body,
    }


def _users(sites: list[Site], faults: list[Fault], tally: Assembly) -> Iterator[dict[str, Any]]:
    for index, site in enumerate(sites):
        for name, path in site.users:
            for _, attributes in _rows(name, path, faults):
                number = attributes.get("Id", "")
                if number.isdigit():
                    yield {"site": index, "owner": int(number), "display": attributes.get("DisplayName") or None}


def _rows(name: str, path: Path, faults: list[Fault]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open("rb") as raw, compression.opened(raw) as opened:
            for line, row in xml_rows.read(opened, name):
                if isinstance(row, Fault):
                    faults.append(row)
                else:
                    yield line, row
    except BrokenOffError as error:
        faults.append(Fault("broken_off", f"{name}: {error}"))


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(row.get("body", ""))
        if len(batch) == _ROWS or size > _BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pydict({name: [row[name] for row in rows] for name in schema.names}, schema)


def _decide(opened: "duckdb.DuckDBPyConnection", table: Path, rules: Rules) -> None:
    """Make the table `decided`: of each post the reason why it does not count, or none, its thread and its place."""
    opened.execute(_LISTED, {"table": str(table)})
    opened.execute(_QUESTIONS, _named(rules, _QUESTIONS))
    opened.execute(_ANSWERS, _named(rules, _ANSWERS))
    opened.execute(_DECIDED, _named(rules, _DECIDED))


def _named(rules: Rules, query: str) -> dict[str, Any]:
    return {name: value for name, value in asdict(rules).items() if f"${name}" in re.findall(r"\$\w+", query)}


_LISTED = """CREATE TABLE listed AS
    SELECT n, site, id, parent, created, edited, score, owner, question, closed, wiki, empty,
        row_number() OVER (PARTITION BY site, id ORDER BY n DESC) > 1 AS again
    FROM read_parquet($table)"""
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
    SELECT d.site, d.thread, p.id, p.accepted, p.created, p.edited, p.score, p.owner,
        coalesce(u.display, p.name) AS name, p.licence, p.title, p.tags, p.body
    FROM decided d JOIN read_parquet($table) p USING (n) LEFT JOIN (
        SELECT site, owner, max(display) AS display FROM read_parquet($names) GROUP BY site, owner
    ) u ON d.site = u.site AND p.owner = u.owner
    WHERE d.reason IS NULL
    ORDER BY d.site, d.thread, d.answer, p.created, p.id"""


def _joined(opened: "duckdb.DuckDBPyConnection", table: Path, names: Path) -> pa.RecordBatchReader:
    return opened.sql(_JOINED, params={"table": str(table), "names": str(names)}).to_arrow_reader(2048)


def _row(host: str, question: dict[str, Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    said = ("id", "score", "created", "edited", "owner", "name", "licence", "body")
    return {
        "site": host,
        **{key: question[key] for key in (*said, "title", "accepted")},
        "tags": _TAG.findall(question["tags"]),
        "answers": [{key: answer[key] for key in said} for answer in answers],
    }


def _number(found: dict[str, str], name: str) -> int | None:
    return int(found[name]) if found.get(name) else None


def _seconds(written: str) -> int:
    return int(datetime.fromisoformat(written).replace(tzinfo=UTC).timestamp())
