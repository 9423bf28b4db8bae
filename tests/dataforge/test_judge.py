"""Judgements by a scripted judge and by builds against a server on a real socket."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataforge import config, standings
from dataforge.build import Options, build
from dataforge.llm.cache import ENVIRONMENT
from dataforge.llm.requests import NoReply, Request
from dataforge.records import Chat, Message, Ranking, Reject, Reply, ToolCall, record_id
from dataforge.steps import judge
from tests.asked import Model, chat, origin, took
from tests.context import CONTEXT
from tests.llm_server import Act, Seen, Server


def ranking(*answers: str, question: str = "What is a river?", **facts: Any) -> Ranking:
    """Answers to one question, nobody's opinion on them known."""
    replies = tuple(Reply(Message("assistant", answer), facts={"llm": "writer"}) for answer in answers)
    return Ranking(record_id("c", [question, *answers]), origin(), (Message("user", question),), replies, facts=facts)


def asker(**settings: Any) -> judge.Asker:
    """The step."""
    return judge.start("judge", judge.Settings(llm="judge", **settings), CONTEXT)


def sides(request: Request) -> tuple[str, str]:
    """The two answers as the judge is shown them."""
    text = request.messages[-1]["content"]
    return tuple(text.partition(f"<answer_{side}>\n")[2].partition(f"\n</answer_{side}>")[0] for side in "AB")  # type: ignore[return-value]


def longer(request: Request) -> str:
    """A judge that prefers the longer answer, and says so with words around."""
    first, second = sides(request)
    verdict = "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"
    return f"Here: {json.dumps({'reason': 'length', 'verdict': verdict})} as asked."


def by_text(found: Ranking) -> dict[str, tuple[int | None, float | None]]:
    """The rank and score of each answer."""
    return {reply.message.text: (reply.rank, reply.score) for reply in found.replies}


def test_two_answers_are_judged_in_both_orders_and_the_raw_verdicts_are_kept() -> None:
    step, model = asker(), Model(longer)
    (found,) = took(step, [ranking("Water.", "Water that flows to the sea.")], {"judge": model})
    assert isinstance(found, Ranking)
    assert by_text(found) == {"Water that flows to the sea.": (0, 1.0), "Water.": (1, -1.0)}
    assert {sides(request) for request in model.requests} == {
        ("Water.", "Water that flows to the sea."),
        ("Water that flows to the sea.", "Water."),
    }
    # The second reply is the longer one, whichever it is shown as.
    assert {(told["first"], told["second"], told["verdict"]) for told in found.facts["judgements"]} == {
        (0, 1, "second"),
        (1, 0, "first"),
    }
    assert found.facts["judge"] == "scripted"
    assert len(found.facts["judge_prompts"]) == 32
    assert step.noted() == {
        "pairs": 1,
        "consistent": 1,
        "wins": 1,
        "raw_wins": 2,
        "first_wins": 1,
        "wins_of_unequal_length": 1,
        "longer_wins": 1,
    }


@pytest.mark.parametrize("verdict", ["A", "B"])
def test_a_judge_that_always_names_one_place_decides_nothing(verdict: str) -> None:
    step = asker()
    (found,) = took(
        step, [ranking("a", "bb", "ccc")], {"judge": Model(lambda request: json.dumps({"verdict": verdict}))}
    )
    assert isinstance(found, Reject)
    assert found.reason == "undecided"
    counts = step.noted()
    assert counts["flips"] == counts["pairs"] == 3
    assert counts.get("first_wins", 0) == (6 if verdict == "A" else 0)
    assert "consistent" not in counts


def test_the_order_of_replies_and_of_arrival_changes_nothing() -> None:
    answers = ["a", "bb", "ccc", "dddd", "xx"]
    wanted = by_text(_one(ranking(*answers), Model(longer)))
    for number, order in enumerate(itertools.islice(itertools.permutations(answers), 0, 120, 17)):
        assert by_text(_one(ranking(*order), Model(longer, delays=number))) == wanted
    assert wanted["bb"] == wanted["xx"]
    assert [wanted[answer][0] for answer in ("dddd", "ccc", "bb", "a")] == [0, 1, 2, 3]


def _one(record: Ranking, model: Model) -> Ranking:
    (found,) = took(asker(), [record], {"judge": model})
    assert isinstance(found, Ranking)
    return found


def test_equal_answers_are_a_tie_that_nobody_is_asked_about() -> None:
    model = Model(longer)
    found = _one(ranking("same", "same", "longer one"), model)
    assert len(model.requests) == 4
    assert by_text(found)["same"][0] == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I like both.", "unparsable"),
        ("[[A]] or [[B]]", "unparsable"),
        ('{"verdict": "C-"}', "unparsable"),
        (NoReply("truncated", "cut"), "truncated"),
        (NoReply("refused", "no"), "refused"),
    ],
)
def test_what_is_no_verdict_rejects_the_record(reply: str | NoReply, reason: str) -> None:
    (found,) = took(asker(), [ranking("a", "bb")], {"judge": Model(lambda request: reply)})
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_a_judge_does_not_judge_its_own_answers_unless_it_may() -> None:
    mine = ranking("a", "bb")
    mine = Ranking(
        mine.id, mine.origin, mine.prompt, (Reply(Message("assistant", "a"), facts={"llm": "judge"}), *mine.replies[1:])
    )
    model = Model(longer)
    (found,) = took(asker(), [mine], {"judge": model})
    assert isinstance(found, Reject)
    assert found.reason == "judge_is_author"
    assert not model.requests
    (may,) = took(asker(judge_may_be_author=True), [mine], {"judge": model})
    assert isinstance(may, Ranking)
    known = ranking("a", "bb")
    replies = tuple(Reply(reply.message, facts={"model": "scripted"}) for reply in known.replies)
    (later,) = took(asker(), [Ranking(known.id, known.origin, known.prompt, replies)], {"judge": Model(longer)})
    assert isinstance(later, Reject)
    assert later.reason == "judge_is_author"


def test_answers_are_scored_on_each_aspect_by_a_rubric_of_its_own() -> None:
    def score(request: Request) -> str:
        text = "\n".join(message["content"] for message in request.messages)
        return json.dumps({"reason": "r", "score": 5 if "bad" not in text else 2})

    step = asker(mode="score", aspects=["helpful", "honest"])
    one, two = took(step, [ranking("good", "bad"), chat("Hi", "Hello")], {"judge": Model(score)})
    assert isinstance(one, Ranking)
    assert [(reply.score, reply.facts["scores"]) for reply in one.replies] == [
        (5.0, {"helpful": 5, "honest": 5}),
        (2.0, {"helpful": 2, "honest": 2}),
    ]
    assert isinstance(two, Chat)
    assert two.facts["score"] == 5.0
    assert step.noted() == {"scores": 6}


@pytest.mark.parametrize("reply", ['{"score": 6}', '{"score": 4.5}', '{"score": "4"}', "Score: 4", "[[3]] [[4]]"])
def test_a_score_is_a_whole_number_from_1_to_5_and_said_once(reply: str) -> None:
    step = asker(mode="score", aspects=["helpful"])
    (found,) = took(step, [chat("Hi", "Hello")], {"judge": Model(lambda request: reply)})
    assert isinstance(found, Reject) or (reply == '{"score": "4"}' and found.facts["score"] == 4.0)  # type: ignore[union-attr]


def test_a_reference_is_shown_and_missed() -> None:
    model = Model(longer)
    step = asker(reference="solution")
    shown, missed = took(step, [ranking("a", "bb", solution="the sea"), ranking("a", "ccc")], {"judge": model})
    assert isinstance(shown, Ranking)
    assert all("the sea" in request.messages[-1]["content"] for request in model.requests)
    assert isinstance(missed, Reject)
    assert missed.reason == "no_reference"


def test_a_chinese_record_is_judged_in_chinese() -> None:
    model = Model(longer)
    took(asker(), [ranking("流动的水。", "流向大海的水，有源头。", question="什么是河流？")], {"judge": model})
    assert all("回答" in request.messages[0]["content"] for request in model.requests)


def test_strengths_of_two_are_their_closed_form() -> None:
    method, scores = standings.standings(2, {(0, 1): 3, (1, 0): 1})
    assert method == "bradley_terry"
    assert scores == [pytest.approx(math.log(3) / 2, abs=1e-6), pytest.approx(-math.log(3) / 2, abs=1e-6)]


def test_strengths_of_three_are_the_likeliest() -> None:
    points = {(0, 1): 2, (1, 0): 1, (1, 2): 2, (2, 1): 1, (2, 0): 1, (0, 2): 2}
    _, found = standings.standings(3, points)

    def likelihood(scores: tuple[float, float, float]) -> float:
        return math.fsum(
            taken * (scores[one] - math.log(math.exp(scores[one]) + math.exp(scores[other])))
            for (one, other), taken in points.items()
        )

    best = likelihood((found[0], found[1], found[2]))
    grid = [number / 50 for number in range(-60, 61)]
    assert all(likelihood((a, b, -a - b)) <= best + 1e-9 for a in grid for b in grid)
    assert math.fsum(found) == pytest.approx(0, abs=1e-5)


def test_where_somebody_never_lost_wins_less_losses_are_counted() -> None:
    assert standings.standings(3, {(0, 1): 2, (0, 2): 2, (1, 2): 2}) == ("copeland", [2.0, 0.0, -2.0])
    assert standings.ranks([2.0, 0.0, 0.0, -2.0]) == [0, 1, 1, 2]


def test_prompts_become_answers_become_judged_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "llm.sqlite"))

    def behave(number: int, seen: Seen) -> Act:
        if seen.body["model"] == "judge":
            messages = tuple({"role": each["role"], "content": each["content"]} for each in seen.body["messages"])
            return Act(longer(Request(messages)))
        return Act(f"{seen.body['model']} says {seen.asked}")

    rows = [{"instruction": f"question {number}", "output": "unused"} for number in range(12)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Server(behave) as server:
        said = {
            "name": "r",
            "kind": "pairs",
            "tokenizer": "smollm2-135m",
            "sources": [{"use": "alpaca", "path": "rows.jsonl"}],
            "llm": {name: {"base_url": server.url, "model": name} for name in ("wordy-model", "short", "judge")},
            "steps": [
                {"use": "respond", "llm": ["short", "wordy-model"]},
                {"use": "judge", "llm": "judge"},
                {"use": "pairs"},
            ],
        }
        (tmp_path / "recipe.yaml").write_text(json.dumps(said))
        recipe = config.load(tmp_path / "recipe.yaml")
        outcome = build(recipe, tmp_path / "out", lambda _: None, Options(workers=1))
        assert len(server.seen) == 12 * 2 + 12 * 2
    (path,) = (outcome.folder / "records").glob("*.parquet")
    pairs = pq.read_table(path).to_pylist()
    assert len(pairs) == 12
    assert all(pair["chosen"][0]["content"].startswith("wordy-model says") for pair in pairs)
    assert all(pair["margin"] == 1.0 for pair in pairs)


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def test_tools_and_their_calls_are_shown_to_the_judge() -> None:
    calling = Message("assistant", None, tool_calls=(ToolCall("weather", {"city": "Ghent"}, "c1"),))
    replies = (Reply(Message("assistant", "Rain, I guess.")), Reply(calling))
    record = Ranking(record_id("c", "w"), origin(), (Message("user", "Does it rain?"),), replies, (TOOL,))
    model = Model(longer)
    (found,) = took(asker(), [record], {"judge": model})
    assert isinstance(found, Ranking)
    for request in model.requests:
        assert '[tools]\n[{"function":{"name":"weather"' in request.messages[-1]["content"]
        assert any("Ghent" in side and "weather" in side for side in sides(request))


@pytest.mark.parametrize("fact", ["model", "written_by", "rewritten_by", "translated_by"])
def test_a_judge_does_not_score_what_it_made_in_another_step(fact: str) -> None:
    model = Model(lambda request: '{"reason": "x", "score": 5}')
    made = chat("What is a river?", "Water.", **{fact: "another, scripted"})
    (refused,) = took(asker(mode="score"), [made], {"judge": model})
    assert isinstance(refused, Reject)
    assert refused.reason == "judge_is_author"
    (found,) = took(asker(mode="score", judge_may_be_author=True), [made], {"judge": model})
    assert isinstance(found, Chat)
