"""Documents cut into passages: nothing is lost, nothing is too long, headings and Chinese sentences are cuts."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataforge.records import Chat, Message, Origin, Reject, Text
from dataforge.steps import chunk
from tests.context import CONTEXT

CHARACTERS = replace(CONTEXT, token_counts=lambda texts: [len("".join(text.split())) for text in texts])
"""A tokenizer whose tokens are the characters that are no blanks."""


def text(said: str, **more: Any) -> Text:
    return Text("d" * 32, Origin("docs", "docs.jsonl", 0, 1), said, **more)


def cut(record: Text, **said: Any) -> Sequence[Text]:
    made = chunk.start("chunk", chunk.Settings(**said), CHARACTERS).take(record)
    assert not isinstance(made, Reject | Chat)
    found = made if isinstance(made, Sequence) else [made]
    assert all(isinstance(each, Text) for each in found)
    return [each for each in found if isinstance(each, Text)]


def test_paragraphs_that_fit_stand_together() -> None:
    paragraphs = ["a" * 10, "b" * 9, "c" * 15, "d" * 12]
    found = cut(text("\n\n".join(paragraphs)), max_tokens=20, min_tokens=4)
    assert [each.text for each in found] == ["a" * 10 + "\n\n" + "b" * 9, "c" * 15, "d" * 12]


def test_a_short_rest_joins_the_passage_before() -> None:
    found = cut(text("a" * 18 + "\n\n" + "b" * 3), max_tokens=20, min_tokens=4)
    assert [each.text for each in found] == ["a" * 18 + "\n\n" + "b" * 3]


def test_a_document_that_is_short_enough_stays_as_it_is() -> None:
    record = text("One sentence.", title="T")
    assert cut(record, max_tokens=20, min_tokens=0) == [record]


def test_passages_are_a_family_with_ids_and_facts_of_their_own() -> None:
    found = cut(text("a" * 18 + "\n\n" + "b" * 18, title="T", facts={"language": "en"}), max_tokens=20, min_tokens=4)
    assert [each.family for each in found] == ["d" * 32] * 2
    assert len({each.id for each in found} | {"d" * 32}) == 3
    assert [(each.title, each.facts) for each in found] == [("T", {"language": "en", "chunk": n}) for n in (0, 1)]
    assert [
        each.family for each in cut(text("a" * 18 + "\n\n" + "b" * 18, family="f"), max_tokens=20, min_tokens=4)
    ] == [
        "f",
        "f",
    ]


def test_chinese_is_cut_at_lines_and_sentences() -> None:
    said = "春天来了，河边的柳树绿了。孩子们问：“船呢？”老人笑了。\n第二天下了一场大雨，桥被水冲走了。"
    found = cut(text(said), max_tokens=20, min_tokens=2)
    assert [each.text for each in found] == [
        "春天来了，河边的柳树绿了。",
        "孩子们问：“船呢？”老人笑了。",
        "第二天下了一场大雨，桥被水冲走了。",
    ]


def test_headings_begin_passages_but_not_in_code() -> None:
    said = "# Tea\nintroduction to it\n## Kinds\nblack and green and white\n```\n# no heading\n```\n"
    said += "# Coffee\nis a berry of a bush"
    found = cut(text(said), max_tokens=60, min_tokens=8)
    assert [(each.facts["heading"], each.text.splitlines()[0]) for each in found] == [
        ("Tea", "# Tea"),
        ("Tea > Kinds", "## Kinds"),
        ("Coffee", "# Coffee"),
    ]
    whole = cut(text(said), max_tokens=200, headings=False)
    assert [each.text for each in whole] == [said]


def test_an_overlap_is_the_last_sentences_of_the_passage_before() -> None:
    said = "Aaaa bbbb. Cccc dd. Eeee ffff gggg. Hhhh iii jjj."
    found = cut(text(said), max_tokens=30, min_tokens=0, overlap=8)
    assert [each.text for each in found] == ["Aaaa bbbb. Cccc dd.", "Cccc dd. Eeee ffff gggg.", "Hhhh iii jjj."]


def test_an_empty_document_is_a_reject_and_others_pass() -> None:
    step = chunk.start("chunk", chunk.Settings(), CHARACTERS)
    refused = step.take(text(" \n"))
    assert isinstance(refused, Reject)
    assert refused.reason == "empty"
    chat = Chat("c", Origin("s", "f", 0, 1), (Message("user", "x"),))
    assert step.take(chat) is chat


def test_more_overlap_than_half_of_a_passage_is_refused() -> None:
    with pytest.raises(ValidationError, match="more than half"):
        chunk.Settings(max_tokens=20, min_tokens=0, overlap=11)


@given(st.text("ab.!? \n，。？“”天地", max_size=300), st.integers(16, 40), st.integers(0, 8))
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_or_too_long(said: str, bound: int, least: int) -> None:
    if not said.strip():
        return
    found = cut(text(said), max_tokens=bound, min_tokens=least)
    assert re.sub(r"\s", "", "".join(each.text for each in found)) == re.sub(r"\s", "", said)
    for number, each in enumerate(found):
        size = len(re.sub(r"\s", "", each.text))
        assert size <= bound + (least if number == len(found) - 1 else 0)
        assert size
