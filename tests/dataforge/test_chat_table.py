"""Conversations go through Arrow and Parquet and come back as they were, to the order of keys."""

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataforge import chat_table
from dataforge.records import Chat, Message, Origin, ToolCall

UNTIMED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test fails because a machine is slow."""
TEXTS = st.one_of(
    st.sampled_from(["", "\n", "hello", "你是谁？", "👩‍🚀 e\u0301", "a\n\nb", "<|im_end|>", "\x00", "\ue000"]),
    st.text(max_size=12),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
MAYBE = st.none() | TEXTS
CALLS = st.builds(ToolCall, TEXTS, OBJECTS, MAYBE)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    content=MAYBE,
    weight=st.sampled_from([None, 0, 1]),
    input=MAYBE,
    reasoning=MAYBE,
    tool_calls=st.lists(CALLS, max_size=3).map(tuple),
    tool_call_id=MAYBE,
    name=MAYBE,
)
CHATS = st.builds(
    Chat,
    id=st.uuids().map(lambda number: number.hex),
    origin=st.builds(Origin, TEXTS, TEXTS, st.integers(0, 2**63 - 1), st.integers(1, 2**63 - 1)),
    messages=st.lists(MESSAGES, max_size=4).map(tuple),
    copies=st.integers(1, 2**31 - 1),
    tools=st.lists(OBJECTS, max_size=3).map(tuple),
    template_kwargs=OBJECTS,
)


def through_parquet(table: pa.Table) -> pa.Table:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return pq.read_table(io.BytesIO(sink.getvalue()))


def spelled(chat: Chat) -> str:
    """All of a conversation as text, in which the order of keys and the kinds of numbers show."""
    return json.dumps(dataclasses.asdict(chat))


def weighed(chat: Chat, flags: list[bool]) -> Chat:
    """The conversation whose answers have the weights that say the same as the flags."""
    return dataclasses.replace(
        chat,
        messages=tuple(
            dataclasses.replace(message, weight=(1 if flag else 0) if message.role == "assistant" else None)
            for message, flag in zip(chat.messages, flags, strict=True)
        ),
    )


@UNTIMED
@given(st.lists(CHATS, max_size=4))
def test_conversations_on_their_way_come_back_as_they_were(chats: list[Chat]) -> None:
    table = chat_table.to_table(chats)
    table.validate(full=True)
    assert table.schema.equals(chat_table.CHATS)
    again = list(chat_table.from_table(through_parquet(table)))
    assert [spelled(chat) for chat in again] == [spelled(chat) for chat in chats]


@UNTIMED
@given(st.lists(CHATS, max_size=4), st.data())
def test_conversations_of_a_build_come_back_with_the_weights_that_say_the_same(chats: list[Chat], data: Any) -> None:
    flags = [[data.draw(st.booleans()) for _ in chat.messages] for chat in chats]
    trained = np.array([flag for of_chat in flags for flag in of_chat], dtype=np.uint8)
    table = through_parquet(chat_table.to_records(chat_table.to_table(chats), trained))
    table.validate(full=True)
    assert table.schema.equals(chat_table.RECORDS)
    expected = [weighed(chat, of_chat) for chat, of_chat in zip(chats, flags, strict=True)]
    assert [spelled(chat) for chat in chat_table.from_table(table)] == [spelled(chat) for chat in expected]
    assert table.column("trained").to_pylist() == flags


@UNTIMED
@given(st.lists(CHATS, min_size=3, max_size=5))
def test_a_slice_of_a_table_holds_its_own_conversations(chats: list[Chat]) -> None:
    table = chat_table.to_table(chats)
    expected = [spelled(chat) for chat in chats]
    assert [spelled(chat) for chat in chat_table.from_table(table.slice(1, 2))] == expected[1:3]
    kept = table.filter(pa.array([number != 1 for number in range(len(chats))]))
    assert [spelled(chat) for chat in chat_table.from_table(kept)] == [*expected[:1], *expected[2:]]


def test_the_order_of_keys_stays() -> None:
    call = ToolCall("f", {"z": {"b": 1, "a": [{"y": 0, "x": 1.0}]}, "a": None})
    message = Message("assistant", None, tool_calls=(call,))
    tools = ({"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}},)
    chat = Chat(
        "r", Origin("s", "f", 0, 1), (Message("user", "q"), message), tools=tools, template_kwargs={"b": 1, "a": 2}
    )
    (again,) = chat_table.from_table(through_parquet(chat_table.to_table([chat])))
    assert list(again.messages[1].tool_calls[0].arguments["z"]) == ["b", "a"]
    assert list(again.tools[0]["function"]) == ["name", "description", "parameters"]
    assert list(again.template_kwargs) == ["b", "a"]


def test_what_people_read_has_the_input_in_the_content() -> None:
    chat = Chat(
        "r", Origin("s", "f", 0, 1), (Message("user", "translate", input="你好"), Message("assistant", "hello"))
    )
    table = chat_table.to_records(chat_table.to_table([chat]), np.array([0, 1], dtype=np.uint8))
    (row,) = table.to_pylist()
    assert [message["content"] for message in row["messages"]] == ["translate\n你好", "hello"]
    assert row["inputs"] == ["你好", None]
