"""Answers in another style: the question stays, and so do code and numbers."""

import dataclasses

import pytest
from pydantic import ValidationError

from dataforge.llm.requests import NoReply, Request
from dataforge.records import Chat, Message, ToolCall
from dataforge.steps import rewrite
from tests.asked import Model, chat, one, origin, passage, said, same_in_any_order, took
from tests.context import CONTEXT
from tests.rows import reject

CODE = "Run `make all` twice, wait 15 minutes, and see https://example.org/help for the rest of it."
RECORD = chat("How do I build it?", CODE)
GOOD = "Aye, run ⟦0⟧ twice, wait 15 minutes, then see ⟦1⟧ for whatever is left, sailor."


def asker(**settings: object) -> rewrite.Asker:
    whole = {"llm": "writer", "style": "like an old sailor", **settings}
    return rewrite.start("rewrite", rewrite.Settings.model_validate(whole), CONTEXT)


def test_the_answer_is_rewritten_and_the_rest_stays() -> None:
    writer, step = Model(lambda request: f"**Rewritten answer:**\n{GOOD}"), asker(persona="a ship's cook")
    (made,) = took(step, [RECORD], {"writer": writer})
    assert isinstance(made, Chat)
    assert made.id == RECORD.id
    assert made.messages[0] == RECORD.messages[0]
    assert made.messages[1].text == (
        "Aye, run `make all` twice, wait 15 minutes, then see https://example.org/help for whatever is left, sailor."
    )
    assert made.facts == {"rewritten_by": "scripted", "style": "like an old sailor", "persona": "a ship's cook"}
    (request,) = writer.requests
    assert "make all" not in said(request)
    assert all(words in said(request) for words in ("How do I build it?", "⟦0⟧", "old sailor", "ship's cook"))
    assert step.noted() == {"rewritten": 1}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("!!", "empty"),
        ("I'm sorry, but I cannot help with that request.", "refused"),
        ("Aye, run it twice, wait 15 minutes, then see ⟦1⟧ for whatever is left, sailor.", "marks"),
        ("Aye, run ⟦0⟧ and ⟦0⟧, wait 15 minutes, then see ⟦1⟧ for whatever is left.", "marks"),
        ("Aye, run ⟦0⟧ and ⟦7⟧, wait 15 minutes, then see ⟦1⟧ for whatever is left.", "marks"),
        ("先运行⟦0⟧两次，等15分钟，其余的请看⟦1⟧。", "wrong_language"),
        ("Run ⟦0⟧ ⟦1⟧.", "too_short"),
        (GOOD + " Aye, aye, and once more." * 12, "too_long"),
        ("Aye, run ⟦0⟧ twice, wait 50 minutes, then see ⟦1⟧ for whatever is left, sailor.", "numbers"),
        ("Aye, run ⟦0⟧ twice, wait a while, then see ⟦1⟧ for whatever is left, sailor.", "numbers"),
        ("Aye, run ⟦0⟧ twice, wait 15 minutes on 30 knots, then see ⟦1⟧ for the rest.", "numbers"),
    ],
)
def test_what_does_not_pass_is_asked_for_once_more_and_then_rejected(reply: str, reason: str) -> None:
    writer, step = Model(lambda request: reply), asker()
    (made,) = took(step, [RECORD], {"writer": writer})
    assert reject(made).reason == reason
    assert reject(made).detail.startswith("message 2: ")
    assert [request.sample for request in writer.requests] == [0, 1]
    assert step.noted() == {reason: 1}
    mended = one(asker(), RECORD, lambda request: GOOD if request.sample else reply)
    assert isinstance(mended, Chat)


def test_what_the_door_gives_up_is_not_asked_for_again() -> None:
    writer = Model(lambda request: NoReply("truncated", "ended at 64 tokens"))
    (made,) = took(asker(), [RECORD], {"writer": writer})
    assert (reject(made).reason, reject(made).detail) == ("truncated", "message 2: ended at 64 tokens")
    assert len(writer.requests) == 1


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("It has 3 legs and a lid.", "Three legs has she, and a lid."),
        ("It has three legs and a lid.", "She has 3 legs and a lid."),
        ("锅有3条腿，还有一个盖子。", "这口锅，腿有三条，盖有一个。"),
        ("The town has 12,500 people.", "In that town live 12500 people."),
        ("1. Boil it.\n2. Eat it.", "First boil it, then eat it."),
        ("It boils at 100 degrees, at 100 exactly.", "At 100 degrees it boils."),
    ],
)
def test_numbers_may_be_written_in_another_way(answer: str, reply: str) -> None:
    made = one(asker(), chat("Tell me of it.", answer), lambda request: reply)
    assert isinstance(made, Chat), made


def test_numbers_may_be_let_go() -> None:
    made = one(
        asker(numbers=False), chat("Tell me.", "It took 1400 years or so."), lambda request: "It took ages, aye."
    )
    assert isinstance(made, Chat)


def test_every_trained_answer_is_rewritten_and_shown_what_was_said_before() -> None:
    call = Message("assistant", None, tool_calls=(ToolCall("look", {}, "c"),))
    messages = (
        *(Message("system", "Be kind."), Message("user", "One?"), Message("assistant", "Number one it is.")),
        *(Message("user", "Two?"), Message("assistant", "Number two, shown only.", 0)),
        *(Message("user", "Look."), call, Message("tool", "seen", tool_call_id="c")),
        Message("assistant", "It has been seen by all."),
    )
    record = Chat("long", origin(), messages, tools=({"name": "look"},))
    writer = Model(
        lambda request: "Number one, aye." if "seen by all" not in said(request) else "All have seen it, aye."
    )
    (made,) = took(asker(), [record], {"writer": writer})
    assert isinstance(made, Chat)
    changed = [at for at, message in enumerate(made.messages) if message != messages[at]]
    assert changed == [2, 8]
    assert [message.content for message in (made.messages[2], made.messages[8])] == [
        "Number one, aye.",
        "All have seen it, aye.",
    ]
    assert "Number one it is." in said(writer.requests[1]), "as it was before any rewriting"


def test_an_answer_that_comes_back_as_it_was_is_counted() -> None:
    step = asker()
    made = one(step, chat("Well?", "All is well here."), lambda request: "All is well here.")
    assert isinstance(made, Chat)
    assert step.noted() == {"unchanged": 1}


def test_chinese_answers_are_asked_for_in_chinese() -> None:
    writer = Model(lambda request: "哎，先把面团放上⟦0⟧，再等30分钟。")
    record = chat("面团怎样发酵？", "把面团放在`盆`里，再等待30分钟。")
    (made,) = took(asker(style="像老师傅说话"), [record], {"writer": writer})
    assert isinstance(made, Chat)
    assert made.messages[1].text == "哎，先把面团放上`盆`，再等30分钟。"
    assert "请改写" in said(writer.requests[0])


def test_others_pass_and_something_must_be_asked_for() -> None:
    untrained = dataclasses.replace(RECORD, messages=(RECORD.messages[0], Message("assistant", "No.", 0)))
    for record in (passage("A text."), untrained):
        writer = Model(lambda request: GOOD)
        assert took(asker(), [record], {"writer": writer}) == [record]
        assert writer.requests == []
    with pytest.raises(ValidationError, match="give `style:`"):
        rewrite.Settings(llm="writer")


def test_the_order_of_replies_does_not_matter() -> None:
    def reply(request: Request) -> str:
        number = said(request).split("Number ")[1].split(" ")[0]
        return f"Aye, Number {number} is {'many' if request.sample else 'sorry'}, all in all."

    records = [chat("Tell me.", f"Number {number} is one of many.") for number in range(13, 30)]
    same_in_any_order(asker, records, reply)
