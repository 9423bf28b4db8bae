"""What is taken from a reply as the JSON that was asked for, and what is not."""

import json
from typing import Any

import pytest

from dataforge import question_replies
from dataforge.llm import completions
from dataforge.llm.completions import NotJsonError
from dataforge.llm.requests import NoReply, Reply
from dataforge.verdicts import PAIRWISE_SCHEMA, SCORE_SCHEMA

WHO = {"question": "Who built it?", "answer": "Edda Marlow", "evidence": "built by Edda Marlow"}
WHEN = {"question": "When?", "answer": "1911", "evidence": "built in 1911"}
ONE, TWO = question_replies.schema(1), question_replies.schema(2)
WHOLE = json.dumps({"items": [WHO]})


def read(text: str, schema: Any, finish: str = "stop") -> Reply | NoReply:
    message = {"role": "assistant", "content": text}
    return completions.read({"choices": [{"message": message, "finish_reason": finish}]}, schema, "key")


def data(text: str, schema: Any) -> Any:
    reply = read(text, schema)
    assert isinstance(reply, Reply)
    return reply.data


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        f"```json\n{WHOLE}\n```",
        f"Sure! Here it is:\n{WHOLE}\nIs there more that you need?",
        f"{WHOLE} I took {{Edda Marlow}} from the first line.",
        f"{WHOLE}}}",
        json.dumps([WHO]),
        json.dumps(WHO),
        json.dumps({"items": WHO}),
        '{"items": [' + json.dumps(WHO) + "}]}",
        f"<think>One question, {{so}} one item.</think>\n{WHOLE}",
    ],
    ids=["whole", "fence", "talk", "braces_after", "one_too_many", "list", "item", "no_list", "unmatched", "thought"],
)
def test_one_question_is_read_in_whatever_way_it_is_wrapped(text: str) -> None:
    assert data(text, ONE) == {"items": [WHO]}


def test_items_one_after_another_are_a_list() -> None:
    assert data(f"{json.dumps(WHO)}\n{json.dumps(WHEN)}", TWO) == {"items": [WHO, WHEN]}


def test_more_than_was_asked_for_is_left_to_the_step() -> None:
    assert data(json.dumps({"items": [WHO, WHEN]}), ONE) == {"items": [WHO, WHEN]}
    more = {**WHO, "difficulty": "easy"}
    assert data(json.dumps({"items": [more]}), ONE) == {"items": [more]}


def test_what_is_sent_is_as_strict_as_it_was() -> None:
    before = json.dumps(TWO)
    data(json.dumps([WHO, WHEN, WHO]), TWO)
    assert json.dumps(TWO) == before


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("Who built it? Edda Marlow.", ONE),
        ("{}", ONE),
        ("[]", ONE),
        ('{"items": []}', ONE),
        ('{"items": [{"question": "Who?", "answer": "Edda"}]}', ONE),
        ('{"items": ["Who?"]}', ONE),
        ('{"items": [{"question": "Who?", "answer": "Edda", "evidence": "built by', ONE),
        ("{" * 5_000, ONE),
        (WHOLE, question_replies.schema(1, turns=2)),
        ('{"verdict": "A"}', PAIRWISE_SCHEMA),
        ('{"reason": "", "verdict": "both"}', PAIRWISE_SCHEMA),
        ('{"reason": "", "verdict": "A"} or {"reason": "", "verdict": "B"}', PAIRWISE_SCHEMA),
        ('[{"reason": "", "verdict": "A"}, {"reason": "", "verdict": "A"}]', PAIRWISE_SCHEMA),
        ('{"reason": "good", "score": 9}', SCORE_SCHEMA),
    ],
)
def test_what_is_not_what_was_asked_for_is_refused(text: str, schema: Any) -> None:
    with pytest.raises(NotJsonError):
        read(text, schema)


def test_a_verdict_said_twice_is_one() -> None:
    said = '{"reason": "short", "verdict": "B"}'
    assert data(f"{said} As I said: {said}", PAIRWISE_SCHEMA) == {"reason": "short", "verdict": "B"}


def test_a_reply_that_was_cut_off_stays_none_even_where_an_item_is_whole() -> None:
    reply = read('{"items": [' + json.dumps(WHO) + ', {"question": "When was', TWO, finish="length")
    assert isinstance(reply, NoReply)
    assert reply.reason == "truncated"
