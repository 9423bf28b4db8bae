"""Answers of several models, by builds against a server on a real socket and by a scripted model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataforge import config
from dataforge.build import Options, Outcome, build
from dataforge.errors import ConfigError
from dataforge.llm.cache import ENVIRONMENT
from dataforge.llm.requests import NoReply, Request
from dataforge.records import Chat, Message, Prompt, Ranking, Reject, record_id
from dataforge.steps import respond
from tests.asked import Model, chat, origin, took
from tests.context import CONTEXT
from tests.llm_server import Act, Seen, Server


def prompt(text: str) -> Prompt:
    """A prompt with a system message."""
    messages = (Message("system", "Be short."), Message("user", text))
    return Prompt(record_id("corpus", text), origin(), messages)


def asker(**settings: Any) -> respond.Asker:
    """The step."""
    return respond.start("respond", respond.Settings(**settings), CONTEXT)


def echo(request: Request) -> str:
    """An answer that says what it was asked, how, and for which time."""
    asked = " / ".join(f"{message['role']} {message['content']}" for message in request.messages)
    return f"{asked} @{request.temperature} #{request.sample}"


def test_a_prompt_with_one_answer_is_a_conversation_in_which_only_that_is_trained() -> None:
    earlier = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    long = Prompt("p", origin(), earlier)
    one, other = took(asker(llm=["writer"]), [prompt("hello"), long], {"writer": Model(echo)})
    assert isinstance(one, Chat)
    assert [message.text for message in one.messages] == [
        "Be short.",
        "hello",
        "system Be short. / user hello @None #0",
    ]
    assert isinstance(other, Chat)
    assert [message.weight for message in other.messages if message.role == "assistant"] == [0, None]
    assert other.messages[-1].text == "user a / assistant b / user c @None #0"


def test_every_model_answers_at_every_temperature_as_often_as_is_said() -> None:
    step = asker(llm=["strong", "weak"], temperatures=[0.0, 1.0], samples=2, ranked=True)
    (found,) = took(step, [prompt("hello")], {"strong": Model(echo), "weak": Model(lambda r: echo(r).upper())})
    assert isinstance(found, Ranking)
    facts = [
        (reply.rank, reply.facts["llm"], reply.facts["temperature"], reply.facts["sample"]) for reply in found.replies
    ]
    assert facts == [
        (level, name, temperature, sample)
        for level, name in enumerate(("strong", "weak"))
        for temperature in (0.0, 1.0)
        for sample in (0, 1)
    ]
    assert step.noted() == {"answers": 8}


def test_an_old_answer_is_replaced_or_stands_above_the_new_ones() -> None:
    record = chat("hello", "old")
    (replaced,) = took(asker(llm=["writer"]), [record], {"writer": Model(lambda request: "new")})
    assert isinstance(replaced, Chat)
    assert [message.text for message in replaced.messages] == ["hello", "new"]
    step = asker(llm=["writer"], old_answer="keep", ranked=True)
    (kept,) = took(step, [record], {"writer": Model(lambda request: "new")})
    assert isinstance(kept, Ranking)
    assert [(reply.message.text, reply.rank) for reply in kept.replies] == [("old", 0), ("new", 1)]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (NoReply("truncated", "cut"), "truncated"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("抱歉，我无法回答这个问题。", "refused"),
        ("  ", "empty"),
    ],
)
def test_what_is_no_answer_is_a_reject(answer: str | NoReply, reason: str) -> None:
    (found,) = took(asker(llm=["writer"]), [prompt("hello")], {"writer": Model(lambda request: answer)})
    assert isinstance(found, Reject)
    assert found.reason == reason


def test_equal_answers_stand_once_and_the_order_of_arrival_does_not_matter() -> None:
    def answer(request: Request) -> str:
        return "same" if request.sample < 3 else f"other {request.sample}"

    prompts = [prompt(str(number)) for number in range(20)]
    settled = took(asker(llm=["writer"], samples=5), prompts, {"writer": Model(answer)})
    for seed in range(3):
        assert took(asker(llm=["writer"], samples=5), prompts, {"writer": Model(answer, delays=seed)}) == settled
    assert all(isinstance(each, Ranking) and len(each.replies) == 3 for each in settled)


def test_a_strong_and_a_weak_model_make_pairs_by_construction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "llm.sqlite"))

    def behave(number: int, seen: Seen) -> Act:
        return Act(f"{seen.body['model']} says {seen.asked}")

    rows = [{"instruction": f"question {number}", "output": "unused"} for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Server(behave) as server:
        said = {
            "name": "r",
            "kind": "pairs",
            "tokenizer": "smollm2-135m",
            "sources": [{"use": "alpaca", "path": "rows.jsonl"}],
            "llm": {name: {"base_url": server.url, "model": name} for name in ("large", "small")},
            "steps": [{"use": "respond", "llm": ["large", "small"], "ranked": True}, {"use": "pairs"}],
        }
        outcome = _built(tmp_path, said)
        assert len(server.seen) == 40
    (path,) = (outcome.folder / "records").glob("*.parquet")
    for row in pq.read_table(path).to_pylist():
        asked = row["prompt"][-1]["content"]
        assert row["chosen"][0]["content"] == f"large says {asked}"
        assert row["rejected"][0]["content"] == f"small says {asked}"
    assert outcome.manifest.statistics["train"].rows == 20


def test_one_model_cannot_be_ranked(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    said = {
        "name": "r",
        "tokenizer": "smollm2-135m",
        "sources": [{"use": "alpaca", "path": "rows.jsonl"}],
        "llm": {"m": {"base_url": "http://x", "model": "m"}},
        "steps": [{"use": "respond", "llm": ["m"], "ranked": True}],
    }
    with pytest.raises(ConfigError, match="needs two models to rank"):
        _built(tmp_path, said)


def _built(folder: Path, said: dict[str, Any]) -> Outcome:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(said))
    return build(config.load(path), folder / "out", lambda _: None, Options(workers=1))


def test_a_prompt_with_tools_is_a_counted_reject_and_nothing_is_sent() -> None:
    with_tools = dataclasses.replace(prompt("Does it rain?"), tools=({"name": "weather"},))
    model = Model(echo)
    (made,) = took(asker(llm=["writer"]), [with_tools], {"writer": model})
    assert isinstance(made, Reject)
    assert made.reason == "tools"
    assert not model.requests
