"""Reddit's dumps and what its API says: posts with the comments on them, as threads with scores.

    {"id": "p1", "title": "Why?", "selftext": "", "subreddit": "askscience", "score": 12, "created_utc": 1500, ...}
    {"id": "c1", "link_id": "t3_p1", "parent_id": "t3_p1", "author": "ann", "body": "So.", "score": 5, ...}

`path` names the files of posts and of comments together, in any order and also mixed: `.zst` with the long window of
the dumps, `.gz` or plain NDJSON, or the API's JSON with nested `replies`, whose `more` stubs are counted. A row with a
`link_id` is a comment, one with a `title` a post. One thread is one ranking: the post is its prompt, and each comment
on the post itself a reply with its score, for `- use: mine_votes` to find preferences in.

What is taken is settled as in Stanford's SHP, and the values can be set: posts with text of their own, of at least 10
points, from before 2023, not edited and not for adults, with their best 50 comments of at least 2 points; nothing that
is deleted or by a deleted user or a moderator, and no comment by who wrote the post. Beyond SHP, what is stickied, by
a bot or of a hidden score is left out; `keep:` takes any of these. The station `threads` of the funnel counts what each
rule leaves out: of comments first those that answer another comment, then those on a post that is not taken, then the
others by what they say themselves. A month whose scores are from before anybody voted is refused.

`&amp;`, `&gt;` and `&lt;` become their characters, links their text, and what communities call things by its words.
"""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dataforge import reddit_threads
from dataforge.assembly import Assembly, Files, Rows
from dataforge.columns import RowError, errors_reject, optional_text, text
from dataforge.records import Message, Ranking, Reply, Row
from dataforge.reddit_rules import Rules

_WORDS = {
    "AITA": "Am I the asshole",
    "AMA": "Ask me anything",
    "CMV": "Change my view that",
    "DAE": "Does anyone else",
    "ELI5": "Explain like I'm five",
    "LPT": "Life pro tip",
    "PSA": "Public service announcement",
    "TIFU": "Today I fucked up",
    "TIL": "Today I learned",
    "WIBTA": "Would I be the asshole",
    "YSK": "You should know",
}
_LINK = re.compile(
    r"(?<!!)\[([^\[\]]*)\]\("
    r"(?:https?://|www\.|mailto:|/|#)(?:[^()\s\\]|\\.|\([^()\s]*\))*"
    r"(?:\s+\"[^\"]*\")?\s*\)"
)


class Settings(Rules):
    """Which posts and comments are taken, and what becomes of their text."""

    links: Literal["text", "keep"] = "text"
    """A link with a text of its own becomes that text, as in SHP, or stays."""
    abbreviations: dict[str, str] = Field(default=_WORDS)
    """Words that communities have names of their own for: `{CMV: Change my view that}`; none if empty."""


def assemble(files: Files, settings: Settings, scratch: Path, tally: Assembly) -> Rows:
    """A row for each thread."""
    return reddit_threads.threads(files, settings, scratch, tally)


@errors_reject
def convert(row: Row, settings: Settings) -> Ranking:
    """One thread as a ranking."""
    columns = row.columns
    post, community = text(columns, "id"), optional_text(columns, "community") or ""
    asked = "\n\n".join(filter(None, (_clean(columns.get(key), settings) for key in ("title", "body"))))
    if not asked:
        raise RowError("empty_question", f"post {post} has neither title nor text")
    url = f"https://www.reddit.com/r/{community}/comments/{post}/"
    replies = []
    if not isinstance(columns.get("comments"), list):
        raise RowError("missing_comments", f"a thread has a list of 'comments', and post {post} has none")
    for comment in columns["comments"]:
        said = _clean(comment["body"], settings)
        if said:
            facts = {
                "id": comment["id"],
                "author": comment["author"] or "[deleted]",
                "created": comment["created"],
                **_edited(comment),
            }
            replies.append(Reply(Message("assistant", said), score=float(comment["score"]), facts=facts))
    if not replies:
        raise RowError("no_reply", f"none of the comments on post {post} has a text")
    facts = {
        "post": post,
        "community": community,
        "score": columns["score"],
        "created": columns["created"],
        "author": columns["author"] or "[deleted]",
        "url": url,
        **_edited(columns),
    }
    if columns.get("upvote_ratio") is not None:
        facts["upvote_ratio"] = columns["upvote_ratio"]
    prompt = (Message("user", asked),)
    return Ranking(row.id, row.origin, prompt, tuple(replies), family=f"post {community}/{post}", facts=facts)


def _edited(columns: Mapping[str, Any]) -> dict[str, int | bool]:
    """When something was edited, or that it was; nothing where it was not."""
    found = columns.get("edited")
    if found in (None, "", "0", "false"):
        return {}
    try:
        return {"edited": int(float(found))}
    except ValueError:
        return {"edited": True}


def _clean(found: str | None, settings: Settings) -> str:
    said = found or ""
    if "&" in said:
        said = said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    if settings.links == "text" and "](" in said:
        said = _LINK.sub(r"\1", said)
    return _expanded(said, settings.abbreviations).strip()


def _expanded(said: str, words: Mapping[str, str]) -> str:
    """Names as whole words by what they mean; a colon or dash after one that ends in `that` goes."""
    if not any(map(said.__contains__, words)):
        return said
    return _pattern(tuple(words)).sub(functools.partial(_word, words), said)


@functools.lru_cache(maxsize=8)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, names))})(?!\w)(\s*[:,-](?=\s))?")


def _word(words: Mapping[str, str], found: re.Match[str]) -> str:
    meant = words[found.group(1)]
    return meant if meant.endswith("that") else meant + (found.group(2) or "")
