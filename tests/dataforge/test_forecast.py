"""What a build says beforehand that it will ask, held against what it then asks."""

import json
from pathlib import Path
from typing import Any

import pytest

from dataforge import components, config
from dataforge.build import Options, build
from dataforge.errors import ConfigError, ForgeError
from dataforge.llm import door
from dataforge.llm.cache import ENVIRONMENT
from dataforge.llm.requests import NoReply, Request
from dataforge.records import Record
from tests.asked import Answer, Model, chat, passage, said, took
from tests.context import CONTEXT
from tests.llm_server import Act, Seen, Server

SAMPLES = Path(__file__).parents[2] / "samples" / "recipes"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache for each test, and waits a hundred times shorter."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "llm.sqlite"))
    monkeypatch.setattr(door, "FIRST_WAIT", 0.005)


def foretold(path: Path, overrides: tuple[str, ...] = ()) -> str:
    """What is said before anything is asked."""
    heard: list[str] = []

    def refuse(sentence: str) -> None:
        heard.append(sentence)
        raise ForgeError("no")

    with pytest.raises(ForgeError, match="no"):
        build(config.load(path, overrides), path.parent / "told", lambda _: None, Options(workers=1, confirm=refuse))
    return heard[0]


def recipe(folder: Path, url: str, names: str, asking: str, **more: Any) -> Path:
    """A recipe with sources of two records each, of which some are rewritten."""
    step = {"use": "rewrite", "llm": "writer", "style": "short"}
    sources: list[dict[str, Any]] = []
    for name in names:
        rows = [{"instruction": f"Say {name}{n}.", "output": f"{name}{n}, said at last."} for n in range(2)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources.append({"use": "alpaca", "path": f"{name}.jsonl", "name": name})
        if name in asking:
            sources[-1]["steps"] = [step]
    path = folder / "recipe.yaml"
    model = {"base_url": url, "model": "m", **more.pop("model", {})}
    path.write_text(
        json.dumps({"name": "r", "tokenizer": "smollm2-135m", "sources": sources, "llm": {"writer": model}, **more})
    )
    return path


def echo(number: int, seen: Seen) -> Act:
    """The answer, shorter."""
    return Act(seen.asked.rpartition("<answer>\n")[2].partition(",")[0] + " is said.")


def test_passages_are_counted_and_not_the_documents_that_they_are_of(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        (SAMPLES / "ask.yaml").read_text().replace("../corpora", str(SAMPLES.parent / "corpora"))
    )
    sentence = foretold(tmp_path / "recipe.yaml", ("replay=null",))
    # Ten passages in two styles; two questions of each are answered again; each reply is JSON that may be mended.
    assert "ask will send writer 20 requests with about" in sentence
    assert "and 100 more at most, as the replies have it" in sentence


@pytest.mark.parametrize("asking", ["b", "ab"])
def test_what_only_later_parts_would_ask_is_told_too(tmp_path: Path, asking: str) -> None:
    with Server(echo) as server:
        if "a" in asking:
            build(
                config.load(recipe(tmp_path, server.url, "a", "a")), tmp_path / "a", lambda _: None, Options(workers=1)
            )
        sentence = foretold(recipe(tmp_path, server.url, "ab", asking))
    assert sentence.startswith("b.rewrite will send writer 2 requests with about" if asking == "b" else "b.rewrite")


def test_many_parts_of_which_the_first_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataforge import forecast

    monkeypatch.setattr(forecast, "PARTS", 1)
    steps = [{"use": "rewrite", "llm": "writer", "style": "short"}]
    with Server(echo) as server:
        first = recipe(tmp_path, server.url, "a", "", steps=steps)
        build(config.load(first), tmp_path / "a", lambda _: None, Options(workers=1))
        assert len(server.seen) == 2
        sentence = foretold(recipe(tmp_path, server.url, "abc", "", steps=steps))
    assert sentence.startswith("rewrite will send writer about 4 requests")


def test_steps_that_ask_later_are_named_and_a_reply_without_a_bound_is_told(tmp_path: Path) -> None:
    more = {"steps": [{"use": "evolve", "llm": "writer"}, {"use": "judge", "llm": "writer", "mode": "score"}]}
    path = recipe(tmp_path, "http://127.0.0.1:9/v1", "a", "", model={"max_tokens": None}, **more)
    sentence = foretold(path)
    assert "evolve will send writer 2 requests" in sentence
    assert "and 4 more at most" in sentence
    assert "`max_tokens` is not given" in sentence
    assert sentence.endswith("; what judge will send is told later")


ANSWER = "Keep it in a linen bag inside a wooden box, cut side down, and toast what has gone dry after three days."
REFUSAL = "I'm sorry, but I cannot help with that request."


def evolving(request: Request) -> str:
    """A new instruction in each round, that something was gained, and an answer."""
    told = said(request)
    if "somewhat harder" in told:
        return f"How is it kept for {request.sample + 2} weeks in a damp kitchen?"
    return "DIFFERENT" if "You compare" in told else ANSWER


WORST: dict[str, tuple[dict[str, Any], Record, Answer, int]] = {
    "rewrite": ({"style": "short"}, chat("How?", ANSWER), lambda request: "!!", 2),
    "translate": ({"to": "zh"}, chat("How?", ANSWER), lambda request: REFUSAL, 4),
    "instruct_back": ({}, passage(ANSWER), lambda request: "How is bread kept fresh for long?\nScore: 5", 2),
    "evolve": ({"rounds": 2, "operations": ["deepen"]}, chat("How is it kept?", "So."), evolving, 6),
    "self_instruct": ({"rounds": 3, "per_round": 2, "path": "seeds.jsonl"}, chat("Why?", "So."), lambda request: "", 6),
    "respond": ({"llm": ["writer"], "samples": 3}, chat("How?", ANSWER), lambda request: str(request.sample), 3),
    "judge": ({"mode": "score"}, chat("How?", ANSWER), lambda request: '{"score": 5}', 3),
}


@pytest.mark.parametrize("use", WORST)
def test_no_record_asks_more_than_is_told(tmp_path: Path, use: str) -> None:
    (tmp_path / "seeds.jsonl").write_text('{"instruction": "Why?", "output": "So."}\n')
    settings, record, answer, most = WORST[use]
    if "path" in settings:
        settings = {**settings, "path": tmp_path / settings["path"]}
    module = components.asker(use)
    parsed = module.Settings.model_validate({"llm": "writer", **settings})
    trial, real = Model(lambda request: NoReply("not_asked", "")), Model(answer)
    took(module.start(use, parsed, CONTEXT), [record], {"writer": trial})
    took(module.start(use, parsed, CONTEXT), [record], {"writer": real})
    later = components.later(use, parsed).get("writer", 0)
    assert len(real.requests) == most == len(trial.requests) * (1 + later)


def test_what_failed_and_was_sent_again_stands_in_the_record_of_a_build(tmp_path: Path) -> None:
    def behave(number: int, seen: Seen) -> Act:
        acts = {0: Act(status=500), 2: Act(status=429), 3: Act(how="half"), 4: Act(status=429)}
        return acts.get(number, echo(number, seen))

    with Server(behave) as server:
        path = recipe(tmp_path, server.url, "abc", "abc", model={"concurrency": 1})
        manifest = build(config.load(path), tmp_path / "out", lambda _: None, Options(workers=1)).manifest
        sent = len(server.seen)
    noted: dict[str, int] = {}
    for counts in manifest.noted.values():
        for name, count in counts.items():
            noted[name] = noted.get(name, 0) + count
    assert sent == noted["requests"] == 10
    assert noted["requests sent again"] == 4
    failed = {name: count for name, count in noted.items() if name.startswith("failed")}
    assert failed == {"failed: 429": 2, "failed: 500": 1, "failed: no whole answer": 1}


def test_a_cost_that_nobody_can_count_is_no_limit_and_is_refused(tmp_path: Path) -> None:
    path = recipe(tmp_path, "http://127.0.0.1:9/v1", "a", "a", budget={"max_cost": 5})
    with pytest.raises(
        ConfigError, match=r"recipe\.yaml.*budget\.max_cost stops nothing where llm\.writer has no `price`"
    ):
        build(config.load(path), tmp_path / "out", lambda _: None, Options(workers=1))


@pytest.mark.parametrize("where", ["error", "header", "reply", "garbage"])
def test_a_key_that_an_endpoint_says_again_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    from dataforge.cli import run

    monkeypatch.setenv("OPENAI_API_KEY", "sk-marked-0123456789")

    def behave(number: int, seen: Seen) -> Act:
        key = seen.headers["authorization"]
        if where == "reply":
            return Act(f"{echo(number, seen).text} {key}")
        if number:
            return echo(number, seen)
        if where == "header":
            return Act(status=400, headers={"X-Echo": key}, text=f'{{"detail": "{key}"}}', how="raw")
        return Act(f'{{"error": {{"message": "bad {key}"}}}}' if where == "error" else key, status=400, how="raw")

    with Server(behave) as server:
        path = recipe(tmp_path, server.url, "a", "a")
        monkeypatch.chdir(tmp_path)
        assert run(["build", str(path), "--yes", "--workers", "1"]) == 0
        assert len(server.seen) >= 2
    told = capsys.readouterr()
    assert "sk-marked" not in told.out + told.err
    for each in tmp_path.rglob("*"):
        assert not each.is_file() or b"sk-marked" not in each.read_bytes(), each
    if where != "reply":
        assert "[the key]" in (tmp_path / "builds" / "r" / "rejects.jsonl").read_text()
