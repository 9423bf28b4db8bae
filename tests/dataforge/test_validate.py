import pytest

from dataforge.control import ControlTokens
from dataforge.records import Chat, Message, Origin, ToolCall
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
