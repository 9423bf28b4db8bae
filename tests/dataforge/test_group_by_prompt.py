"""Labelled answers, one a record, become the rankings of their prompts."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataforge import config, readers
from dataforge.build import build
from dataforge.records import (
    Chat,
    Joined,
    Message,
    Origin,
    Preference,
    Ranking,
    Record,
    Reply,
    ToolCall,
    group_of,
)
from dataforge.steps import group_by_prompt, pairs, to_labels
from tests.chat_corpora import rows
from tests.context import CONTEXT
from tests.dataforge.test_chat_sources import CORPORA
from tests.dataforge.test_sources import converted
from tests.gathering import taken

AT = Origin("s", "f", 0, 1)


def gather(**settings: Any) -> group_by_prompt.Gather:
    return group_by_prompt.start("group_by_prompt", group_by_prompt.Settings(**settings), CONTEXT)


def labelled(identity: str, prompt: str, text: str, label: bool | None = None, **more: Any) -> Ranking:
    reply = Reply(Message("assistant", text), label=label, score=more.pop("score", None), rank=more.pop("rank", None))
    return Ranking(identity, AT, (Message("user", prompt),), (reply,), **more)


def kto() -> list[Any]:
    return [record for row in rows(CORPORA / "kto.jsonl") for record in converted("openai", row)]


def test_the_sample_becomes_two_rankings_and_a_lone_answer() -> None:
    first, instrument, blue, red, fire = taken(gather(), kto())
    assert isinstance(first, Ranking)
    assert [(reply.message.text, reply.label) for reply in first.replies] == [
        ("Orange.", True),
        ("Blue.", False),
        ("Red.", True),
    ]
    assert [instrument, fire] == [kto()[1], kto()[4]]
    assert [(type(one), one.into) for one in (blue, red)] == [(Joined, kto()[0].id)] * 2  # type: ignore[union-attr]
    step = pairs.start("pairs", pairs.Settings(), CONTEXT)
    found: Any = step.take(first)
    assert [(pair.chosen[0].text, pair.rejected[0].text) for pair in found] == [("Orange.", "Blue."), ("Red.", "Blue.")]


@pytest.mark.parametrize("sizes", [(), (1, 1, 1, 1), (2,), (4,)])
@pytest.mark.parametrize("cuts", [1, 3])
def test_parts_and_cuts_do_not_matter(sizes: tuple[int, ...], cuts: int) -> None:
    assert taken(gather(), kto(), sizes=sizes, cuts=cuts) == taken(gather(), kto())


def test_nothing_else_is_put_together() -> None:
    base = labelled("a", "q", "1", True)
    others: list[Record] = [
        base,
        labelled("b", "q ", "2", False),
        labelled("c", "q", "3", False, tools=({"name": "f"},)),
        labelled("d", "q", "4", False, family="post 1"),
        labelled("e", "q", "5", rank=0),
        labelled("f", "q", "6", score=1.0),
        labelled("g", "q", "7"),
        Ranking("h", AT, base.prompt, (Reply(Message("assistant", "8"), label=True, replies=base.replies),)),
        Chat("i", AT, base.prompt),
        Ranking("j", AT, (Message("system", "s"), *base.prompt), base.replies),
        Ranking("k", AT, base.prompt, ()),
    ]
    assert taken(gather(), others) == others


def test_scores_are_put_together_where_that_is_set() -> None:
    records = [labelled("a", "q", "1", score=1.0), labelled("b", "q", "2", score=3.0), labelled("c", "q", "3", True)]
    joined, into, alone = taken(gather(scores=True), records)
    assert isinstance(joined, Ranking)
    assert [reply.score for reply in joined.replies] == [1.0, 3.0]
    assert isinstance(into, Joined)
    assert alone is records[2]
    assert taken(gather(), records) == records


def test_what_replies_hold_and_what_is_known_of_them_stays() -> None:
    call = Reply(
        Message("assistant", None, reasoning="hm", tool_calls=(ToolCall("f", {"x": 1}, "id"),)),
        label=False,
        facts={"own": 1},
    )
    prompt = (Message("user", "q", input="i"),)
    records = [
        Ranking("a", AT, prompt, (Reply(Message("assistant", "1"), label=True),), facts={"task": "t", "model": "m"}),
        Ranking("b", AT, prompt, (call,), facts={"task": "t", "model": "n"}),
    ]
    joined, _ = taken(gather(), records)
    assert isinstance(joined, Ranking)
    assert joined.facts == {"task": "t"}
    assert [reply.facts for reply in joined.replies] == [{"model": "m"}, {"model": "n", "own": 1}]
    assert joined.replies[1].message == call.message
    assert group_of(joined) == joined.id != "a"


def test_labels_of_pairs_become_the_pairs_again() -> None:
    sides = [("q1", "good", "bad"), ("q2", "yes", "no"), ("问", "好", "坏")]
    made = [
        Preference(
            f"p{at}",
            AT,
            (Message("user", asked),),
            (Message("assistant", better),),
            (Message("assistant", worse),),
        )
        for at, (asked, better, worse) in enumerate(sides)
    ]
    labels: Any = to_labels.start("to_labels", to_labels.Settings(), CONTEXT)
    step: Any = pairs.start("pairs", pairs.Settings(), CONTEXT)
    apart: list[Any] = [label for pair in made for label in labels.take(pair)]
    random.Random(3).shuffle(apart)
    back: list[Any] = [step.take(one) for one in taken(gather(), apart) if isinstance(one, Ranking)]
    said = sorted((p.prompt[0].text, p.chosen[0].text, p.rejected[0].text) for found in back for p in found)
    assert said == sorted(sides)


def test_a_build_adds_up_and_does_not_depend_on_its_parts(
    write_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"use": "group_by_prompt"}, {"use": "pairs"}, {"use": "best"}]
    recipe = write_recipe(rows(CORPORA / "kto.jsonl"), sources=[{"use": "openai", "path": "corpus.jsonl"}], steps=steps)
    manifest = build(config.load(recipe), tmp_path / "one", lambda text: None).manifest
    grouped, paired = (stage for stage in manifest.funnel if stage.stage in ("group_by_prompt", "pairs"))
    assert (grouped.read, grouped.passed, grouped.joined) == (5, 3, 2)
    assert (paired.read, paired.unfolded, paired.passed, paired.rejected) == (3, 1, 2, {"one_reply": 2})
    assert manifest.noted["pairs"]["ties"] == 1
    monkeypatch.setattr(readers, "RECORDS_PER_PART", 2)
    assert build(config.load(recipe), tmp_path / "two", lambda text: None).manifest.digest == manifest.digest
