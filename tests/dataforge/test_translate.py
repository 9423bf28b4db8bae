"""Records in another language: what comes back, what is checked, and what stays."""

from collections.abc import Mapping

import pytest

from dataforge import translations
from dataforge.llm.requests import NoReply, Request
from dataforge.records import Chat, Example, Message, Preference, Prompt, Ranking, Record, Reply, Text, ToolCall
from dataforge.steps import translate
from tests.asked import Answer, Model, chat, listed, one, origin, passage, reasons, said, same_in_any_order, took
from tests.context import CONTEXT
from tests.rows import reject

QUESTION = "How do I build the old mill?"
ANSWER = "First run `make mill`, wait 15 minutes, and then read https://example.org/mill for the rest."
WORDS = {
    QUESTION: "旧磨坊怎么建？",
    "First run ⟦0⟧, wait 15 minutes, and then read ⟦1⟧ for the rest.": "先运行⟦0⟧，等15分钟，其余的请看⟦1⟧。",
    "No, I do not think so.": "不，我不这么认为。",
    "Ask the miller, he knows.": "问磨工，他知道。",
    "The user is asking about the mill.": "用户在问磨坊的事。",
    "You are a kind miller.": "你是一位和善的磨工。",
}
RECORD = chat(QUESTION, ANSWER)


def asker(to: str = "zh", **settings: object) -> translate.Asker:
    whole = {"llm": "writer", "to": to, **settings}
    return translate.start("translate", translate.Settings.model_validate(whole), CONTEXT)


def text_of(request: Request) -> str:
    """What is to be translated."""
    content = request.messages[-1]["content"]
    for tag in ("text", "原文"):
        if f"<{tag}>" in content:
            return content.split(f"<{tag}>\n")[1].split(f"\n</{tag}>")[0]
    raise AssertionError(content)


def dictionary(words: Mapping[str, str] = WORDS) -> Answer:
    return lambda request: words[text_of(request)]


def always(reply: str) -> Answer:
    return lambda request: reply


def test_a_conversation_is_translated_and_what_must_stay_stays() -> None:
    writer, step = Model(dictionary()), asker()
    (made,) = took(step, [RECORD], {"writer": writer})
    assert isinstance(made, Chat)
    assert [message.text for message in made.messages] == [
        "旧磨坊怎么建？",
        "先运行`make mill`，等15分钟，其余的请看https://example.org/mill。",
    ]
    assert made.facts == {"language": "zh", "translated_from": "en", "translated_by": "scripted"}
    assert made.id != RECORD.id
    assert made.family == RECORD.id
    assert not any("make mill" in said(request) for request in writer.requests)
    assert step.noted() == {"translated": 1}


def test_every_kind_with_messages_is_translated() -> None:
    question = (Message("system", "You are a kind miller."), Message("user", QUESTION))
    no, ask_him = Message("assistant", "No, I do not think so."), Message("assistant", "Ask the miller, he knows.")
    thoughtful = Message("assistant", no.content, reasoning="The user is asking about the mill.")
    tree = Reply(no, rank=1, replies=(Reply(Message("user", "Ask the miller, he knows."), score=3.0),))
    records: list[Record] = [
        Prompt("p", origin(), question),
        Preference("f", origin(), question, (ask_him,), (thoughtful,), margin=2.0),
        Ranking("r", origin(), question, (Reply(ask_him, rank=0), tree)),
        Text("t", origin(), "Ask the miller, he knows.", QUESTION),
    ]
    prompt, preference, ranking, text = took(asker(), records, {"writer": Model(dictionary())})
    assert isinstance(prompt, Prompt)
    assert [message.text for message in prompt.messages] == ["你是一位和善的磨工。", "旧磨坊怎么建？"]
    assert isinstance(preference, Preference)
    assert preference.prompt == prompt.messages
    assert [side[0].content for side in (preference.chosen, preference.rejected)] == [
        "问磨工，他知道。",
        "不，我不这么认为。",
    ]
    assert (preference.rejected[0].reasoning, preference.margin) == ("用户在问磨坊的事。", 2.0)
    assert isinstance(ranking, Ranking)
    assert [reply.message.content for reply in ranking.replies] == ["问磨工，他知道。", "不，我不这么认为。"]
    assert (ranking.replies[1].replies[0].message.content, ranking.replies[1].rank) == ("问磨工，他知道。", 1)
    assert isinstance(text, Text)
    assert (text.title, text.text) == ("旧磨坊怎么建？", "问磨工，他知道。")


def test_calls_and_results_of_tools_stay() -> None:
    call = Message("assistant", None, tool_calls=(ToolCall("look", {"place": "the old mill"}, "c"),))
    result = Message("tool", "It is the old mill of the town.", tool_call_id="c")
    record = Chat(
        "c", origin(), (Message("user", QUESTION), call, result, Message("assistant", "No, I do not think so."))
    )
    made = one(asker(), record, dictionary())
    assert isinstance(made, Chat)
    assert made.messages[1:3] == (call, result)
    assert made.messages[3].content == "不，我不这么认为。"


def test_a_text_that_occurs_twice_is_asked_for_once_and_code_alone_is_not() -> None:
    code = "```\nprint('hello')\n```"
    record = Chat("c", origin(), (*RECORD.messages, Message("user", QUESTION), Message("assistant", code)))
    writer = Model(dictionary())
    (made,) = took(asker(), [record], {"writer": writer})
    assert isinstance(made, Chat)
    assert made.messages[3].content == code
    assert len(writer.requests) == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (" ", "empty"),
        ("I'm sorry, but I cannot help with that request.", "refused"),
        ("先运行它，等15分钟，其余的请看⟦1⟧。", "marks"),
        ("先运行⟦0⟧再运行⟦0⟧，等15分钟，其余的请看⟦1⟧。", "marks"),
        ("First run ⟦0⟧, wait 15 minutes, and then read ⟦1⟧ for the rest.", "untranslated"),
        ("先运行⟦0⟧，等15分钟，and then read ⟦1⟧ for the rest.", "untranslated"),
        ("先运行⟦0⟧，等15分钟, and then read this one ⟦1⟧ for the rest of it all, please do", "untranslated"),
        ("まず⟦0⟧を実行し、15分待ってから、残りは⟦1⟧をお読みください。よろしくお願いします。", "untranslated"),
        ("先运行⟦0⟧，等一会儿，其余的请看⟦1⟧。", "numbers"),
        ("# 步骤\n先运行⟦0⟧，等15分钟，其余的请看⟦1⟧。", "markdown"),
    ],
)
def test_what_does_not_pass_is_asked_for_once_more_and_then_rejected(reply: str, reason: str) -> None:
    def model(request: Request) -> str:
        return WORDS[text_of(request)] if "⟦0⟧" not in text_of(request) else reply

    writer, step = Model(model), asker()
    (made,) = took(step, [RECORD], {"writer": writer})
    assert reject(made).reason == reason
    assert sorted(request.sample for request in writer.requests) == [0, 0, 1]
    assert step.noted() == {reason: 1, "tries that did not pass": 2}
    mended = one(asker(), RECORD, lambda request: WORDS[text_of(request)] if request.sample else model(request))
    assert isinstance(mended, Chat)


@pytest.mark.parametrize(
    ("question", "reply", "reason"),
    [
        ("请把下面的英文句子翻译成中文。", "Please translate 下面的英文句子 into Chinese.", "untranslated"),
        ("磨坊冬天为什么停工？", "磨坊冬天为什么停工？", "untranslated"),
        ("磨坊在哪里？", "Where is 在哪里？", "untranslated"),
        ("磨坊冬天为什么停工？", "冬季磨坊停工的原因是什么呢", "untranslated"),
        (
            "磨坊冬天为什么停工？",
            "Pourquoi le moulin s'arrête-t-il en hiver, quand la rivière est gelée et que rien ne "
            "bouge plus dans toute la vallée jusqu'au printemps suivant ?",
            "untranslated",
        ),
        ("磨坊在1984年停工，到2001年才重新开工。", "The mill stopped in 1984 and opened again later.", "numbers"),
        ("- 磨坊\n- 河湾", "The mill and the bend of the river", "markdown"),
        ("磨坊冬天为什么停工？", "Why does the mill stand still in winter?", None),
        ("“磨坊”用英语怎么说？", "How do you say “磨坊” in English?", None),
    ],
)
def test_from_chinese_into_english(question: str, reply: str, reason: str | None) -> None:
    made = one(asker("en"), Prompt("p", origin(), (Message("user", question),)), always(reply))
    if reason is None:
        assert isinstance(made, Prompt), made
        assert made.messages[0].content == reply
        assert made.facts["translated_from"] == "zh"
    else:
        assert reject(made).reason == reason


def test_an_answer_in_place_of_a_translation_is_told_by_its_length() -> None:
    record = Prompt(
        "p",
        origin(),
        (
            Message(
                "user",
                "Write a long story of many pages about the miller and his mill, "
                "his donkey, his three sons, and the cat that the youngest of them got.",
            ),
        ),
    )
    made = one(asker(), record, always("从前有一个磨坊主，他有三个儿子、一座磨坊、一头驴和一只猫。" * 8))
    assert reject(made).reason == "length"


def test_terms_are_told_where_they_occur_and_looked_for() -> None:
    terms = {"learning rate": "学习率", "mill": "磨坊"}
    record = Prompt("p", origin(), (Message("user", "What is a good Learning Rate for a millionaire?"),))
    writer = Model(always("对百万富翁来说，合适的学习率是多少？"))
    (made,) = took(asker(terms=terms), [record], {"writer": writer})
    assert isinstance(made, Prompt)
    assert "learning rate = 学习率" in said(writer.requests[0])
    assert "磨坊" not in said(writer.requests[0])
    assert reject(one(asker(terms=terms), record, always("对百万富翁来说，合适的学习速度是多少？"))).reason == "term"


def test_long_texts_go_paragraph_by_paragraph_and_come_back_whole() -> None:
    paragraphs = [
        f"This is the paragraph of number {number} " + "and so on and on " * 9 + "to its end."
        for number in range(20, 28)
    ]
    text = (
        "\n\n".join(paragraphs[:4])
        + "\n\n```\ncode\n\n\n"
        + "x = 1\n" * 200
        + "```\n\n"
        + "\n\n\n".join(paragraphs[4:])
    )

    def model(request: Request) -> str:
        lines = [
            line.split("number ")[1][:2] if line and "⟦" not in line else line for line in text_of(request).split("\n")
        ]
        return "\n".join(
            f"这是第{line}段，" + "如此这般，" * 9 + "到此为止。" if line.isdecimal() else line for line in lines
        )

    writer = Model(model)
    (made,) = took(asker(longest=450), [passage(text)], {"writer": writer})
    assert isinstance(made, Text), made
    assert made.text.count("\n\n\n") == text.count("\n\n\n")
    assert [line[3:5] for line in made.text.split("\n") if line.startswith("这是")] == [str(n) for n in range(20, 28)]
    assert "```\ncode\n\n\n" + "x = 1\n" * 200 + "```" in made.text
    assert len(writer.requests) == 4
    assert all(len(text_of(request)) <= 450 for request in writer.requests)
    assert "<前文>" not in said(writer.requests[0])
    assert "<前文>" in said(writer.requests[1])


@pytest.mark.parametrize("longest", [1, 7, 40, 1000])
def test_parts_are_the_text_again(longest: int) -> None:
    text = "One two. Three four!\nFive.\n\n\nSix 七八。九十。十一！\n\n" + "x" * 50 + "\n"
    found = translations.parts(text, longest)
    assert "".join(found) == text
    assert all(len(part) <= max(longest, 52) for part in found)
    assert (len(found) == 1) == (longest == 1000)


def test_what_is_in_the_language_already_passes_and_so_do_examples() -> None:
    example = Example("e", origin(), "nli", {"premise": "It rains."}, "en")
    record = chat("旧磨坊怎么建？", "先问磨工，他知道。")
    writer, step = Model(dictionary()), asker()
    told = chat("mlll grf?", "prrt.", language="zh-Hans")
    assert took(step, [record, example, told], {"writer": writer}) == [record, example, told]
    assert writer.requests == []
    assert step.noted() == {"passed": 3}


def test_the_original_may_stay() -> None:
    made = listed(one(asker(keep=True), RECORD, dictionary()))
    assert made[0] == RECORD
    assert isinstance(made[1], Chat)
    failed = listed(one(asker(keep=True), RECORD, lambda request: NoReply("truncated", "64 tokens")))
    assert failed[0] == RECORD
    assert reasons(failed) == ["truncated"]
    assert len({each.id for each in failed}) == 2


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("zh", "请把英语译成简体中文"),
        ("de", "You translate from English into German"),
        ("Klingon", "into Klingon"),
        ("Chinese", "译成简体中文"),
        ("zh-TW", "译成繁体中文"),
    ],
)
def test_languages_are_named_in_the_language_of_the_request(to: str, told: str) -> None:
    writer = Model(always("?"))
    took(asker(to), [RECORD], {"writer": writer})
    assert told in said(writer.requests[0])


def test_the_order_of_replies_does_not_matter() -> None:
    def model(request: Request) -> str:
        number = text_of(request).split("number ")[1].split(" ")[0]
        return f"第{number}个是许多个之一。" if int(number) % 3 or request.sample else "不知道。"

    records = [chat(f"Tell me of number {n} please.", f"It is number {n + 50} of many.") for n in range(20, 40)]
    same_in_any_order(asker, records, model)
