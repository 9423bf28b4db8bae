"""What has become of Reddit's dumps in the tables `posts`, `comments` and `taken`: faults, and threads as rows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dataforge.content import Fault
from dataforge.dump_lines import Dump, fault

if TYPE_CHECKING:
    import duckdb

_BATCH = 4096


def faults(opened: "duckdb.DuckDBPyConnection", dumps: list[Dump]) -> Iterator[tuple[str, int, Fault]]:
    """What is no record, with the name of its file and its line."""
    found = opened.execute("SELECT file, number, line FROM comments WHERE reason = 'broken' ORDER BY ALL")
    while batch := found.fetchmany(_BATCH):
        for file, number, line in batch:
            yield dumps[file].name, number, fault(line)
    for dump in dumps:
        for number, told in sorted(dump.faults.items()):
            yield dump.name, number, told


def rows(opened: "duckdb.DuckDBPyConnection") -> Iterator[dict[str, Any]]:
    """Each thread as a row: the post's columns, and its comments by their times."""
    posts = _streamed(
        opened.cursor(),
        "SELECT rank, id, community, title, body, score, created, author, edited, "
        "TRY_CAST(upvote_ratio AS DOUBLE) AS upvote_ratio FROM posts JOIN taken USING (id) WHERE reason IS NULL "
        "ORDER BY rank",
    )
    comments = _streamed(
        opened.cursor(),
        "SELECT rank, comments.id, author, body, score, created, edited FROM comments "
        "JOIN taken ON taken.id = comments.post WHERE reason IS NULL ORDER BY rank, created, comments.id",
    )
    next_ = next(comments, None)
    for post in posts:
        rank, listed = post.pop("rank"), []
        while next_ is not None and next_["rank"] == rank:
            listed.append({key: value for key, value in next_.items() if key != "rank"})
            next_ = next(comments, None)
        yield {**post, "comments": listed}


def _streamed(cursor: "duckdb.DuckDBPyConnection", query: str) -> Iterator[dict[str, Any]]:
    for batch in cursor.sql(query).to_arrow_reader(_BATCH):
        yield from batch.to_pylist()
