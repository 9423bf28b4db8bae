"""Stack Exchange's dumps: the answers to a question with their votes.

    <row Id="1" PostTypeId="1" CreationDate="2014-01-21T20:26:05.383" Score="18" Title="What is a citra hop?"
         Body="&lt;p&gt;How does it differ from &lt;em&gt;other&lt;/em&gt; hops?&lt;/p&gt;" OwnerUserId="7" />
    <row Id="4" PostTypeId="2" ParentId="1" CreationDate="2014-01-21T20:31:26.960" Score="22"
         Body="&lt;p&gt;By its smell.&lt;/p&gt;" OwnerUserId="12" />

These are rows of `Posts.xml`. `Users.xml` beside it gives the authors' names, and `PostHistory.xml` tells edits of a
text from those of tags; other files are not needed.

A question with at least two answers is a record: title and body as Markdown, and the answers by the time they were
written, each with its score, its author, the link to it and the licence it is under. `CC BY-SA` asks that these be
named, so the site must be known: `site: beer.stackexchange.com`, or a folder of that name for each site. The step
`mine_votes` makes preference pairs of it.

The defaults are those of SHP-2 for Stack Exchange: the question has a score of 5 and was not edited after an answer,
the answer's score is not 0, and neither is by a deleted user, nor the answer by who asked. Dumps come packed as `.7z`:
unpack them first.
"""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from dataforge import config, stack_dump, stack_threads
from dataforge.assembly import Assembly, Files, Rows
from dataforge.columns import RowError, errors_reject
from dataforge.html_markdown import markdown
from dataforge.records import Message, Ranking, Reply, Row


class Settings(config.Settings):
    """Which questions and answers count; `null` takes a limit away."""

    site: str | None = Field(None, pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")
    """The host of the site, as `cooking.stackexchange.com`; None where each file lies in a folder of that name."""
    min_post_score: int | None = 5
    """Of a question."""
    min_score: int | None = None
    """Of an answer; those voted down are worth knowing too."""
    zero_scores: bool = False
    """Whether answers with a score of 0 count, which nobody may have looked at."""
    deleted_users: bool = False
    """Whether questions and answers of users count who are gone."""
    own_answers: bool = False
    """Whether answers by who asked count."""
    closed: bool = True
    """Whether questions count that were closed."""
    community_wiki: bool = True
    """Whether questions and answers count that many write together."""
    edited_after_answer: bool = False
    """Whether an answer counts that is older than the last edit of its question: it may answer another text."""
    edited_answers: bool = True
    """Whether answers count that were edited, as a quarter to a half of them are."""
    after: date | None = None
    """The first day, in UTC, whose questions count."""
    before: date | None = None
    """The first day, in UTC, whose questions do not count any more."""
    max_answers: int = Field(50, ge=2)
    """Of a question: those with the highest scores, and of equals the oldest."""
    min_answers: int = Field(2, ge=1)
    """That a question must have left."""


def assemble(files: Files, settings: Settings, scratch: Path, tally: Assembly) -> Rows:
    """The questions with their answers, by site and number, and behind them what could not be read.

    Raises `InputError` where there are no posts, or it is not known of which site.
    """
    sites = stack_dump.sites(files, settings.site, tally)
    rules = stack_threads.Rules(
        **settings.model_dump(exclude={"site", "after", "before"}),
        after=_seconds(settings.after),
        before=_seconds(settings.before),
    )
    yield from stack_threads.threads(sites, rules, scratch, tally)


class _Post(BaseModel):
    """An answer as `assemble` gives it."""

    id: int
    score: int
    created: int
    edited: int | None
    owner: int | None
    name: str | None
    licence: str
    body: str

    def text(self, what: str) -> str:
        """Its body as Markdown; `what` begins the sentence of a `RowError`."""
        try:
            return markdown(self.body)
        except ValueError as error:
            raise RowError("deep_html", f"{what} is HTML that cannot be read: {error}") from None

    def facts(self, site: str, kind: str) -> dict[str, Any]:
        """When and by whom it is, in the words that the licence asks for; `kind` is `q` or `a`, as links have it."""
        url = f"https://{site}/{kind}/{self.id}"
        known = self.name or (None if self.owner is None else f"user {self.owner}")
        credit = {"author": known or "a deleted user", "url": url, "licence": self.licence}
        if self.owner is not None:
            credit["profile"] = f"https://{site}/users/{self.owner}"
        found = {"created": self.created, "url": url, "licence": self.licence, "attribution": credit}
        if known is not None:
            found["author"] = known if self.owner is None else str(self.owner)  # several users may have one name
        return found if self.edited is None else found | {"edited": self.edited}


class _Question(_Post):
    site: str
    title: str
    accepted: int | None
    tags: list[str]
    answers: list[_Post] = Field(min_length=1)


@errors_reject
def convert(row: Row, settings: Settings) -> Ranking:
    """One question as a ranking of its answers."""
    try:
        asked = _Question.model_validate(row.columns)
    except ValidationError as error:
        where = config.dotted(error.errors()[0]["loc"])
        raise RowError("bad_thread", f"{where!r} is not what it is in a thread that is made of Posts.xml") from None
    facts = {"post": str(asked.id), "community": asked.site, "score": asked.score, **asked.facts(asked.site, "q")}
    if asked.tags:
        facts["tags"] = asked.tags
    parts = (asked.title.strip(), asked.text("the question"))
    prompt = Message("user", "\n\n".join(part for part in parts if part))
    replies = []
    for answer in asked.answers:
        said = Message("assistant", answer.text(f"answer {answer.id}"))
        known = {"id": str(answer.id), "accepted": answer.id == asked.accepted, **answer.facts(asked.site, "a")}
        replies.append(Reply(said, score=float(answer.score), facts=known))
    family = f"post {asked.site}/{asked.id}"
    return Ranking(row.id, row.origin, (prompt,), tuple(replies), family=family, facts=facts)


def _seconds(day: date | None) -> int | None:
    return None if day is None else int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
