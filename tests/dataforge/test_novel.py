"""Records that repeat an earlier one, against ROUGE-L of all pairs by the textbook's table."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.records import Chat, Message, Origin, Reject
from dataforge.rouge import common, rouge_l, token_f1
from dataforge.steps import novel
from tests.context import CONTEXT
from tests.gathering import decisions, kept, taken

ENGLISH = sorted(set((Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8").lower().split()))
WORDS = [word for word in ENGLISH if word.isalpha() and word.isascii()]
CHINESE = "春天来了河边的老磨坊还空着没有人记得桥是什么时候修好的孩子们数着小船看云慢慢飘过山顶集市开得很晚面包依旧香甜"


def chat(question: str, number: int, **more: Any) -> Chat:
    messages = (Message("user", question, **more), Message("assistant", f"Answer {number}"))
    return Chat(f"{number:032x}", Origin("corpus", "corpus.jsonl", number, number + 1), messages)


def chats(questions: Sequence[str]) -> list[Chat]:
    return [chat(question, number) for number, question in enumerate(questions)]


def gather(**said: Any) -> novel.Gather:
    return novel.start("novel", novel.Settings(**said), CONTEXT)


def table(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The longest common subsequence, cell by cell."""
    before = [0] * (len(other) + 1)
    for left in one:
        row = [0]
        for place, right in enumerate(other):
            row.append(before[place] + 1 if left == right else max(before[place + 1], row[place]))
        before = row
    return before[-1]


@given(st.lists(st.integers(0, 5), max_size=80), st.lists(st.integers(0, 5), max_size=80))
@settings(max_examples=200, deadline=None)
def test_bits_find_what_the_table_finds(one: list[int], other: list[int]) -> None:
    assert common(one, other) == table(one, other)


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        # F measures of the package rouge-score 0.1.2, `rougeL` without stemming; the Chinese ones by hand.
        ("What is the capital of France?", "what is the capital city of France", 12 / 13),
        ("the cat sat on the mat", "on the mat the cat sat", 0.5),
        ("don't stop", "Don t stop!", 1.0),
        ("a b c", "x y", 0.0),
        ("", "x", 0.0),
        ("河水为什么绿？", "河水，为什么是绿的", 12 / 14),
    ],
)
def test_rouge_l(one: str, other: str, found: float) -> None:
    assert rouge_l(one, other) == pytest.approx(found)
    assert rouge_l(other, one) == pytest.approx(found)


def test_token_f1_counts_repetitions_in_any_order() -> None:
    assert token_f1("the red red fox", "fox, the RED") == pytest.approx(6 / 7)
    assert token_f1("一九一一年", "1911年") == pytest.approx(2 / 7)
    assert token_f1("", "") == 0.0


def corpus(seed: int) -> list[str]:
    """Questions, and copies of some of them with words replaced, dropped or moved, around the bound and far from it."""
    draw = random.Random(seed)
    questions = []
    for number in range(160):
        if number % 2:
            questions.append(" ".join(draw.choices(WORDS, k=draw.randint(4, 18))))
        else:
            questions.append("".join(draw.choices(CHINESE, k=draw.randint(6, 30))))
    for base in list(questions):
        tokens = base.split() if " " in base else list(base)
        for place in draw.sample(range(len(tokens)), draw.randint(0, len(tokens) // 2)):
            tokens[place] = draw.choice(["", "zebra", "鸟", tokens[0]])
        questions.append(" ".join(filter(None, tokens)) or "nothing")
    draw.shuffle(questions)
    return questions


def cut(text: str) -> list[str]:
    """The tokens of a corpus of small letters, blanks and Chinese characters."""
    spaced = "".join(f" {character} " if character > "\u3000" else character for character in text)
    return spaced.split()


@pytest.mark.parametrize("seed", [1, 2])
def test_what_goes_is_what_all_pairs_tell(seed: int) -> None:
    questions = corpus(seed)
    tokens = [cut(question) for question in questions]
    goes: dict[int, int] = {}
    for second, right in enumerate(tokens):
        for first, left in enumerate(tokens[:second]):
            if first not in goes and 20 * table(left, right) >= 7 * (len(left) + len(right)):
                goes[second] = first
                break
    decided = decisions(gather(), chats(questions))
    assert len(goes) > 40
    found = {number: int(decision["kept"], 16) for number, decision in decided.items()}
    # The sketches may miss 3 in 100 of the pairs at the bound itself; nothing is found that is no repeat.
    assert set(found) <= set(goes)
    assert len(set(goes) - set(found)) <= 0.03 * len(goes)


def test_parts_cuts_and_threads_change_nothing() -> None:
    records = chats(corpus(3))
    whole = taken(gather(), records)
    for how in ({"sizes": [7, 90, 1]}, {"cuts": 5}, {"threads": 4, "sizes": [100] * 3, "cuts": 3}):
        assert taken(gather(), records, **how) == whole


def test_the_first_stays_and_only_likeness_to_what_stays_counts() -> None:
    chain = ["a b c d e f g h i j", "a b c d e f g x y z", "a b c d r s t x y z"]
    made = taken(gather(), chats(chain))
    assert kept(made) == [0, 2]
    assert isinstance(made[1], Reject)
    assert (made[1].reason, made[1].facts["rouge_l"], made[1].facts["repeats"]) == ("not_novel", 0.7, f"{0:032x}")
    assert "corpus.jsonl:1" in made[1].detail


def test_the_passage_of_a_question_is_not_compared() -> None:
    passage = "The ferry was built by a boatwright in the village beside the lake many years ago."
    records = [chat("Who built it?", 0, input=passage), chat("When does it sail home?", 1, input=passage)]
    assert kept(taken(gather(), records)) == [0, 1]
    assert kept(taken(gather(by="conversation"), records)) == [0]


def test_records_without_words_stay() -> None:
    assert kept(taken(gather(), chats(["", "?!", "", "word"]))) == [0, 1, 2, 3]
    assert kept(taken(gather(), [])) == []


def test_many_that_are_the_same_are_all_found() -> None:
    questions = ["which of the two boats is the older one"] * 300 + ["something else entirely is asked here today"]
    assert kept(taken(gather(), chats(questions))) == [0, 300]
