"""What a step asks of a language model, and what comes back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Paid = Literal["truncated", "refused", "empty", "unparsable"]
"""Why a reply that came can become no record."""


@dataclass(frozen=True)
class Request:
    """Messages that a model is to answer."""

    messages: tuple[Mapping[str, str], ...]
    """Each with `role` and `content`."""
    temperature: float | None = None
    """The model's own in the recipe, if not given."""
    max_tokens: int | None = None
    """The same."""
    schema: Mapping[str, Any] | None = None
    """A JSON schema that the reply must fit; its text is free if not given."""
    sample: int = 0
    """Tells apart several replies to the same messages, which are asked for one by one."""


@dataclass(frozen=True)
class Reply:
    """What a model said."""

    text: str
    data: Any = None
    """The JSON value that it is, where a schema was given."""
    reasoning: str = ""
    """What it thought before, where it shows that apart."""
    model: str = ""
    key: str = ""
    """The hash of what was sent."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class NoReply:
    """That there is no reply which could become a record."""

    reason: Paid | Literal["failed", "not_asked"]
    detail: str
    text: str = ""
    """Where it was truncated: what had come until then."""
    model: str = ""
    prompt_tokens: int = 0
    """Where something came, as the next; where it was twice not the JSON that was asked for, of both times."""
    completion_tokens: int = 0


def restored(said: Mapping[str, Any], key: str) -> Reply | NoReply:
    """A reply, or that there is none, from its fields as they were kept.

    Raises `ValueError` for a reason that is never kept, `TypeError` where the fields are others.
    """
    if "reason" not in said:
        return Reply(**said, key=key)
    if said["reason"] not in get_args(Paid):
        raise ValueError(f"the reason {said['reason']!r} is none of {', '.join(get_args(Paid))}")
    return NoReply(**said)


Ask = Callable[[Request], Awaitable[Reply | NoReply]]
