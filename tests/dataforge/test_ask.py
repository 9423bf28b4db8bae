"""Questions about passages, from replies as models give them: what is kept, what is refused, and in which words."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dataforge.errors import TemplateError
from dataforge.llm.requests import Ask, NoReply, Reply, Request
from dataforge.quotes import stands_in
from dataforge.records import Chat, Message, Origin, Record, Reject, Text
from dataforge.request_templates import RequestTemplate, builtin
from dataforge.self_contained import leans_on_passage, leans_on_talk
from dataforge.steps import ask
from tests.context import CONTEXT

ENGLISH = Text(
    "e" * 32,
    Origin("docs", "docs.jsonl", 0, 1),
    "The ferry crosses Heron Lake. It was built in 1911 by Edda Marlow, who gave it a flat bottom because the lake is"
    " only two metres deep.",
    title="The Lantern Ferry",
    facts={"attribution": "https://lake.example"},
)
CHINESE = Text(
    "c" * 32,
    Origin("docs", "docs.jsonl", 1, 2),
    "水磨建于一八七三年，由木匠沈松年设计。最大的木轮用“老槐木”做成，因为槐木泡在水里\n不容易变形。",
    facts={"language": "zh"},
)
WHO = {
    "question": "Who built the ferry on Heron Lake?",
    "answer": "Edda Marlow",
    "evidence": "built in 1911 by Edda Marlow",
}
WHEN = {
    "question": "In which year was the Heron Lake ferry made?",
    "answer": "1911",
    "evidence": "It was built in 1911",
}
WOOD = {"question": "石桥镇水磨的木轮为什么用槐木？", "answer": "因为不容易变形", "evidence": "槐木泡在水里不容易变形"}


def answering(*items: Any, again: str | NoReply = "Edda Marlow", seen: list[Request] | None = None) -> Ask:
    """A model that writes these items to every passage, and one answer to every question."""

    async def asked(request: Request) -> Reply | NoReply:
        if seen is not None:
            seen.append(request)
        assert request.schema is not None
        if "answer" in request.schema["properties"]:
            return again if isinstance(again, NoReply) else Reply(again, {"answer": again}, model="m-2")
        return Reply("text", {"items": list(items)}, model="m-1")

    return asked


def take(record: Record, model: Ask, **said: Any) -> list[Record | Reject]:
    step = ask.start("ask", ask.Settings(llm="writer", **said), CONTEXT)
    made = asyncio.run(step.take(record, {"writer": model, "other": model}))
    return list(made) if isinstance(made, Sequence) else [made]


def reasons(made: Sequence[Record | Reject]) -> list[str]:
    return [each.reason if isinstance(each, Reject) else "kept" for each in made]


def test_a_question_becomes_a_conversation_about_its_passage() -> None:
    (chat,) = take(ENGLISH, answering(WHO))
    assert isinstance(chat, Chat)
    passage = f"The Lantern Ferry\n{ENGLISH.text}"
    assert chat.messages == (Message("user", WHO["question"], input=passage), Message("assistant", "Edda Marlow"))
    assert chat.family == ENGLISH.id
    assert chat.facts == {
        "attribution": "https://lake.example",
        "task": "ask",
        "style": "fact",
        "language": "en",
        "evidence": [WHO["evidence"]],
        "model": "m-1",
    }


def test_the_passage_may_be_left_out() -> None:
    (chat,) = take(ENGLISH, answering(WHO), with_passage=False)
    assert isinstance(chat, Chat)
    assert chat.messages[0] == Message("user", WHO["question"])


@pytest.mark.parametrize(
    ("change", "said", "reason"),
    [
        ({}, {}, "kept"),
        ({"question": ""}, {}, "malformed"),
        ({"answer": 1911}, {}, "malformed"),
        ({"question": "Who?"}, {"question_chars": (5, 99)}, "length"),
        ({"answer": "Edda Marlow " * 400}, {}, "length"),
        ({"question": "谁造了赫伦湖上的渡船？"}, {}, "language"),
        ({"answer": "埃达·马洛"}, {}, "language"),
        ({"answer": "埃达·马洛"}, {"same_language": False}, "kept"),
        ({"question": "Who built the ferry in this passage?"}, {}, "not_self_contained"),
        ({"question": "Who built the ferry in this passage?"}, {"self_contained": False}, "kept"),
        ({"answer": "According to the text, Edda Marlow"}, {}, "not_self_contained"),
        ({"question": "Did Edda Marlow build the ferry?"}, {}, "answer_in_question"),
        ({"question": "Did Edda Marlow build the ferry?"}, {"leaks": False}, "kept"),
        ({"evidence": "built in 1912 by Edda Marlow"}, {}, "no_evidence"),
        ({"evidence": "“Built in 1911\nby Edda Marlow...”"}, {}, "kept"),
        ({"evidence": ""}, {}, "no_evidence"),
        ({"evidence": "a"}, {}, "no_evidence"),
        ({"evidence": ""}, {"evidence": False}, "kept"),
    ],
)
def test_every_filter_has_its_reason(change: Mapping[str, Any], said: Mapping[str, Any], reason: str) -> None:
    made = take(ENGLISH, answering({**WHO, **change}), **said)
    assert reasons(made) == [reason]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "kept"),
        ({"question": "上文中的木轮为什么用槐木？"}, "not_self_contained"),
        ({"question": "它为什么用槐木做木轮？"}, "not_self_contained"),
        ({"question": "根据材料，木轮为什么用槐木？"}, "not_self_contained"),
        ({"question": "Why are the wheels made of that wood?"}, "language"),
        ({"evidence": "最大的木轮用「老槐木」做成,"}, "kept"),
        ({"evidence": "槐木泡在油里不容易变形"}, "no_evidence"),
        ({"question": "槐木是因为不容易变形才用的吗？"}, "answer_in_question"),
    ],
)
def test_chinese_is_filtered_alike(change: Mapping[str, Any], reason: str) -> None:
    assert reasons(take(CHINESE, answering({**WOOD, **change}))) == [reason]


def test_what_a_reply_lacks_is_told() -> None:
    async def prose(request: Request) -> Reply:
        return Reply("Sure! Here are questions.", {"questions": []})

    (refused,) = take(ENGLISH, prose)
    assert isinstance(refused, Reject)
    assert refused.reason == "malformed"
    assert "Sure! Here are questions." in refused.detail
    assert reasons(take(ENGLISH, answering())) == ["malformed"]
    assert reasons(take(ENGLISH, answering("Who?", None, WHO))) == ["malformed", "malformed", "kept"]


@pytest.mark.parametrize("reason", ["truncated", "refused", "unparsable", "failed"])
def test_no_reply_is_a_reject_for_its_style(reason: Any) -> None:
    async def silent(request: Request) -> NoReply:
        return NoReply(reason, "after 512 tokens")

    made = take(ENGLISH, silent, styles=["fact", "why"])
    assert reasons(made) == [reason, reason]
    assert len({each.id for each in made}) == 2
    assert [each.facts["style"] for each in made if isinstance(each, Reject)] == ["fact", "why"]


def test_answers_that_differ_when_asked_again_go() -> None:
    seen: list[Request] = []
    said = {"round_trip": "other"}
    assert reasons(take(ENGLISH, answering(WHO, again="edda marlow.", seen=seen), **said)) == ["kept"]
    assert [request.temperature for request in seen] == [None, 0.0]
    assert WHO["question"] in seen[1].messages[-1]["content"]
    assert "Edda Marlow" not in seen[1].messages[-1]["content"].replace(ENGLISH.text, "")
    assert reasons(take(ENGLISH, answering(WHO, again="the council of Oswin"), **said)) == ["round_trip"]
    assert reasons(take(ENGLISH, answering(WHO, again="It was Edda Marlow"), agree=1.0, **said)) == ["round_trip"]
    assert reasons(take(ENGLISH, answering(WHO, again=NoReply("truncated", "x")), **said)) == ["truncated"]
    # What failed before is not asked again.
    seen.clear()
    take(ENGLISH, answering({**WHO, "evidence": "not there at all"}, seen=seen), **said)
    assert len(seen) == 1


def test_repeats_about_a_passage_go_across_styles() -> None:
    made = take(ENGLISH, answering(WHO, WHEN, {**WHO, "question": "Who built the ferry on the Heron Lake?"}), n=3)
    assert reasons(made) == ["kept", "kept", "repeat"]
    assert reasons(take(ENGLISH, answering(WHO), styles=["fact", "plain"])) == ["kept", "repeat"]
    assert reasons(take(ENGLISH, answering(WHO), styles=["fact", "plain"], near=None)) == ["kept", "kept"]


def test_no_more_than_were_asked_for_are_taken() -> None:
    step = ask.start("ask", ask.Settings(llm="writer", n=1), CONTEXT)
    made = asyncio.run(step.take(ENGLISH, {"writer": answering(WHO, WHEN)}))
    assert isinstance(made, list)
    assert reasons(made) == ["kept"]
    assert step.noted() == {"written": 2, "beyond_n": 1, "kept": 1}


def test_later_questions_of_a_conversation_may_lean_on_earlier_ones() -> None:
    later = {"question": "When was it made?", "answer": "In 1911", "evidence": WHEN["evidence"]}
    (chat,) = take(ENGLISH, answering({"turns": [WHO, later]}), styles=["multi_turn"])
    assert isinstance(chat, Chat)
    assert [message.role for message in chat.messages] == ["user", "assistant"] * 2
    assert [bool(message.input) for message in chat.messages] == [True, False, False, False]
    assert chat.facts["evidence"] == [WHO["evidence"], WHEN["evidence"]]
    assert reasons(take(ENGLISH, answering({"turns": [later, WHO]}), styles=["multi_turn"])) == ["not_self_contained"]
    wrong = {**later, "evidence": "made in 1912"}
    assert reasons(take(ENGLISH, answering({"turns": [WHO, wrong]}), styles=["multi_turn"])) == ["no_evidence"]
    assert reasons(take(ENGLISH, answering({"turns": [WHO]}), styles=["multi_turn"])) == ["malformed"]


def test_a_conversation_is_answered_again_turn_by_turn() -> None:
    seen: list[Request] = []
    later = {"question": "When was it made?", "answer": "Edda Marlow knows", "evidence": WHEN["evidence"]}
    made = take(ENGLISH, answering({"turns": [WHO, later]}, seen=seen), styles=["multi_turn"], round_trip="other")
    assert reasons(made) == ["kept"]
    first, second = (request.messages[-1]["content"].replace(ENGLISH.text, "") for request in seen[1:])
    assert WHO["question"] in first
    assert "Edda Marlow" not in first
    assert "Edda Marlow" in second
    assert later["answer"] not in second


def test_the_order_of_replies_changes_nothing() -> None:
    def delayed(seed: int) -> Ask:
        draw = random.Random(seed)

        async def asked(request: Request) -> Reply | NoReply:
            await asyncio.sleep(draw.random() / 50)
            return await answering(WHO, WHEN, {**WHO, "evidence": "no"})(request)

        return asked

    said = {"styles": ["fact", "plain", "why"], "n": 3, "round_trip": "other", "agree": 0.01}
    found = [take(ENGLISH, delayed(seed), **said) for seed in range(4)]
    assert reasons(found[0]).count("kept") == 1
    assert all(other == found[0] for other in found)


def test_what_became_of_questions_is_counted() -> None:
    step = ask.start("ask", ask.Settings(llm="writer"), CONTEXT)
    asyncio.run(step.take(ENGLISH, {"writer": answering(WHO, WHEN, {**WHO, "evidence": "nowhere at all"})}))
    assert step.noted() == {"written": 3, "kept": 2, "no_evidence": 1}
    assert step.noted() == {}


def test_other_records_pass_without_a_request() -> None:
    chat = Chat("x", ENGLISH.origin, (Message("user", "Hello"),))
    seen: list[Request] = []
    assert take(chat, answering(seen=seen)) == [chat]
    assert not seen


def test_a_passage_is_told_to_the_model_in_its_language() -> None:
    seen: list[Request] = []
    for record in (ENGLISH, CHINESE, replace(CHINESE, facts={})):
        take(record, answering(seen=seen), styles=["plain"], n=1)
    take(ENGLISH, answering(seen=seen), styles=["plain"], n=1, language="zh")
    asked = [request.messages[-1]["content"] for request in seen]
    assert ["请你为这段内容生成一个合理的问题" in text for text in asked] == [False, True, True, True]
    assert all(record.text in text for record, text in zip((ENGLISH, CHINESE, CHINESE, ENGLISH), asked, strict=True))


def test_every_style_has_prompts_in_both_languages_and_no_other_is_there() -> None:
    there = {path.name.removesuffix(".jinja") for path in builtin("ask", "ask").glob("*.jinja")}
    assert there == {f"{name}.{language}" for name in (*ask.STYLES, "round_trip") for language in ask.LANGUAGES}
    for style in ask.STYLES:
        for language in ask.LANGUAGES:
            template = RequestTemplate(builtin("ask", "ask") / f"{style}.{language}.jinja")
            system, user = template.messages(passage="PASSAGE", title="", n=7, turns=4)
            assert "JSON" in system["content"]
            assert all(word in system["content"] for word in ("question", "answer", "evidence", "items"))
            assert "PASSAGE" in user["content"]
            assert "7" in user["content"]
            assert ("turns" in system["content"]) == (style == "multi_turn")


def test_a_folder_of_ones_own_wins(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/fact.en.jinja").write_text("{% block user %}Mine: {{ passage }}{% endblock %}", "utf-8")
    seen: list[Request] = []
    said = ask.Settings(llm="writer", prompts=Path("mine"))
    step = ask.start("ask", said, replace(CONTEXT, folder=tmp_path))
    asyncio.run(step.take(ENGLISH, {"writer": answering(WHO, seen=seen)}))
    assert seen[0].messages == ({"role": "user", "content": f"Mine: {ENGLISH.text}"},)
    assert tmp_path / "mine/fact.en.jinja" in ask.reads(said, tmp_path)
    (tmp_path / "mine/fact.en.jinja").write_text("{% block user %}{{ passage", "utf-8")
    with pytest.raises(TemplateError, match=r"fact\.en\.jinja:1"):
        ask.start("ask", said, replace(CONTEXT, folder=tmp_path))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="names one twice"):
        ask.Settings(llm="w", styles=["fact", "fact"])  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="longer than the longest"):
        ask.Settings(llm="w", answer_chars=(9, 3))
    assert ask.models(ask.Settings(llm="w", round_trip="v")) == ("w", "v")
    assert ask.models(ask.Settings(llm="w", round_trip="w")) == ("w",)


@pytest.mark.parametrize(
    "said",
    [
        "What does the passage above say of tea?",
        "According to the text, who built it?",
        "Based on the given information in the article, who won?",
        "What does the author think?",
        "As described above, when was it?",
        "上文提到的桥在哪里？",
        "这段话的主要内容是什么？",
        "根据文中的描述，谁来了？",
        "作者认为什么最重要？",
        "请根据以上材料回答",
    ],
)
def test_words_that_point_at_a_passage(said: str) -> None:
    assert leans_on_passage(said)


@pytest.mark.parametrize(
    "said",
    [
        "What is a text editor?",
        "Who is the author of Hamlet?",
        "Which birds fly above the lake?",
        "How is context passed in Go?",
        "Who dies in the story of Hamlet?",
        "What is a secure passage through ice?",
        "日本文化有什么特点？",
        "中文系的学生学什么？",
        "如何写一篇好文章？",
        "《红楼梦》的作者是谁？",
    ],
)
def test_words_that_do_not(said: str) -> None:
    assert leans_on_passage(said) is None
    assert leans_on_talk(said) is None


@pytest.mark.parametrize(
    "said", ["Why did it sink?", "What is this made of?", "它为什么沉了？", "这座桥有多长？", "“他是谁？”"]
)
def test_questions_that_begin_with_what_was_said(said: str) -> None:
    assert leans_on_talk(said)


@pytest.mark.parametrize("said", ["What is the tide?", "Is iron heavy?", "那不勒斯在哪里？", "其他颜色有哪些？"])
def test_questions_that_do_not(said: str) -> None:
    assert leans_on_talk(said) is None


@pytest.mark.parametrize(
    ("quotation", "text", "found"),
    [
        ('"a flat\nbottom"', "gave it a  Flat bottom.", True),
        ("\u2018don\u2019t go\u2019", "He said \u201cDon't go\u201d.", True),
        ("水，很冷。", "水,很冷.", True),
        ("\uff21\uff22\uff23\u3000\uff11\uff12", "abc 12", True),
        ("a flat bottom", "a flat, bottom", False),
        ("...", "...", False),
        ("", "text", False),
    ],
)
def test_a_quotation_stands_in_a_text(quotation: str, text: str, found: bool) -> None:
    assert stands_in(quotation, text) is found


BAD = {"answer": "Edda Marlow", "evidence": "built in 1912"}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({**BAD, "question": "上文中Edda Marlow造了什么船，在哪里造的，用什么造的？", "answer": ""}, "malformed"),
        (
            {**BAD, "question": "上文中Edda Marlow造了什么船，在哪里造的，用什么造的，为什么要这样造，又是给谁造的？"},
            "length",
        ),
        ({**BAD, "question": "上文中Edda Marlow造了什么船，在哪里造的？"}, "language"),
        ({**BAD, "question": "Is Edda Marlow in the text?"}, "not_self_contained"),
        ({**BAD, "question": "Is it so that Edda Marlow did?"}, "not_self_contained"),
        ({**BAD, "question": "Did Edda Marlow build it?"}, "answer_in_question"),
        ({**BAD, "question": "Who built the ferry?"}, "no_evidence"),
        ({**WHO, "question": "Who built the ferry?"}, "round_trip"),
    ],
)
def test_what_several_filters_would_drop_goes_by_the_first_in_their_order(item: Mapping[str, Any], reason: str) -> None:
    """Each fails the filter that is named and most of those after it; both are the same, so the last would drop one."""
    model = answering(item, item, again="nobody knows")
    made = take(ENGLISH, model, question_chars=(4, 35), round_trip="other", n=2)
    assert reasons(made) == [reason, reason]
