"""Posts and comments of Reddit's dumps as threads: told apart row by row, left out by rules, joined out of core.

    files ──> posts ──────────────────────────┐
      └─────> comments on posts that are kept ┴──> threads

Posts are read first, so that of all comments only those are kept whose post is. A file is read twice only where it
holds both. What a rule leaves out is counted in the database and never becomes an object of Python.
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dataforge import assembly, reddit_rows
from dataforge import reddit_rules as sql
from dataforge.content import Fault
from dataforge.dump_lines import SCHEMA, Dump, until_refused
from dataforge.errors import InputError
from dataforge.reddit_refusals import MONTH, refuse_dead_scores, refuse_halves
from dataforge.reddit_rules import Rules

if TYPE_CHECKING:
    import duckdb

_NO_RECORDS = ("post", "blank", "nested")


def threads(files: assembly.Files, rules: Rules, scratch: Path, tally: assembly.Assembly) -> assembly.Rows:
    """The faults, and then a row for each post that is kept, with its comments, in the order of the posts' times.

    Raises `InputError` where there are no posts or no comments, a month's scores are dead, or a file cannot be read.
    """
    dumps = [Dump(name, path) for name, path in files]
    with assembly.database(scratch, "threads.duckdb") as opened:
        answers = assembly.asked(opened, lambda asked: _read(asked, rules, dumps))
        refuse_halves(opened, [dump.name for dump in dumps], answers)
        if rules.dead_scores == "refuse":
            refuse_dead_scores(opened)
        assembly.asked(opened, lambda asked: _join(asked, rules))
        number = faults = 0
        for name, line, found in reddit_rows.faults(opened, dumps):
            number = faults = number + 1
            yield number, Fault(found.reason, f"{name}:{line}: {found.detail}")
        replies = 0
        for row in reddit_rows.rows(opened):
            number, replies = number + 1, replies + len(row["comments"])
            yield number, row
        _count(opened, dumps, faults, number, replies, answers, tally)


def _count(
    opened: "duckdb.DuckDBPyConnection",
    dumps: list[Dump],
    faults: int,
    rows: int,
    replies: int,
    answers: int,
    tally: assembly.Assembly,
) -> None:
    rejected = Counter(
        dict(
            opened.execute(
                "SELECT reason, count(*) FROM posts WHERE reason IS NOT NULL GROUP BY ALL UNION ALL "
                "SELECT reason, count(*) FROM comments WHERE reason IS NOT NULL GROUP BY ALL"
            ).fetchall()
        )
    )
    for reason in (*_NO_RECORDS, "broken"):
        del rejected[reason]
    rejected["comment_not_top_level"] += answers
    ((joined,),) = opened.execute("SELECT count(*) FROM comments WHERE reason IS NULL").fetchall()
    if joined != replies:
        raise RuntimeError(f"of {joined} comments {replies} came to their threads")
    more, unlisted = sum(dump.more for dump in dumps), sum(dump.unlisted for dump in dumps)
    if more:
        rejected["comments_not_listed"] = more
        tally.note(f"{more:,} stubs stand for {unlisted:,} comments that the API did not list, and that are missing")
    if rejected["post_listed_twice"] or rejected["comment_listed_twice"]:
        tally.note(
            f"{rejected['post_listed_twice']:,} posts and {rejected['comment_listed_twice']:,} comments are listed "
            "more than once; what was retrieved last counts"
        )
    if rejected["comment_without_post"]:
        tally.note(f"comments whose post is in none of the files: {rejected['comment_without_post']:,}")
    if rows == faults:
        most = ", ".join(f"{reason} {count:,}" for reason, count in rejected.most_common(3))
        tally.note(f"no thread is left ({most})")
    tally.count(read=rows + joined + rejected.total(), passed=rows, joined=joined, rejected=rejected)


def _read(opened: "duckdb.DuckDBPyConnection", rules: Rules, dumps: list[Dump]) -> int:
    """Have all posts in the table `posts`, and in `comments` those on posts and what becomes of each; returns how many
    more answer another comment.
    """
    opened.execute(
        "CREATE TABLE posts (file INTEGER, number BIGINT, id VARCHAR, reason VARCHAR, author VARCHAR, community "
        "VARCHAR, title VARCHAR, body VARCHAR, score BIGINT, created BIGINT, retrieved BIGINT, edited VARCHAR, "
        "upvote_ratio VARCHAR, plain BOOLEAN)"
    )
    opened.execute(
        "CREATE TABLE comments (reason VARCHAR, file INTEGER, number BIGINT, line VARCHAR, month BIGINT, one BOOLEAN, "
        "id VARCHAR, score BIGINT, retrieved BIGINT, post VARCHAR, author VARCHAR, body VARCHAR, created BIGINT, "
        "edited VARCHAR)"
    )
    for dump in dumps:
        dump.look()
    first = {at for at, dump in enumerate(dumps) if not dump.only("link_id")}
    while True:
        # A file that holds posts alone need not be read for its comments.
        mixed = {at for at in sorted(first) if _posts(opened, rules, dumps, at)}
        _settle_posts(opened)
        read = [at for at in range(len(dumps)) if at in mixed or at not in first]
        answers = sum(_comments(opened, rules, dumps, at) for at in read)
        found = opened.execute(
            "SELECT DISTINCT file, reason FROM comments WHERE reason IN ('post', 'nested')"
        ).fetchall()
        nested = {at for at, reason in found if reason == "nested"}
        late = {at for at, reason in found if reason == "post"} - first
        if not nested and not late:
            return answers
        # Files that begin as if they held comments alone, and hold more.
        for at in nested:
            dumps[at].nested = True
        first |= late | nested
        opened.execute("DELETE FROM posts")
        opened.execute("DELETE FROM comments")


def _scan(opened: "duckdb.DuckDBPyConnection", dump: Dump, query: str) -> int:
    """Insert what a query makes of a dump's `lines`; returns the number of rows."""
    refused: list[InputError] = []
    reader = pa.RecordBatchReader.from_batches(SCHEMA, until_refused(dump, refused))
    opened.register("lines", reader)
    # Nobody knows how many lines will come, so the planner takes them for few and would keep them all in memory; and a
    # filter that it moved would parse each line again.
    opened.execute("SET disabled_optimizers = 'join_order,build_side_probe_side,filter_pullup,filter_pushdown'")
    try:
        ((taken,),) = opened.execute(query).fetchall()
    finally:
        opened.execute("RESET disabled_optimizers")
        opened.unregister("lines")
    for error in refused:
        raise error
    return int(taken)


def _posts(opened: "duckdb.DuckDBPyConnection", rules: Rules, dumps: list[Dump], at: int) -> bool:
    """Take a file's posts; returns whether there are other lines in it."""
    kept = ", ".join(
        f"CASE WHEN reason IS NULL THEN x.{each} END" for each in ("author", "subreddit", "title", "selftext")
    )
    _scan(
        opened,
        dumps[at],
        f"""
        INSERT INTO posts
        SELECT {at}, number, {sql.ID}, reason, {kept},
            {sql.SCORE}, {sql.CREATED}, {sql.RETRIEVED}, x.edited, x.upvote_ratio,
            {sql.SCORE} IS NOT NULL AND NOT {sql.HIDDEN} AND NOT {sql.DELETED_AUTHOR}
        FROM (
            SELECT number, x, {sql.post_reason(rules)} AS reason
            FROM (SELECT number, TRY(json_transform(line, '{sql.POST_COLUMNS}')) AS x FROM lines)
            WHERE {sql.IS_POST} AND NOT starts_with(coalesce(x.replies, ''), '{{')
        )
        """,
    )
    ((count,),) = opened.execute("SELECT count(*) FROM posts WHERE file = ?", [at]).fetchall()
    return dumps[at].lines > count or bool(dumps[at].faults)


def _settle_posts(opened: "duckdb.DuckDBPyConnection") -> None:
    """Of a post that is listed more than once, keep what was retrieved last, else what has the higher score."""
    opened.execute(
        """
        UPDATE posts SET reason = 'post_listed_twice' FROM (
            SELECT file, number, row_number() OVER (
                PARTITION BY id ORDER BY retrieved DESC NULLS LAST, score DESC NULLS LAST,
                    reason NULLS FIRST, created, community, title, body, author, edited, upvote_ratio, file, number
            ) AS place
            FROM posts WHERE id IN (SELECT id FROM posts GROUP BY id HAVING count(*) > 1)
        ) AS placed
        WHERE placed.place > 1 AND placed.file = posts.file AND placed.number = posts.number
        """
    )


def _comments(opened: "duckdb.DuckDBPyConnection", rules: Rules, dumps: list[Dump], at: int) -> int:
    """Take a file's comments; returns of how many no more was looked at than that they answer another comment.

    Most of the others are on posts that are left out, so a line is asked for its post before all of it is parsed.
    """
    is_reply = sql.IS_REPLY_ITSELF if "replies" in dumps[at].columns else sql.IS_REPLY
    kept = ("post", "x.author", "x.body", "created", "x.edited")
    taken = _scan(
        opened,
        dumps[at],
        f"""
        INSERT INTO comments
        WITH looked AS (
            SELECT number, line, TRY(json_extract_string(line, ['$.link_id', '$.parent_id', '$.replies'])) AS seen
            FROM lines WHERE NOT {is_reply}
        ), linked AS (
            SELECT number, line, seen[1] AS link, seen[2] AS parent, starts_with(seen[3], '{{') AS nested FROM looked
        ), named AS (
            SELECT number, line, {sql.LINKED} AS post, parent IS DISTINCT FROM link AS below, nested FROM linked
        ), joined AS (
            SELECT number, line, post, p.author AS post_author, CASE
                WHEN post IS NULL OR nested THEN NULL
                WHEN below THEN 'comment_not_top_level'
                WHEN p.id IS NULL THEN 'comment_without_post'
                WHEN p.reason IS NOT NULL THEN 'comment_on_left_out_post' END AS by_post
            FROM named
            LEFT JOIN (SELECT id, reason, author FROM posts WHERE reason IS DISTINCT FROM 'post_listed_twice') AS p
            ON p.id = post
        ), parsed AS (
            SELECT number, line, post, post_author, by_post,
                CASE WHEN by_post IS NULL THEN TRY(json_transform(line, '{sql.COMMENT_COLUMNS}')) END AS x
            FROM joined
        ), told AS (
            SELECT number, line, x, post, {sql.SCORE} AS score, {sql.CREATED} AS created, {sql.ID} AS id,
                CASE WHEN by_post IS NOT NULL THEN by_post
                    WHEN starts_with(coalesce(x.replies, ''), '{{') THEN 'nested'
                    WHEN {sql.IS_POST} THEN 'post'
                    WHEN {sql.IS_COMMENT} THEN coalesce({sql.comment_reason(rules)},
                        CASE WHEN {sql.by_post_author(rules)} THEN 'comment_by_post_author' END)
                    WHEN x IS NULL AND trim(line, E' \\t\\r\\n') = '' THEN 'blank'
                    ELSE 'broken' END AS reason
            FROM parsed
        ), scored AS (
            SELECT *, x.link_id IS NOT NULL AND id IS NOT NULL AS listed,
                x.link_id IS NOT NULL AND score IS NOT NULL AND created IS NOT NULL AND NOT {sql.HIDDEN}
                    AND NOT {sql.DELETED_AUTHOR} AS scored
            FROM told
        )
        SELECT reason, CASE WHEN listed OR reason IN ('broken', 'post', 'nested') THEN {at} END,
            CASE WHEN listed OR reason = 'broken' THEN number END, CASE WHEN reason = 'broken' THEN line[:4096] END,
            CASE WHEN scored THEN {MONTH} END, CASE WHEN scored THEN score = 1 END,
            CASE WHEN listed THEN id END, score, {sql.RETRIEVED},
            {", ".join(f"CASE WHEN reason IS NULL THEN {each} END" for each in kept)}
        FROM scored
        """,
    )
    return dumps[at].lines - taken


def _join(opened: "duckdb.DuckDBPyConnection", rules: Rules) -> None:
    """Settle which comments are taken, and number their posts in order."""
    opened.execute(
        f"""
        CREATE TABLE twice AS SELECT file, number FROM (
            SELECT file, number, row_number() OVER (
                PARTITION BY id
                ORDER BY retrieved DESC NULLS LAST, score DESC NULLS LAST, reason NULLS FIRST, created, post, author,
                    body, edited, file, number
            ) AS place
            FROM comments WHERE id IN (SELECT id FROM comments GROUP BY id HAVING count(*) > 1)
        ) WHERE place > 1;
        UPDATE comments SET reason = 'comment_listed_twice' FROM twice
        WHERE comments.file = twice.file AND comments.number = twice.number AND reason IS NULL;
        CREATE TABLE placed AS SELECT file, number, post, row_number() OVER (
                PARTITION BY post ORDER BY score DESC, created, id
            ) AS place, count(*) OVER (PARTITION BY post) AS many
            FROM comments WHERE reason IS NULL;
        CREATE TABLE taken AS SELECT id, row_number() OVER (ORDER BY created, id) AS rank FROM posts
            WHERE reason IS NULL AND id IN (
                SELECT post FROM placed WHERE many >= {rules.min_comments} AND place = 1
            );
        UPDATE posts SET reason = 'post_with_few_comments'
            WHERE reason IS NULL AND id NOT IN (SELECT id FROM taken);
        UPDATE comments SET reason = CASE WHEN many < {rules.min_comments} THEN 'comment_among_few'
            ELSE 'comment_above_most' END
            FROM placed WHERE comments.file = placed.file AND comments.number = placed.number AND reason IS NULL
            AND (many < {rules.min_comments} OR place > {rules.max_comments});
        """
    )
