"""Stanford SHP: two comments on a post, of which one got the higher score although it came later.

    {"post_id": "p1", "history": "Why?", "human_ref_A": "So.", "human_ref_B": "No.", "labels": 1, "score_A": 9, ...}

`labels` is 1 where A is preferred, else 0. The preferred comment must have the strictly higher score and be written no
earlier than the other (`seconds_difference` is how much later); a record that says otherwise is rejected. Scores,
times, ratio and domain are kept under the names that `mine_votes` gives them; the margin is the ratio of the scores,
taken from them where no `score_ratio` stands there. All pairs on a post stay on one side of the split.
"""

from typing import Any

from dataforge import config
from dataforge.columns import RowError, errors_reject, number, text
from dataforge.opinions import preference
from dataforge.records import Message, Preference, Row


class Settings(config.Settings):
    """This shape has nothing to set."""


@errors_reject
def convert(row: Row, settings: Settings) -> Preference:
    """One record as a preference."""
    columns = row.columns
    label = columns.get("labels")
    if label not in (0, 1):
        raise RowError("bad_labels", f"'labels' must be 1 where A is preferred and 0 where B is, not {label!r}")
    better, worse = ("A", "B") if label else ("B", "A")
    scores = [_needed(columns, f"score_{side}") for side in (better, worse)]
    if scores[0] <= scores[1]:
        detail = f"{better} is preferred, and its score of {scores[0]:g} is not above {scores[1]:g}"
        raise RowError("label_against_scores", detail)
    later = number(columns.get("seconds_difference"), "seconds_difference")
    times = [number(columns.get(f"created_at_utc_{side}"), f"created_at_utc_{side}") for side in (better, worse)]
    if times[0] is not None and times[1] is not None and times[0] < times[1]:
        raise RowError("preferred_is_earlier", f"{better} is preferred and was written before the other")
    if later is not None and later < 0:
        raise RowError("preferred_is_earlier", f"'seconds_difference' is {later:g}: the preferred comment came first")
    ratio = number(columns.get("score_ratio"), "score_ratio")
    if ratio is None and scores[1] > 0:
        ratio = scores[0] / scores[1]
    if later is None and times[0] is not None and times[1] is not None:
        later = times[0] - times[1]
    known: dict[str, Any] = {
        "rule": "shp",
        **dict(zip(("score_chosen", "score_rejected"), scores, strict=True)),
        "score_ratio": ratio,
        **dict(zip(("created_chosen", "created_rejected"), times, strict=True)),
        "seconds_later": later,
        "post": columns.get("post_id"),
        **{key: columns.get(key) for key in ("domain", "upvote_ratio")},
    }
    facts = {key: value for key, value in known.items() if value is not None}
    asked = (Message("user", text(columns, "history").strip()),)
    chosen, rejected = ((Message("assistant", text(columns, f"human_ref_{side}").strip()),) for side in (better, worse))
    post = columns.get("post_id")
    family = f"post {post}" if post else ""
    return preference(row, asked, chosen, rejected, margin=ratio, family=family, facts=facts)


def _needed(columns: dict[str, Any], key: str) -> float:
    found = number(columns.get(key), key)
    if found is None:
        raise RowError(f"missing_{key}", f"the key {key!r} is missing, without which nothing is preferred")
    return found
