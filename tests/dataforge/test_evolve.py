"""Instructions that become harder or broader, and the rules by which they are dropped."""

import dataclasses

import pytest

from dataforge import components
from dataforge.llm.requests import NoReply, Request
from dataforge.records import Chat, Message, Prompt
from dataforge.steps import evolve
from tests.asked import Answer, Model, chat, listed, one, origin, passage, reasons, said, same_in_any_order, took
from tests.context import CONTEXT

RECORD = chat("How do I keep bread fresh?", "In a linen bag.", source="own")
LONG = "Keep it in a linen bag inside a wooden box, cut side down, and toast what has gone dry after three days."
MARKS = {
    "constraints": "Add one requirement",
    "deepen": "Ask for more",
    "concretise": "Put something specific",
    "reasoning": "cannot be answered in one step",
    "broaden": "wholly new one",
    "compare": "You compare two instructions",
}


def asker(**settings: object) -> evolve.Asker:
    return evolve.start("evolve", evolve.Settings.model_validate({"llm": "writer", **settings}), CONTEXT)


def asked_for(request: Request) -> str:
    """Which request it is."""
    return next((name for name, mark in MARKS.items() if mark in said(request)), "answer")


def model(new: str | NoReply, compared: str | NoReply = "DIFFERENT", answer: str | NoReply = LONG) -> Answer:
    def reply(request: Request) -> str | NoReply:
        kind = asked_for(request)
        return answer if kind == "answer" else compared if kind == "compare" else new

    return reply


HARDER = "How do I keep bread fresh for a week in a damp kitchen without a freezer?"


def test_a_harder_instruction_is_answered_and_stands_after_the_record() -> None:
    writer = Model(model(f"New instruction: {HARDER}"))
    step = asker(operations=["constraints"])
    (made,) = took(step, [RECORD], {"writer": writer})
    first, second = listed(made)
    assert first == RECORD
    assert isinstance(second, Chat)
    assert [message.text for message in second.messages] == [HARDER, LONG]
    assert second.facts == {
        **{"source": "own", "evolved_from": RECORD.id, "operation": "constraints", "round": 1},
        "written_by": "scripted",
    }
    assert (second.family, second.id != RECORD.id) == (RECORD.id, True)
    assert [asked_for(request) for request in writer.requests] == ["constraints", "compare", "answer"]
    assert writer.requests[-1].messages == ({"role": "user", "content": HARDER},)
    assert step.noted() == {"constraints": 1}


@pytest.mark.parametrize("operation", ["constraints", "deepen", "concretise", "reasoning", "broaden"])
def test_each_operation_asks_for_its_own(operation: str) -> None:
    writer = Model(model(HARDER))
    took(asker(operations=[operation]), [RECORD], {"writer": writer})
    assert asked_for(writer.requests[0]) == operation
    assert (operation == "broaden") == ("compare" not in map(asked_for, writer.requests))


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        (model("?!"), "says_nothing"),
        (model("But how is it?"), "says_nothing"),
        (model("的 了 吗？"), "says_nothing"),
        (model("Answer the rewritten prompt about keeping bread fresh."), "leaked"),
        (model("#Rewritten Prompt#: keep bread fresh, but how, for a week?"), "leaked"),
        (model("回答改写后的指令：怎样保存面包？"), "leaked"),
        (model("how do I keep  bread fresh?"), "unchanged"),
        (model("怎样在潮湿的厨房里把面包保存一个星期？"), "wrong_language"),
        (model(HARDER, "EQUAL"), "no_gain"),
        (model(HARDER, "They differ a lot."), "no_verdict"),
        (model(HARDER, NoReply("failed", "502")), "failed"),
        (model(HARDER, answer="I'm sorry, but I can't help with that."), "refused"),
        (model(HARDER, answer="Sorry, there is no bread that keeps so long."), "refused"),
        (model(HARDER, answer="As an AI language model, I do not eat bread."), "refused"),
        (model(HARDER, answer="-- ... --"), "empty_answer"),
        (model(HARDER, answer=NoReply("truncated", "512 tokens")), "truncated"),
        (model(NoReply("refused", "content filter")), "refused"),
    ],
)
def test_each_rule_drops_what_it_is_for(replies: Answer, reason: str) -> None:
    step = asker(operations=["deepen"])
    made = listed(one(step, RECORD, replies))
    assert made[0] == RECORD
    assert reasons(made) == [reason]
    assert step.noted() == {reason: 1}


def test_a_long_answer_with_an_apology_is_no_refusal() -> None:
    answer = "Bread that is dry is a sorry sight. " + LONG * 5
    assert reasons(listed(one(asker(operations=["deepen"]), RECORD, model(HARDER, answer=answer)))) == []


def test_words_of_the_request_that_the_record_held_are_no_leak() -> None:
    record = chat("What is a given prompt in a theatre?", "The word that helps an actor on.")
    harder = "What is a given prompt in a theatre, and who gave it before there was a box for that?"
    assert reasons(listed(one(asker(operations=["deepen"]), record, model(harder)))) == []


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("DIFFERENT", True),
        ("Different.", True),
        ("**EQUAL**", False),
        ("The second asks for a limit.\nDIFFERENT", True),
        ("不同。", True),
        ("相同", False),
        ("NOT EQUAL", None),
        ("EQUAL or DIFFERENT", None),
        ("", None),
    ],
)
def test_a_verdict_is_one_word_or_none(reply: str, found: bool | None) -> None:
    assert evolve.verdict(reply) is found


def test_each_round_begins_with_what_the_last_good_one_made() -> None:
    def reply(request: Request) -> str:
        text = said(request)
        if asked_for(request) == "answer":
            return LONG
        if asked_for(request) == "compare":
            return "EQUAL" if "second turn" in text else "DIFFERENT"
        if "first turn" not in text:
            return "How do I keep bread fresh at the first turn?"
        return "How about the third turn of it?" if request.sample == 2 else "How about the second turn of it?"

    writer = Model(reply)
    (made,) = took(asker(rounds=3, operations=["deepen"]), [RECORD], {"writer": writer})
    assert [type(each).__name__ for each in listed(made)] == ["Chat", "Chat", "Reject", "Chat"]
    last = listed(made)[-1]
    assert isinstance(last, Chat)
    assert (last.messages[0].text, last.facts["round"]) == ("How about the third turn of it?", 3)
    rewrites = [said(request) for request in writer.requests if asked_for(request) == "deepen"]
    assert ["first turn" in text for text in rewrites] == [False, True, True]


def test_a_chinese_record_is_told_in_chinese_and_answered_under_its_system_message() -> None:
    messages = (
        Message("system", "你是面包师。"),
        Message("user", "面包怎样保存？", input="全麦面包"),
        Message("assistant", "装布袋。"),
    )
    record = Chat("zh", origin(), messages, facts={"language": "zh"})
    writer = Model(lambda request: "不同" if "请比较" in said(request) else "全麦面包在夏天怎样保存一个星期？")
    (made,) = took(asker(operations=["concretise"]), [record], {"writer": writer})
    assert reasons(made) == []
    assert "面包怎样保存？\n全麦面包" in said(writer.requests[0])
    assert [message["role"] for message in writer.requests[-1].messages] == ["system", "user"]
    evolved = listed(made)[1]
    assert isinstance(evolved, Chat)
    assert evolved.messages[0] == messages[0]


def test_prompts_evolve_too_and_others_pass() -> None:
    prompt = Prompt("p", origin(), (Message("user", "How do I keep bread fresh?"),))
    made = listed(one(asker(operations=["deepen"]), prompt, model(HARDER)))
    assert [type(each).__name__ for each in made] == ["Prompt", "Chat"]
    long = dataclasses.replace(RECORD, messages=RECORD.messages * 2)
    for record in (passage("A text."), long):
        assert one(asker(), record, model(HARDER)) == record


def test_another_model_may_answer() -> None:
    settings = evolve.Settings(llm="writer", answerer="strong")
    assert components.models("evolve", settings) == ("writer", "strong")
    strong = Model(model(HARDER))
    (made,) = took(asker(answerer="strong", keep=False), [RECORD], {"writer": Model(model(HARDER)), "strong": strong})
    assert [type(each).__name__ for each in listed(made)] == ["Chat"]
    assert [asked_for(request) for request in strong.requests] == ["answer"]


def test_operations_are_drawn_evenly_and_by_name() -> None:
    records = [chat(f"What is {number} and {number}?", f"It is {2 * number}.") for number in range(300)]
    first, second = Model(model("?")), Model(model("?"))
    took(asker(), records, {"writer": first})
    took(asker(), records[::-1], {"writer": second})
    assert [said(request) for request in first.requests] == [said(request) for request in second.requests[::-1]]
    counts = [sum(asked_for(request) == name for request in first.requests) for name in list(MARKS)[:5]]
    assert min(counts) > 30
    assert sum(counts) == 300


def test_the_order_of_replies_does_not_matter() -> None:
    def reply(request: Request) -> str:
        number = sum(said(request).encode())
        return (
            ("EQUAL" if number % 3 else "DIFFERENT") if asked_for(request) == "compare" else f"Tell of number {number}."
        )

    records = [chat(f"What is {number} and {number}?", f"It is {2 * number}.") for number in range(12)]
    same_in_any_order(lambda: asker(rounds=3), records, reply)
