"""What travels down the line: a raw `Row`, the `Chat` it means, or the `Reject` it became.

All are frozen. Where a record comes from is a field of it, never a line in a log.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Origin:
    """The place a record was read from."""

    source: str
    """The source's name in the recipe."""
    file: str
    """The file's name, without its folder."""
    ordinal: int
    """The record's number in the file, from 0."""
    line: int
    """The line it starts on, from 1."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record as read: columns without meaning yet."""

    id: str
    """blake2b-128 of the source's name and the columns: equal rows share it."""
    origin: Origin
    columns: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that an answer calls."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str | None
    """None where an answer has tool calls and no text, which templates tell from an empty text."""
    weight: Literal[0, 1] | None = None
    """Whether the turn is trained; None leaves it to the recipe's `train_on`."""
    input: str | None = None
    """What an Alpaca record's instruction is about; most templates see it as a further line of the content."""
    reasoning: str | None = None
    """What the model thought before it answered: `reasoning_content` to a chat template."""
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str | None = None
    name: str | None = None
    """Of the tool whose result this is, or of who speaks."""

    @property
    def text(self) -> str:
        """The content with its input, empty where there is neither."""
        content = self.content or ""
        return f"{content}\n{self.input}" if self.input else content


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation to train on."""

    id: str
    origin: Origin
    messages: tuple[Message, ...]
    copies: int = 1
    """How often it is trained on, where its source weighs more than 1."""
    tools: Sequence[Mapping[str, Any]] = ()
    """JSON schemas of the functions that the model may call."""
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template is given beside the messages, such as `enable_thinking`; wins over the recipe's."""

    @property
    def group(self) -> str:
        """What must stay on one side of the split."""
        return self.id


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that is not trained on, and why."""

    id: str
    origin: Origin
    stage: str
    """The station that refused it."""
    reason: str
    """A short code; rejects are counted by it."""
    detail: str
    """What a person needs to find and mend it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a program may want to know beside it, such as the loss that it had."""


def canonical_json(value: Any) -> bytes:
    """The one way to write a JSON value: sorted keys, no blanks, UTF-8."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def record_id(source: str, columns: Any) -> str:
    """The id of a row as read: 32 hexadecimal digits."""
    return hashlib.blake2b(canonical_json([source, columns]), digest_size=16).hexdigest()
