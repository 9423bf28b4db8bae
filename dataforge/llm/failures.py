"""Answers that are no completion: whether another try may help, and when."""

from dataclasses import dataclass

from dataforge.llm.endpoints import Answer
from dataforge.llm.limits import retry_after

_JSON_WORDS = ("response_format", "json_schema", "json_object", "guided", "grammar")


@dataclass(frozen=True)
class Failure:
    """A request without a completion."""

    why: str
    """In one line."""
    status: int = 0
    """0 where there was no answer."""
    wait: float | None = None
    """Seconds that the endpoint asks for before the next request."""
    crowded: bool = False
    """Whether it is the endpoint that has too much to do, whatever is asked."""
    may_pass: bool = True
    unfit: bool = False
    """Whether the endpoint does not know the way in which JSON was asked for."""

    @property
    def kind(self) -> str:
        """As it is counted."""
        return str(self.status) if self.status else "no whole answer"


def refused(answer: Answer, words: str) -> Failure:
    """The failure that an answer of another status than 200 is, with what it says."""
    wait, status = retry_after(answer.headers), answer.status
    unfit = status in (400, 404, 415, 422, 501) and any(word in answer.words.lower() for word in _JSON_WORDS)
    may_pass = status in (408, 409, 429) or status >= 500
    return Failure(words, status, wait, wait is not None or status == 429, may_pass, unfit)
