"""What travels down the line: a raw `Row`, the record it means, or the `Reject` it became.

A record is a conversation (`Chat`), a labelled example of a task (`Example`), plain text (`Text`), several answers to
one prompt (`Ranking`), two of which one is preferred (`Preference`), or a prompt alone (`Prompt`). What is trained on
is what the build is of; the others become that by a step.

All are frozen. Where a record comes from is a field of it, never a line in a log.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """The file's name, below the source's root."""
    ordinal: int
    """The record's number in the file, from 0."""
    line: int
    """The line it starts on, from 1."""
    item: int = 0
    """Where the row holds several records: the number of this one, from 0."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record as read: columns without meaning yet."""

    id: str
    """blake2b-128 of the source's name and the columns: equal rows share it."""
    origin: Origin
    columns: dict[str, Any]

    def piece(self, number: int, columns: dict[str, Any]) -> "Row":
        """One of several records that the row holds, with an id of its own."""
        origin = replace(self.origin, item=number)
        return Row(record_id(origin.source, columns), origin, columns)


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
    family: str = ""
    """The tree, post or document that it comes from; itself if empty."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else is known of it, as JSON values: `task`, `language`, `attribution`, scores."""


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled example of a task, which a task template puts into words."""

    id: str
    origin: Origin
    task: str
    """The folder in `templates/task/` that has words for it."""
    fields: Mapping[str, Any]
    """JSON values under the names that the task's templates know."""
    language: str = ""
    """Of its text, as in BCP 47: `zh`, `en`; empty where it is not known."""
    family: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """A passage or document without a question."""

    id: str
    origin: Origin
    text: str
    title: str = ""
    family: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """One of several messages that answer the same one, with what is known of its worth."""

    message: Message
    rank: int | None = None
    """0 for the best of those that were ranked against it."""
    score: float | None = None
    """The higher the better; not comparable across records unless the source says so."""
    label: bool | None = None
    """Where somebody only said whether it is good."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    replies: tuple["Reply", ...] = ()
    """In a tree of discussion, what was said to it."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A prompt and the replies to it, or a whole tree of them."""

    id: str
    origin: Origin
    prompt: tuple[Message, ...]
    replies: tuple[Reply, ...]
    tools: Sequence[Mapping[str, Any]] = ()
    family: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt, a reply to it, and one that is worse."""

    id: str
    origin: Origin
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: Sequence[Mapping[str, Any]] = ()
    margin: float | None = None
    """By how much the one is better, in the source's own measure."""
    family: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages that a model is to answer."""

    id: str
    origin: Origin
    messages: tuple[Message, ...]
    tools: Sequence[Mapping[str, Any]] = ()
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    copies: int = 1


Record = Chat | Example | Text | Ranking | Preference | Prompt
Trainable = Chat | Preference | Prompt
"""What shards can be made of."""


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


@dataclass(frozen=True, slots=True)
class Joined:
    """A record that a step made part of another, which goes on in its place."""

    id: str
    origin: Origin
    into: str
    """The id of the record whose place they take together."""


def canonical_json(value: Any) -> bytes:
    """The one way to write a JSON value: sorted keys, no blanks, UTF-8."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def derived_id(record: str, *names: str) -> str:
    """The id of a record that a step makes of another, told from its siblings by names."""
    return hashlib.blake2b(canonical_json([record, *names]), digest_size=16).hexdigest()


def group_of(record: Record) -> str:
    """What must stay on one side of the split with a record: all of its family, or itself."""
    return record.family or record.id


def turns(record: Record) -> tuple[Message, ...]:
    """All that is said in a record, as messages: what steps compare and measure whatever its kind."""
    match record:
        case Chat() | Prompt():
            return record.messages
        case Example():
            return tuple(Message("user", f"{name}: {_written(value)}") for name, value in record.fields.items())
        case Text():
            return (Message("user", f"{record.title}\n{record.text}" if record.title else record.text),)
        case Ranking():
            return (*record.prompt, *(message for reply in record.replies for message in _below(reply)))
        case Preference():
            return (*record.prompt, *record.chosen, *record.rejected)


def task_of(record: Record) -> str:
    """The task that a record is of, as its source says; empty where it says none."""
    return record.task if isinstance(record, Example) else str(record.facts.get("task") or "")


def language_of(record: Record) -> str:
    """The language of a record, as its source says; empty where it says none."""
    said = record.language if isinstance(record, Example) else ""
    return said or str(record.facts.get("language") or "")


def _below(reply: Reply) -> Iterator[Message]:
    yield reply.message
    for following in reply.replies:
        yield from _below(following)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def record_id(source: str, columns: Any) -> str:
    """The id of a row as read: 32 hexadecimal digits."""
    return hashlib.blake2b(canonical_json([source, columns]), digest_size=16).hexdigest()
