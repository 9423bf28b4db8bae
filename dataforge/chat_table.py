"""Conversations as Arrow tables, one row each, and back without loss.

What a tool takes and what it was called with differ from record to record: as columns they would put nulls into every
other row, so they are JSON text, with keys in the order they came in, since a template writes them so.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from dataforge.records import Chat, Message, Origin, ToolCall, Trainable

_KEYS = ("role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name")
_MESSAGE = pa.struct([(key, pa.string()) for key in _KEYS])
MESSAGES = pa.list_(_MESSAGE)
INPUTS = pa.list_(pa.string())
BESIDE = [
    pa.field("copies", pa.int32(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("file", pa.string(), nullable=False),
    pa.field("ordinal", pa.int64(), nullable=False),
    pa.field("line", pa.int64(), nullable=False),
    pa.field("item", pa.int32(), nullable=False),
    pa.field("family", pa.string(), nullable=False),
    pa.field("facts", pa.string()),
]
"""What records of every kind have beside what is said in them."""
_COMMON = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("messages", MESSAGES, nullable=False),
    pa.field("inputs", INPUTS),
    pa.field("tools", pa.string()),
    pa.field("chat_template_kwargs", pa.string()),
    *BESIDE,
]
CHATS = pa.schema([*_COMMON, pa.field("weights", pa.list_(pa.int8()), nullable=False)])
"""Conversations on their way: `weights` are the messages' own."""
RECORDS = pa.schema([*_COMMON[:2], pa.field("trained", pa.list_(pa.bool_()), nullable=False), *_COMMON[2:]])
"""Conversations as a build shows them: which messages are trained is settled."""


def to_table(chats: Sequence[Chat]) -> pa.Table:
    """Conversations as a table of `CHATS`, in order."""
    offsets = _offsets([len(chat.messages) for chat in chats])
    weights = pa.array([message.weight for chat in chats for message in chat.messages], pa.int8())
    return pa.table(
        {
            "id": pa.array([chat.id for chat in chats], pa.string()),
            "messages": messages_of([chat.messages for chat in chats]),
            "inputs": inputs_of([chat.messages for chat in chats]),
            "tools": json_of([chat.tools for chat in chats]),
            "chat_template_kwargs": json_of([chat.template_kwargs for chat in chats]),
            **beside(chats),
            "weights": pa.ListArray.from_arrays(offsets, weights, type=CHATS.field("weights").type),
        },
        schema=CHATS,
    )


def messages_of(conversations: Sequence[Sequence[Message]]) -> pa.Array:
    """Messages of several conversations as a column of `MESSAGES`."""
    said = [message for messages in conversations for message in messages]
    columns: dict[str, list[Any]] = {
        "role": [message.role for message in said],
        "content": [None if message.content is None else message.text for message in said],
        "reasoning_content": [message.reasoning for message in said],
        "tool_calls": [_calls(message) if message.tool_calls else None for message in said],
        "tool_call_id": [message.tool_call_id for message in said],
        "name": [message.name for message in said],
    }
    flat = pa.StructArray.from_arrays([pa.array(columns[key], pa.string()) for key in _KEYS], fields=list(_MESSAGE))
    return pa.ListArray.from_arrays(_offsets([len(messages) for messages in conversations]), flat, type=MESSAGES)


def inputs_of(conversations: Sequence[Sequence[Message]]) -> pa.Array:
    """What each message's instruction is about, as a column of `INPUTS`; null where no message has any."""
    found = [
        None if all(message.input is None for message in messages) else [message.input for message in messages]
        for messages in conversations
    ]
    return pa.array(found, INPUTS)


def beside(records: Sequence[Trainable]) -> dict[str, pa.Array]:
    """The columns `BESIDE` of records."""
    return {
        "copies": pa.array([record.copies for record in records], pa.int32()),
        "source": pa.array([record.origin.source for record in records], pa.string()),
        "file": pa.array([record.origin.file for record in records], pa.string()),
        "ordinal": pa.array([record.origin.ordinal for record in records], pa.int64()),
        "line": pa.array([record.origin.line for record in records], pa.int64()),
        "item": pa.array([record.origin.item for record in records], pa.int32()),
        "family": pa.array([record.family for record in records], pa.string()),
        "facts": json_of([record.facts for record in records]),
    }


def json_of(values: Sequence[Any]) -> pa.Array:
    """What differs from record to record as JSON; null where there is none."""
    return pa.array([orjson.dumps(value).decode() if value else None for value in values], pa.string())


def messages_from(said: Sequence[Mapping[str, Any]], inputs: Sequence[str | None] | None) -> tuple[Message, ...]:
    """One conversation of a column of `MESSAGES`, with its line of the column of `INPUTS`."""
    extras = inputs or [None] * len(said)
    return tuple(
        _message(tuple(found[key] for key in _KEYS), extra, None) for found, extra in zip(said, extras, strict=True)
    )


def to_records(chats: pa.Table, trained: npt.NDArray[np.uint8]) -> pa.Table:
    """A table of `CHATS` as one of `RECORDS`, given of each message of all conversations whether it is trained."""
    counts = chats.column("messages").combine_chunks().value_lengths().to_numpy()
    flags = pa.ListArray.from_arrays(_offsets(counts), pa.array(trained.astype(bool)))
    return chats.drop_columns("weights").add_column(2, RECORDS.field("trained"), flags).cast(RECORDS)


def from_table(table: pa.Table) -> Iterator[Chat]:
    """The conversations of a table of `CHATS`, or of `RECORDS`, whose answers get the weights that say the same."""
    for batch in table.to_batches():
        yield from _from_batch(batch)


def _from_batch(batch: pa.RecordBatch) -> Iterator[Chat]:
    flat = batch.column("messages").flatten()
    said = zip(*(flat.field(key).to_pylist() for key in _KEYS), strict=True)
    decides = batch.column("weights" if "weights" in batch.schema.names else "trained").flatten().to_pylist()
    edges = batch.column("messages").value_lengths().to_pylist()
    keys = (
        *("id", "inputs", "tools", "chat_template_kwargs", "copies", "source", "file", "ordinal", "line"),
        *("item", "family", "facts"),
    )
    weights = iter(decides)
    for count, values in zip(edges, zip(*(batch.column(key).to_pylist() for key in keys), strict=True), strict=True):
        identity, inputs, tools, kwargs, copies, source, file, ordinal, line, item, family, facts = values
        messages = tuple(
            _message(next(said), None if inputs is None else inputs[number], next(weights)) for number in range(count)
        )
        yield Chat(
            id=identity,
            origin=Origin(source, file, ordinal, line, item),
            messages=messages,
            copies=copies,
            tools=tuple(orjson.loads(tools)) if tools else (),
            template_kwargs=orjson.loads(kwargs) if kwargs else {},
            family=family,
            facts=orjson.loads(facts) if facts else {},
        )


def _message(values: tuple[Any, ...], extra: str | None, weight: Any) -> Message:
    role, content, reasoning, calls, call_id, name = values
    if extra and content is not None:
        content = content.removesuffix(f"\n{extra}")
    if isinstance(weight, bool):
        weight = int(weight) if role == "assistant" else None
    called = tuple(_call(call) for call in orjson.loads(calls)) if calls else ()
    return Message(role, content, weight, extra, reasoning, called, call_id, name)


def _call(call: dict[str, Any]) -> ToolCall:
    return ToolCall(call["function"]["name"], orjson.loads(call["function"]["arguments"]), call["id"])


def _calls(message: Message) -> str:
    return orjson.dumps(
        [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
            }
            for call in message.tool_calls
        ]
    ).decode()


def _offsets(lengths: Sequence[int] | npt.NDArray[np.int32]) -> pa.Array:
    edges: npt.NDArray[np.int32] = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int32)
    return pa.array(edges, pa.int32())
