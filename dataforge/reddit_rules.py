"""Which posts and comments of Reddit are taken, as conditions of SQL over the columns of its dumps.

The columns change from month to month: a time is text, an integer or a float, `edited` false, true or a time, many are
missing. All are read as text and cast where they are used; what is missing is null.
"""

import datetime
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from dataforge import config

Kept = Literal["edited", "over_18", "links", "stickied", "moderators", "bots", "post_authors", "hidden_scores"]
_META = {
    "is_edited": "BOOLEAN",
    "removal_type": "VARCHAR",
    "was_deleted_later": "BOOLEAN",
    "retrieved_2nd_on": "VARCHAR",
}
_TEXT = (
    "id name title link_id author subreddit score created_utc edited distinguished retrieved_on retrieved_utc replies"
)
_BOTH = {
    **dict.fromkeys(_TEXT.split(), "VARCHAR"),
    **dict.fromkeys(("stickied", "score_hidden", "hide_score"), "BOOLEAN"),
    "_meta": _META,
}
POST_COLUMNS = json.dumps(
    {
        **_BOTH,
        **dict.fromkeys(("selftext", "upvote_ratio", "removed_by_category"), "VARCHAR"),
        **dict.fromkeys(("over_18", "is_self"), "BOOLEAN"),
    }
)
COMMENT_COLUMNS = json.dumps({**_BOTH, "body": "VARCHAR", "is_submitter": "BOOLEAN"})
ID = "lower(coalesce(x.id, x.name[4:]))"
LINKED = "lower(CASE WHEN starts_with(link, 't3_') THEN link[4:] ELSE link END)"
"""The id of the post that a comment's `link` names."""
CREATED = "TRY_CAST(x.created_utc AS BIGINT)"
SCORE = "TRY_CAST(x.score AS BIGINT)"
RETRIEVED = "TRY_CAST(coalesce(x._meta.retrieved_2nd_on, x.retrieved_on, x.retrieved_utc) AS BIGINT)"
IS_POST = f"x.title IS NOT NULL AND x.link_id IS NULL AND {ID} IS NOT NULL"
IS_COMMENT = f"x.link_id IS NOT NULL AND {ID} IS NOT NULL"
IS_REPLY = """contains(line, '_id":"t1_')"""
"""Of a line that need not be parsed: a quote inside a JSON text is escaped, so this is no text of a comment, and only
`parent_id` names a comment. It is looked for without its first letters, which takes half the time."""
IS_REPLY_ITSELF = f"""({IS_REPLY} AND NOT contains(line, '"replies":{{'))"""
"""The same where a comment may hold others."""
HIDDEN = "coalesce(x.score_hidden, x.hide_score, false)"
DELETED_AUTHOR = "(x.author IS NULL OR x.author IN ('[deleted]', '[removed]', ''))"
_BOTS = (
    "autotldr autourbanbot helperbot_ imguralbumbot remindmebot sneakpeekbot totesmessenger video_link_bot "
    "wikitextbot wikipediasummary gifreversingbot haikusbot"
)
_EDITED = "coalesce(x.edited, 'false') NOT IN ('false', '0', '') OR coalesce(x._meta.is_edited, false)"
_BOT_NAME = "([-_]bot|[a-z0-9]Bot|BOT)[-_]?[0-9]*$|^bot[-_]"


class Rules(config.Settings):
    """Which posts and comments are taken; the values are SHP's where it has any."""

    communities: tuple[str, ...] = ()
    """The subreddits that are taken; all if empty."""
    min_post_score: int = 10
    """The least score of a post."""
    min_comment_score: int = 2
    """The least score of a comment."""
    before: datetime.date | None = datetime.date(2023, 1, 1)
    """Posts from that day on are left out."""
    max_comments: int = Field(default=50, ge=1, le=10_000)
    """How many comments of a post are taken: those of the highest score, the earlier of equal ones."""
    min_comments: int = Field(default=2, ge=1)
    """Posts of which fewer comments are left are left out."""
    edited_comments: bool = True
    """Whether comments that were edited are taken, as they are by SHP."""
    keep: tuple[Kept, ...] = ()
    """What is left out otherwise."""
    moderators: tuple[str, ...] = ()
    """Who writes as a moderator without the badge."""
    bots: tuple[str, ...] = ()
    """Who is a bot, beside those whose names say so and some that are known."""
    dead_scores: Literal["refuse", "keep"] = "refuse"
    """What becomes of a month whose scores were taken before anybody had voted: nearly all are 1."""


def post_reason(rules: Rules) -> str:
    """The first rule that leaves a post out, or null."""
    chain = []
    if rules.communities:
        chain.append((f"lower(coalesce(x.subreddit, '')) NOT IN ({_names(rules.communities)})", "other_community"))
    if "links" not in rules.keep:
        chain.append(("NOT coalesce(x.is_self, coalesce(x.selftext, '') <> '')", "link"))
    chain += [
        (
            f"{DELETED_AUTHOR} OR x.selftext IN ('[deleted]', '[removed]') OR x.removed_by_category IS NOT NULL "
            "OR x._meta.removal_type IS NOT NULL OR coalesce(x._meta.was_deleted_later, false)",
            "deleted",
        ),
        *_of_both(rules),
    ]
    if "edited" not in rules.keep:
        chain.append((_EDITED, "edited"))
    if "over_18" not in rules.keep:
        chain.append(("coalesce(x.over_18, false)", "over_18"))
    chain.append((f"{CREATED} IS NULL", "without_time"))
    if rules.before is not None:
        first = datetime.datetime.combine(rules.before, datetime.time(), datetime.UTC)
        chain.append((f"{CREATED} >= {int(first.timestamp())}", "too_late"))
    chain += [(f"{SCORE} IS NULL", "without_score"), (f"{SCORE} < {rules.min_post_score}", "low_score")]
    return _case(chain, "post")


def comment_reason(rules: Rules) -> str:
    """The first rule that leaves a comment on a post that is kept out, or null."""
    chain = [
        (f"{SCORE} IS NULL", "without_score"),
        (f"{SCORE} < {rules.min_comment_score}", "low_score"),
        (
            f"{DELETED_AUTHOR} OR coalesce(x.body, '') IN ('[deleted]', '[removed]', '') "
            "OR x._meta.removal_type IS NOT NULL OR coalesce(x._meta.was_deleted_later, false)",
            "deleted",
        ),
        *_of_both(rules),
        (f"{CREATED} IS NULL", "without_time"),
    ]
    if not rules.edited_comments:
        chain.append((_EDITED, "edited"))
    return _case(chain, "comment")


def by_post_author(rules: Rules) -> str:
    """Whether a comment is by its post's author, `post_author`."""
    return "false" if "post_authors" in rules.keep else "coalesce(x.is_submitter, false) OR x.author = post_author"


def _of_both(rules: Rules) -> list[tuple[str, str]]:
    names = _names([*_BOTS.split(), *rules.bots])
    moderators = _names(["automoderator", *rules.moderators])
    chain = {
        "moderators": (f"x.distinguished IS NOT NULL OR lower(x.author) IN ({moderators})", "by_moderator"),
        "bots": (f"lower(x.author) IN ({names}) OR regexp_matches(x.author, '{_BOT_NAME}')", "by_bot"),
        "stickied": ("coalesce(x.stickied, false)", "stickied"),
        "hidden_scores": (HIDDEN, "hidden_score"),
    }
    return [rule for name, rule in chain.items() if name not in rules.keep]


def _case(chain: Sequence[tuple[str, str]], prefix: str) -> str:
    return "CASE " + " ".join(f"WHEN {condition} THEN '{prefix}_{reason}'" for condition, reason in chain) + " END"


def _names(names: Sequence[str]) -> str:
    return ", ".join("'" + name.removeprefix("r/").lower().replace("'", "''") + "'" for name in names)
