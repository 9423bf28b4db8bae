"""What is refused as a whole: files that cannot be threads, and months that were read before anybody could vote."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dataforge.errors import InputError

if TYPE_CHECKING:
    import duckdb

FEWEST, DEAD = 500, 0.9
"""Of so many scores of a month at least, the share that is 1 where nobody had voted yet."""
MONTH = "(year(make_timestamp(created * 1000000)) * 100 + month(make_timestamp(created * 1000000)))::BIGINT"
"""The month of a row's time, as 201903."""


def refuse_halves(opened: "duckdb.DuckDBPyConnection", names: Sequence[str], answers: int) -> None:
    """Raise `InputError` where files hold no posts, or no comments, as the tables `posts` and `comments` tell, beside
    whose comments there are so many `answers` to others.
    """
    posts = opened.execute("SELECT 1 FROM posts LIMIT 1").fetchone()
    comments = (
        answers
        or opened.execute(
            "SELECT 1 FROM comments WHERE reason IS NULL OR reason NOT IN ('post', 'blank', 'nested', 'broken') LIMIT 1"
        ).fetchone()
    )
    if posts and comments:
        return
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    if posts:
        raise InputError(f"{listed}: no comments are in them; name the file with the comments in `path` too")
    if comments:
        raise InputError(f"{listed}: no posts are in them; name the file with the posts in `path` too")
    raise InputError(
        f"{listed}: neither posts (an 'id' and a 'title') nor comments (an 'id' and a 'link_id') are in them; "
        "give `path` the files of Reddit's dump, or read them with another `use`"
    )


def refuse_dead_scores(opened: "duckdb.DuckDBPyConnection") -> None:
    """Raise `InputError` where a month of the tables `posts` and `comments` has dead scores."""
    found = opened.execute(
        f"""
        SELECT month, what, count(*) AS scores, count(*) FILTER (one) AS ones FROM (
            SELECT 'comments' AS what, month, one FROM comments WHERE month IS NOT NULL
            UNION ALL
            SELECT 'posts', {MONTH}, score = 1 FROM posts WHERE plain AND created IS NOT NULL
        ) GROUP BY ALL HAVING scores >= {FEWEST} AND ones >= {DEAD} * scores ORDER BY month, what
        """
    ).fetchall()
    if found:
        listed = ", ".join(
            f"{month // 100}-{month % 100:02} ({ones / scores:.0%} of {scores:,} {what} have the score 1)"
            for month, what, scores, ones in found
        )
        raise InputError(
            f"the scores are from before anybody had voted in {listed}; leave these files out or take a dump that was "
            "read again later, or say `dead_scores: keep`"
        )
