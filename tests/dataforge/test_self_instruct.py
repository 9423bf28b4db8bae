"""Tasks made up from seeds: what is shown, how replies are read, and what each filter is for."""

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from dataforge.errors import InputError
from dataforge.instruction_filters import CHINESE_KEYWORDS, ENGLISH_KEYWORDS, Keywords, Task, fault
from dataforge.llm.requests import NoReply, Request
from dataforge.records import Chat, Message, Record, Reject, derived_id
from dataforge.steps import novel, self_instruct
from tests.asked import Model, chat, listed, one, origin, passage, reasons, said, same_in_any_order, took
from tests.context import CONTEXT
from tests.gathering import taken

SEEDS = Path(__file__).parents[2] / "samples/corpora/seed_tasks.jsonl"
SEED = chat("Why is salt put on icy roads?", "Salt water freezes at a lower temperature.")
CHINESE_SEED = chat("为什么刚出炉的面包要放凉以后再切？", "放凉以后组织变得结实，切面才整齐。")
KEYWORDS = Keywords([*ENGLISH_KEYWORDS, *CHINESE_KEYWORDS])
REPLY = """Here are the tasks:

###
Instruction: Name three uses of an empty jam jar.
Input: <noinput>
Output: Keep screws in it, grow cress in it, or shake a salad dressing in it.
###
1. **Instruction:** Shorten this sentence without losing its sense.
**Input:** The reason why the ferry was late was because of the fog that there was.
**Output:** The ferry was late because of fog.

### Task 3
Instruction: Explain to a child what an echo is.
Output: A sound that comes back to you from a wall or a hill.
"""


def asker(**settings: object) -> self_instruct.Asker:
    whole = {"llm": "writer", "path": SEEDS, **settings}
    return self_instruct.start("tasks", self_instruct.Settings.model_validate(whole), CONTEXT)


def block(instruction: str, output: str = "So it is, and so it was.", given: str = "<noinput>") -> str:
    return f"###\nInstruction: {instruction}\nInput: {given}\nOutput: {output}\n"


def questions(made: Sequence[Record | Reject]) -> list[str]:
    return [each.messages[0].text for each in made if isinstance(each, Chat)]


def test_tasks_are_read_as_models_write_them() -> None:
    step = asker()
    made = listed(one(step, SEED, lambda request: REPLY))
    assert made[0] == SEED
    found = [each for each in made[1:] if isinstance(each, Chat)]
    assert [each.messages for each in found] == [
        (
            Message("user", "Name three uses of an empty jam jar."),
            Message("assistant", "Keep screws in it, grow cress in it, or shake a salad dressing in it."),
        ),
        (
            Message(
                "user",
                "Shorten this sentence without losing its sense.",
                input="The reason why the ferry was late was because of the fog that there was.",
            ),
            Message("assistant", "The ferry was late because of fog."),
        ),
        (
            Message("user", "Explain to a child what an echo is."),
            Message("assistant", "A sound that comes back to you from a wall or a hill."),
        ),
    ]
    assert [each.facts["round"] for each in found] == [1, 1, 1]
    assert {each.family for each in found} == {SEED.id}
    assert len({each.id for each in made}) == 4
    assert step.noted() == {"made": 3}


def test_chinese_seeds_are_shown_chinese_examples_and_make_chinese_tasks() -> None:
    reply = (
        "###\n指令：用一句话介绍你的家乡。\n输入：<无输入>\n输出：我的家乡在河边，春天满城都是柳絮。\n"
        "###\n**指令：** 把这句话改成反问句。\n**输入：** 他不会忘记。\n**输出：** 他怎么会忘记呢？"
    )
    writer = Model(lambda request: reply)
    (made,) = took(asker(shown=6), [CHINESE_SEED], {"writer": writer})
    assert questions(listed(made)[1:]) == ["用一句话介绍你的家乡。", "把这句话改成反问句。\n他不会忘记。"]
    assert "Instruction" not in said(writer.requests[0])
    assert said(writer.requests[0]).count("\n指令：") == 6 + 1, "the form and six examples"


def test_a_reply_that_broke_off_loses_its_last_task_only() -> None:
    broken = NoReply(
        "truncated", "ended at 300 tokens", block("Name a tree with red leaves.") + block("Say what the sea")
    )
    made = listed(one(asker(), SEED, lambda request: broken))
    assert questions(made[1:]) == ["Name a tree with red leaves."]
    assert reasons(made) == ["truncated"]
    nothing = listed(one(asker(), SEED, lambda request: NoReply("truncated", "ended at 300 tokens")))
    assert [reasons(nothing), nothing[0]] == [["truncated"], SEED]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (Task("Name a tree.", "", "An oak."), "too_short"),
        (Task("写首诗", "", "春眠不觉晓。"), "too_short"),
        (Task("say it " * 76, "", "Said."), "too_long"),
        (Task("说一说" * 101, "", "说了。"), "too_long"),
        (Task("Describe the picture in one sentence.", "", "A boat."), "keyword"),
        (Task("Go to the shop and buy some milk.", "", "I went."), "keyword"),
        (Task("请根据图片写一段描述文字。", "", "一条船。"), "keyword"),
        (Task("请把这首歌的音频转成文字。", "", "好的。"), "keyword"),
        (Task("Write a program that sorts a list.", "", "sorted(x)"), "program"),
        (Task("Write a Python program that sorts a list.", "", "sorted(x)"), "program"),
        (Task("编写一个程序，对列表排序。", "", "sorted(x)"), "program"),
        (Task("请用Python写一个程序，计算平均数。", "", "sum(x) / len(x)"), "program"),
        (Task("- Name a tree with red leaves.", "", "A maple."), "punctuation"),
        (Task("。请说出一种红叶树的名字", "", "枫树。"), "punctuation"),
        (Task("Назови дерево, где листья осенью красные", "", "Клён."), "foreign"),
        (Task("赤い葉の木の名前を一つ挙げてください", "", "カエデ。"), None),
        (Task("Name a tree with red leaves.", "", " \n"), "no_output"),
        (Task("Repeat what I say to you.", "Hello there.", "hello  there."), "echo"),
        (Task("Name a tree with red leaves.", "", "There are many, such as:"), "unfinished"),
        (Task("归纳下面这段话的大意。", "原文如下：", "没有原文。"), "unfinished"),
        (Task("Name a tree with red leaves.", "", "A maple."), None),
        (Task("《石头记》是谁写的？请简单介绍。", "", "曹雪芹。"), None),
        (Task("试图书馆的借书规则写成三句话。", "", "凭证借书。"), None),
        (Task("介绍一位著名画家的生平。", "", "齐白石。"), None),
        (Task("Describe a paragraph on cartography and graphite.", "", "It is drawn."), None),
        (Task("Explain how a program for guests is planned.", "", "By the hour."), None),
    ],
)
def test_each_filter_drops_what_it_is_for(task: Task, reason: str | None) -> None:
    found = fault(task, KEYWORDS)
    assert (found and found[0]) == reason


def test_what_is_dropped_is_a_reject_with_an_id_of_its_own_and_counted() -> None:
    reply = (
        block("Why is salt put on icy roads?")
        + block("Name a tree with red leaves.")
        + block("Name a tree with red  leaves.")
        + block("Draw a tree with red leaves.")
        + block("说出一种红叶树的名字。")
        + block("Say what you think of me.", "As an AI language model, I cannot have opinions.")
        + "###\nInstruction: Say nothing at all today.\nInput: <noinput>\n"
    )
    step = asker()
    made = listed(one(step, SEED, lambda request: reply))
    wanted = ["repeated", "repeated", "keyword", "wrong_language", "refused", "malformed"]
    assert reasons(made) == wanted
    assert questions(made[1:]) == ["Name a tree with red leaves."]
    assert len({each.id for each in made}) == 8
    assert step.noted() == {"keyword": 1, "made": 1, "malformed": 1, "refused": 1, "repeated": 2, "wrong_language": 1}


def test_prose_in_place_of_tasks_is_malformed_and_other_failures_keep_their_reason() -> None:
    made = listed(one(asker(), SEED, lambda request: "Sure! What kind of tasks would you like?"))
    assert reasons(made) == ["malformed"]
    assert reasons(listed(one(asker(), SEED, lambda request: NoReply("refused", "content filter")))) == ["refused"]


def test_own_keywords_take_the_place_of_the_others() -> None:
    reply = block("Draw a tree with red leaves.") + block("Name a tree that bears nuts.")
    assert questions(listed(one(asker(keywords=["nuts"], keep=False), SEED, lambda request: reply))) == [
        "Draw a tree with red leaves."
    ]


def numbered(request: Request) -> str:
    """A task that follows from the request, so that two requests seldom make the same."""
    number = sum(said(request).encode()) * 1000 + request.sample
    return block(f"Tell me something about the number {number}.", f"The number {number} is one of many.")


def test_later_rounds_show_what_earlier_ones_made() -> None:
    writer = Model(numbered)
    (made,) = took(asker(rounds=3, per_round=2, machine=2, shown=5), [SEED], {"writer": writer})
    made_texts = questions(listed(made)[1:])
    assert len(made_texts) == 6
    shown = [[text for text in made_texts if text in said(request)] for request in writer.requests]
    assert [len(found) for found in shown] == [0, 0, 2, 2, 2, 2]
    assert set(shown[2]) == set(made_texts[:2])
    assert all(set(found) <= set(made_texts[:4]) for found in shown[4:])
    assert all(said(request).count("\nInstruction:") == 5 + 1 for request in writer.requests)
    assert all(SEED.messages[0].text in said(request) for request in writer.requests)
    assert len({(said(request), request.sample) for request in writer.requests}) == 6


def test_examples_depend_on_the_record_the_round_and_the_seed_alone() -> None:
    other = chat("Name three kinds of knot for a rope.", "Bowline, clove hitch, sheet bend.")
    alone, both = Model(numbered), Model(numbered)
    took(asker(), [SEED], {"writer": alone})
    took(asker(), [other, SEED], {"writer": both})
    assert alone.requests[0] in both.requests
    assert both.requests[0].messages != both.requests[1].messages


def test_other_records_pass() -> None:
    two_rounds = Chat("x", origin(), (*SEED.messages, *SEED.messages))
    system = (Message("system", "Be brief."), *SEED.messages)
    for record in (passage("A text."), two_rounds):
        writer = Model(numbered)
        assert took(asker(), [record], {"writer": writer}) == [record]
        assert writer.requests == []
    assert len(listed(one(asker(), Chat("y", origin(), system), numbered))) == 2


def test_the_order_of_replies_does_not_matter() -> None:
    records = [chat(f"What is {number} and {number}?", f"It is {2 * number}.") for number in range(8)]
    same_in_any_order(lambda: asker(rounds=3, per_round=3), records, numbered)


def test_seeds_may_be_an_array_or_plain_records(tmp_path: Path) -> None:
    path = tmp_path / "seeds.json"
    path.write_text(json.dumps([{"instruction": "Count.", "input": "nan", "output": "One."}]))
    assert self_instruct.pool(path) == [Task("Count.", "nan", "One.")]
    assert len(self_instruct.pool(SEEDS)) == 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no seed task"),
        ("{", "cannot be read"),
        ('{"instruction": "Count."}', ":1: a seed task needs"),
        ('{"instruction": "Count.", "output": "1"}\n{"instruction": "Go.", "instances": [3]}', ":2: a seed task needs"),
        ('{"instruction": "Count.", "instances": "x"}', ":1: a seed task needs"),
    ],
)
def test_seeds_that_do_not_serve_are_told_with_their_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        asker(path=path)


def test_ids_do_not_change_when_another_round_comes() -> None:
    first = listed(one(asker(rounds=1), SEED, numbered))
    second = listed(one(asker(rounds=2), SEED, numbered))
    assert second[: len(first)] == first
    assert first[1].id == derived_id(SEED.id, "tasks", "0", "0", "0")


def alike(one: str, other: str) -> float:
    """ROUGE-L of two English instructions, by the textbook's table."""
    left, right = ("".join(char if char.isalnum() else " " for char in text.lower()).split() for text in (one, other))
    row = [0] * (len(right) + 1)
    for word in left:
        before, row = row, [0] * (len(right) + 1)
        for at, other_word in enumerate(right):
            row[at + 1] = before[at] + 1 if word == other_word else max(before[at + 1], row[at])
    return 2 * row[-1] / (len(left) + len(right))


VERBS = ("Explain", "Describe", "Summarise", "List", "Compare", "Criticise")
MATTERS = (
    "how bees find their way home after a storm",
    "why old harbours silt up over time",
    "what a good editor does",
)


def first_shown(request: Request) -> str:
    """The instruction of the first example."""
    return request.messages[-1]["content"].partition("Instruction: ")[2].partition("\n")[0]


def making(request: Request) -> str:
    """Three tasks by what the first example is; many seeds make nearly the same ones."""
    draw = random.Random(first_shown(request))
    return "".join(block(f"{draw.choice(VERBS)} in two sentences {draw.choice(MATTERS)} today.") for _ in range(3))


def test_with_novel_after_each_generation_there_is_one_pool_as_published() -> None:
    """What stays after each is what one pool takes that compares each new instruction with all before it."""
    records: list[Record | Reject] = [
        chat(f"{word} is it that the sea is salt?", "Rivers.") for word in ("Why", "Since when")
    ]
    records += [chat("Name a bird that sings at night.", "The nightingale."), SEED]
    pools: list[list[str]] = []
    for delays in (None, 1, 2):
        found = records
        for name in ("first", "second"):
            step = dataclasses.replace(asker(), name=name)
            model = Model(making, delays)
            asking = [each for each in found if isinstance(each, Chat)]
            unfolded = [each for made in took(step, asking, {"writer": model}) for each in listed(made)]
            made = [each for each in unfolded if isinstance(each, Chat)]
            assert set(map(first_shown, model.requests)) == set(questions(found)), (
                "each that stays, and no other, is asked from"
            )
            pool: list[str] = []
            for question in questions(made):
                if all(alike(question, other) < 0.7 for other in pool):
                    pool.append(question)
            filter_ = novel.start("novel", novel.Settings(), CONTEXT)
            found = [each for each in taken(filter_, made) if isinstance(each, Chat)]
            assert questions(found) == pool
            assert len(records) < len(pool) < len(made)
        pools.append(pool)
    assert pools[0] == pools[1] == pools[2]
