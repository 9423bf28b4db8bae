from typing import Any

import pytest

from dataforge.control import ControlTokens
from dataforge.records import Chat, Message, Origin, Preference, ToolCall
from dataforge.validate import Gate

CONTROL = ControlTokens(["<|im_end|>", "<s>"])
GATE = Gate(CONTROL, CONTROL)
USER, ANSWER = Message("user", "q"), Message("assistant", "a")


def reason(*messages: Message) -> str | None:
    reject = GATE.check(Chat("r", Origin("s", "f", 0, 1), messages))
    return reject.reason if reject else None


def test_a_question_and_its_answer_pass() -> None:
    assert reason(USER, ANSWER) is None
    assert reason(Message("system", "s"), USER, ANSWER, USER, ANSWER) is None


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((), "no_messages"),
        ((ANSWER,), "no_question"),
        ((Message("system", "s"), ANSWER), "no_question"),
        ((Message("system", "s"),), "no_question"),
        ((USER,), "no_answer"),
        ((USER, Message("assistant", " \n")), "empty_message"),
        ((Message("user", ""), ANSWER), "empty_message"),
        ((Message("user", "say <|im_end|> now"), ANSWER), "control_token"),
        ((USER, Message("assistant", "<s>")), "control_token"),
        ((USER, Message("assistant", "a", reasoning="<s>")), "control_token"),
        ((USER, Message("assistant", None, tool_calls=(ToolCall("f", {"a": [{"b": "<s>"}]}),))), "control_token"),
        ((Message("developer", "d"), ANSWER), "no_question"),
        ((USER, Message("assistant", None)), "empty_message"),
    ],
)
def test_each_rule_rejects_what_it_forbids(messages: tuple[Message, ...], expected: str) -> None:
    assert reason(*messages) == expected


def test_something_like_a_control_token_is_plain_text() -> None:
    assert reason(Message("user", "<|im_en|> < s >"), ANSWER) is None


def test_a_tokenizer_without_control_tokens_has_none_to_forbid() -> None:
    assert Gate(ControlTokens([])).check(Chat("r", Origin("s", "f", 0, 1), (USER, ANSWER))) is None


def test_an_answer_may_bring_the_marks_of_a_thought_and_a_question_may_not() -> None:
    gate = Gate(ControlTokens(["<s>", "<think>"]), CONTROL)
    chat = Chat("r", Origin("s", "f", 0, 1), (USER, Message("assistant", "<think>hm")))
    assert gate.check(chat) is None
    assert gate.check(Chat("r", chat.origin, (Message("user", "<think>"), ANSWER))) is not None


def test_calls_systems_and_tools_may_say_nothing() -> None:
    call = Message("assistant", None, tool_calls=(ToolCall("f", {}),))
    assert reason(Message("system", ""), USER, call, Message("tool", ""), ANSWER) is None


SYSTEM, RESULT = Message("system", "s"), Message("tool", "r", tool_call_id="c1")
CALLS = Message("assistant", None, tool_calls=(ToolCall("add", {"a": 1, "b": 2}, "c1"),))
TOOL = {"name": "add", "parameters": {"properties": {"a": {}, "b": {}}, "required": ["a", "b"]}}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((USER, USER, ANSWER), "same_role"),
        ((USER, ANSWER, ANSWER), "same_role"),
        ((SYSTEM, SYSTEM, USER, ANSWER), "same_role"),
        ((USER, ANSWER, SYSTEM, SYSTEM, USER, ANSWER), "same_role"),
        ((SYSTEM, Message("developer", "d"), USER, ANSWER), None),
        ((USER, ANSWER, SYSTEM, USER, ANSWER), None),
        ((USER, ANSWER, CALLS, RESULT, ANSWER), None),
        ((USER, CALLS, CALLS, RESULT, RESULT, ANSWER), None),
        ((USER, CALLS), None),
        ((USER, CALLS, USER, ANSWER), None),
        ((USER, RESULT, ANSWER), "tool_without_call"),
        ((RESULT, ANSWER), "tool_without_call"),
        ((USER, ANSWER, RESULT, ANSWER), None),  # the call may stand in the text
        ((USER, ANSWER, RESULT, USER, CALLS, RESULT, ANSWER), "tool_without_call"),
        ((USER, CALLS, USER, RESULT, ANSWER), "tool_without_call"),
        ((USER, CALLS, Message("tool", "r", tool_call_id="c2"), ANSWER), "unknown_call_id"),
        ((USER, CALLS, Message("tool", "r"), ANSWER), None),
        ((Message("wizard", "q"), ANSWER), "bad_role"),  # type: ignore[arg-type]
        ((Message("user", "a\0b"), ANSWER), "bad_text"),
        ((Message("user", "一\ud83d"), ANSWER), "bad_text"),
        ((Message("user", "😀 一"), ANSWER), None),
        ((USER, Message("assistant", "a", reasoning="\udc00")), "bad_text"),
        ((USER, Message("assistant", None, tool_calls=(ToolCall("f", {"a": ["\0"]}),))), "bad_text"),
    ],
)
def test_who_speaks_when_and_what_can_be_written(messages: tuple[Message, ...], expected: str | None) -> None:
    assert reason(*messages) == expected


@pytest.mark.parametrize(
    ("tools", "call", "expected"),
    [
        ((TOOL,), ToolCall("add", {"a": 1, "b": None}), None),
        (({"type": "function", "function": TOOL},), ToolCall("add", {"a": 1, "b": 2, "c": 3}), None),
        ((TOOL,), ToolCall("sub", {"a": 1, "b": 2}), "unknown_tool"),
        ((TOOL,), ToolCall("add", {"a": 1}), "missing_argument"),
        (({"name": "add"},), ToolCall("add", {}), None),
        ((), ToolCall("sub", {}), None),
    ],
)
def test_calls_are_of_the_tools_that_there_are(tools: Any, call: ToolCall, expected: str | None) -> None:
    chat = Chat("r", Origin("s", "f", 0, 1), (USER, Message("assistant", None, tool_calls=(call,))), tools=tools)
    reject = GATE.check(chat)
    assert (reject.reason if reject else None) == expected


OTHER = Message("assistant", "b")


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "expected"),
    [
        ((USER,), (ANSWER,), (OTHER,), None),
        ((USER, ANSWER, USER), (ANSWER,), (OTHER, USER, ANSWER), "several_messages"),
        ((USER,), (ANSWER,), (Message("assistant", " a\n", weight=1),), "same_answers"),
        (
            (USER,),
            (CALLS,),
            (Message("assistant", "", tool_calls=(ToolCall("add", {"b": 2, "a": 1}),)),),
            "same_answers",
        ),
        ((USER,), (ANSWER,), (Message("assistant", "a", reasoning="hm"),), None),
        ((), (ANSWER,), (OTHER,), "no_prompt"),
        ((USER, ANSWER), (ANSWER,), (OTHER,), "no_prompt"),
        ((USER,), (USER, ANSWER), (OTHER,), "other_prompt"),
        ((USER,), (ANSWER,), (), "other_prompt"),
        ((USER,), (ANSWER,), (OTHER, USER), "several_messages"),
        ((USER,), (Message("assistant", " "),), (OTHER,), "empty_message"),
        ((USER,), (ANSWER,), (Message("assistant", "<s>"),), "control_token"),
    ],
)
def test_both_sides_of_a_preference_are_sound_and_differ(
    prompt: tuple[Message, ...], chosen: tuple[Message, ...], rejected: tuple[Message, ...], expected: str | None
) -> None:
    reject = GATE.check_preference(Preference("p", Origin("s", "f", 0, 1), prompt, chosen, rejected))
    assert (reject.reason if reject else None) == expected
    assert reject is None or reject.detail
