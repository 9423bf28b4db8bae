"""Instructions written back from texts: what is kept, and what each filter is for."""

import dataclasses
from pathlib import Path

import pytest

from dataforge import components
from dataforge.errors import TemplateError
from dataforge.llm.requests import NoReply, Request
from dataforge.records import Chat
from dataforge.steps import instruct_back
from tests.asked import Answer, Model, chat, one, passage, reasons, said, same_in_any_order, took
from tests.context import CONTEXT
from tests.rows import reject

HERONS = passage(
    "Herons stand still in shallow water and wait for fish. They strike faster than a person can blink, and they "
    "swallow what they catch whole, head first, so that the fins lie flat.",
    title="Herons",
)
MILL = passage("磨坊建在河湾的外侧，那里水流最急。冬天河面结冰，水轮停转，磨工便修理石磨，等到开春再开工。")


def asker(**settings: object) -> instruct_back.Asker:
    return instruct_back.start("back", instruct_back.Settings.model_validate({"llm": "writer", **settings}), CONTEXT)


def model(instruction: str | NoReply, rating: str | NoReply = "Fine.\n\nScore: 5") -> Answer:
    def answer(request: Request) -> str | NoReply:
        rates = "Score: N" in said(request) or "评分：N" in said(request)
        return rating if rates else instruction

    return answer


def test_a_text_answers_the_instruction_that_was_written_for_it() -> None:
    made = one(asker(), HERONS, model('**Instruction:** "How do herons catch and eat fish?"', "Good.\n**Score: 5**"))
    assert isinstance(made, Chat)
    assert [message.text for message in made.messages] == ["How do herons catch and eat fish?", HERONS.text]
    assert made.facts == {"written_by": "scripted", "rating": 5}
    assert made.id != HERONS.id
    assert made.family == HERONS.id


def test_a_chinese_text_is_told_in_chinese() -> None:
    writer = Model(model("磨坊为什么冬天停工？", "回答完整。\n评分：5"))
    (made,) = took(asker(), [MILL], {"writer": writer})
    assert isinstance(made, Chat)
    assert all("Reply with" not in said(request) and "请" in said(request) for request in writer.requests)
    assert MILL.text in said(writer.requests[0])


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("...", "no_instruction"),
        ("I'm sorry, but I cannot help with that request.", "refused"),
        ("苍鹭是怎样捕鱼的？", "wrong_language"),
        ("Summarise the text above about herons.", "refers_to_text"),
        ("According to the passage, how do herons eat?", "refers_to_text"),
        ("Why do herons swallow what they catch whole, head first, so that the fins lie flat?", "gives_answer_away"),
        (NoReply("truncated", "ended at 512 tokens"), "truncated"),
    ],
)
def test_cheap_filters_come_before_the_rating(instruction: str | NoReply, reason: str) -> None:
    writer, step = Model(model(instruction)), asker()
    (made,) = took(step, [HERONS], {"writer": writer})
    assert reject(made).reason == reason
    assert len(writer.requests) == 1
    assert step.noted() == {reason: 1}
    assert step.noted() == {}


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Clear and full.\nScore: 4", 4),
        ("Clear.\n\n**Score:** 3\n", 3),
        ("清楚。\n评分：5分", 5),
        ("Score: 2/5", 2),
        ("Score: 5\nBut it could be shorter.", None),
        ("It would be Score: 5", None),
        ("Score: 6", None),
        ("Score: 4.5", None),
        ("Score: 10/10", None),
        ("5", None),
        ("", None),
    ],
)
def test_a_rating_is_the_last_line_or_none(reply: str, rating: int | None) -> None:
    assert instruct_back.rating(reply) == rating


def test_what_is_rated_too_low_or_not_at_all_is_rejected_and_ratings_are_counted() -> None:
    def answer(request: Request) -> str:
        text = said(request)
        if "Score: N" not in text:
            return f"Please say something of number {text.split('number ')[1][0]}."
        return {"1": "Score: 5", "2": "Score: 4", "3": "Score: 3", "4": "Great!"}[text.split("number ")[1][0]]

    step = asker(min_rating=4)
    made = took(
        step, [passage(f"Of number {number} one says a lot.") for number in (1, 2, 3, 4)], {"writer": Model(answer)}
    )
    assert [type(each).__name__ for each in made] == ["Chat", "Chat", "Reject", "Reject"]
    assert [reason for each in made for reason in reasons(each)] == ["low_rating", "no_rating"]
    assert step.noted() == {"low_rating": 1, "no_rating": 1, "rated 3": 1, "rated 4": 1, "rated 5": 1}


def test_another_model_may_rate() -> None:
    settings = instruct_back.Settings(llm="writer", rater="judge")
    assert components.models("instruct_back", settings) == ("writer", "judge")
    judge = Model(model("", "Score: 5"))
    (made,) = took(
        asker(rater="judge"), [HERONS], {"writer": Model(model("How do herons eat?", "Score: 1")), "judge": judge}
    )
    assert isinstance(made, Chat)
    assert len(judge.requests) == 1


def test_other_records_pass_and_nothing_is_asked() -> None:
    record, writer = chat("Hello?", "Hello."), Model(model("?"))
    assert took(asker(), [record], {"writer": writer}) == [record]
    assert writer.requests == []


def test_the_order_of_replies_does_not_matter() -> None:
    records = [passage(f"Of thing number {number} one can say that it is one of many.") for number in range(12)]
    same_in_any_order(asker, records, lambda request: f"Score: {3 + len(said(request)) % 3}")


def test_own_requests_win_by_name_and_a_broken_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "write.en.jinja").write_text("{% block user %}Own words: {{ text }}{% endblock %}")
    context = dataclasses.replace(CONTEXT, folder=tmp_path)
    settings = instruct_back.Settings(llm="writer", prompts=Path("mine"))
    writer = Model(model("How do herons eat?"))
    took(instruct_back.start("back", settings, context), [HERONS], {"writer": writer})
    assert writer.requests[0].messages == ({"role": "user", "content": f"Own words: {HERONS.text}"},)
    listed = components.reads("instruct_back", settings, tmp_path)
    assert tmp_path / "mine" / "write.en.jinja" in listed
    assert {"rate.en.jinja", "rate.zh.jinja", "write.en.jinja", "write.zh.jinja"} <= {path.name for path in listed}
    (tmp_path / "mine" / "write.en.jinja").write_text("{% block user %}{{ text }")
    with pytest.raises(TemplateError, match=r"write\.en\.jinja"):
        instruct_back.start("back", settings, context)
