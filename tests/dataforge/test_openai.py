from typing import Any

import pytest

from dataforge.records import Chat, Message, Origin, Reject, Row, ToolCall
from dataforge.sources import openai

USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def converted(*messages: Any, **columns: Any) -> Chat | Reject:
    row = Row("r", Origin("s", "f", 0, 1), {"messages": list(messages), **columns})
    return openai.convert(row, openai.Settings())


def chat(*messages: Any, **columns: Any) -> Chat:
    found = converted(*messages, **columns)
    assert isinstance(found, Chat), found
    return found


def call(arguments: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


def test_a_conversation_keeps_roles_weights_and_names() -> None:
    found = chat({"role": "developer", "content": "d"}, {**USER, "name": "Bo"}, {**ANSWER, "weight": 0})
    assert found.messages == (
        Message("developer", "d"),
        Message("user", "q", name="Bo"),
        Message("assistant", "a", weight=0),
    )


@pytest.mark.parametrize("arguments", [{"city": "巴黎"}, '{"city": "巴黎"}'])
def test_arguments_are_an_object_or_json_text(arguments: Any) -> None:
    found = chat(USER, call(arguments), {"role": "tool", "tool_call_id": "1", "content": "sun"})
    assert found.messages[1] == Message("assistant", None, tool_calls=(ToolCall("f", {"city": "巴黎"}, "1"),))
    assert found.messages[2] == Message("tool", "sun", tool_call_id="1")


def test_the_older_function_call_is_a_tool_call() -> None:
    old = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    found = chat(USER, old, {"role": "function", "name": "f", "content": "sun"})
    assert found.messages[1].tool_calls == (ToolCall("f", {}),)
    assert found.messages[2].role == "tool"


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_kept_apart_whatever_it_is_called(key: str) -> None:
    assert chat(USER, {**ANSWER, key: "so"}).messages[1].reasoning == "so"


def test_parts_of_text_become_one_text() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert chat({"role": "user", "content": parts}, ANSWER).messages[0].content == "one\ntwo"


def test_tools_and_keywords_are_objects_or_json_text() -> None:
    for tools, kwargs in (
        ([{"type": "function"}], {"enable_thinking": False}),
        ('[{"type": "function"}]', '{"enable_thinking": false}'),
    ):
        found = chat(USER, ANSWER, tools=tools, chat_template_kwargs=kwargs)
        assert found.tools == ({"type": "function"},)
        assert found.template_kwargs == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("messages", "columns", "reason"),
    [
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER], {}, "not_text"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}, ANSWER], {}, "not_text"),
        ([{"role": "human", "content": "q"}, ANSWER], {}, "bad_role"),
        (["q", ANSWER], {}, "bad_message"),
        ([USER, {**ANSWER, "weight": 0.5}], {}, "bad_weight"),
        ([USER, {**ANSWER, "content": 7}], {}, "bad_content"),
        ([USER, {**ANSWER, "audio": {"id": "x"}}], {}, "unknown_key"),
        ([USER, call("{")], {}, "bad_arguments"),
        ([USER, call([1])], {}, "bad_arguments"),
        ([USER, {**ANSWER, "tool_calls": [{"function": {}}]}], {}, "bad_tool_calls"),
        ([{**USER, "tool_calls": call({})["tool_calls"]}, ANSWER], {}, "bad_tool_calls"),
        ([USER, ANSWER], {"tools": "no json"}, "bad_tools"),
        ([USER, ANSWER], {"tools": ["f"]}, "bad_tools"),
        ([USER, ANSWER], {"chat_template_kwargs": 1}, "bad_chat_template_kwargs"),
    ],
)
def test_what_has_another_shape_is_a_reject(messages: list[Any], columns: dict[str, Any], reason: str) -> None:
    found = converted(*messages, **columns)
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_a_part_that_is_no_text_is_named() -> None:
    found = converted({"role": "user", "content": [{"type": "image_url"}]}, ANSWER)
    assert isinstance(found, Reject)
    assert "'image_url'" in found.detail


def test_a_record_without_messages_names_what_it_has() -> None:
    found = openai.convert(Row("r", Origin("s", "f", 0, 1), {"text": "x"}), openai.Settings())
    assert isinstance(found, Reject)
    assert "there are 'text'" in found.detail
