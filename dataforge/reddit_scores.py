"""Months of a dump that was read before anybody could vote: nearly all of their scores are 1."""

from typing import TYPE_CHECKING

from dataforge.errors import InputError

if TYPE_CHECKING:
    import duckdb

FEWEST, DEAD = 500, 0.9
"""Of so many scores of a month at least, the share that is 1 where nobody had voted yet."""
MONTH = "(year(make_timestamp(created * 1000000)) * 100 + month(make_timestamp(created * 1000000)))::BIGINT"
"""The month of a row's time, as 201903."""


def refuse(opened: "duckdb.DuckDBPyConnection") -> None:
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
