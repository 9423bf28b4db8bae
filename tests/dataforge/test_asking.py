"""Builds whose steps ask a language model, against a server on a real socket."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataforge import check, config, explain, preview
from dataforge.build import Options, Outcome, build
from dataforge.errors import BuildError, ConfigError, ForgeError, InputError
from dataforge.llm import door, replay
from dataforge.llm.cache import ENVIRONMENT, Cache
from tests.dataforge.faulty import started
from tests.llm_server import Act, Seen, Server

ROWS = [{"instruction": f"Say what {n} and {n} are.", "output": f"They are {2 * n}."} for n in range(60)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache for each test, and waits a hundred times shorter."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "llm.sqlite"))
    monkeypatch.setattr(door, "FIRST_WAIT", 0.005)


def rewritten(number: int, seen: Seen) -> Act:
    """A reply that keeps the number that the answer has."""
    sum_ = next(
        part for part in seen.asked.replace(".", " ").split() if part.isdecimal() and f"They are {part}." in seen.asked
    )
    return Act(f"Together they make {sum_}.")


def recipe(folder: Path, url: str, rows: list[dict[str, Any]] = ROWS, **more: Any) -> Path:
    """A recipe whose answers are rewritten."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: dict[str, Any] = {
        "name": "r",
        "tokenizer": "smollm2-135m",
        "sources": [{"use": "alpaca", "path": "rows.jsonl"}],
        "llm": {"writer": {"base_url": url, "model": "m", "concurrency": 8}},
        "steps": [{"use": "rewrite", "llm": "writer", "style": "short and friendly"}],
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({**said, **more}))
    return path


def built(path: Path, out: str = "out", **options: Any) -> Outcome:
    """A build of a recipe beside it."""
    return build(config.load(path), path.parent / out, lambda _: None, Options(**{"workers": 1, **options}))


def answers(folder: Path) -> list[str]:
    """All answers of a build."""
    return sorted(
        message["content"]
        for path in (folder / "records").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
        for message in row["messages"]
        if message["role"] == "assistant"
    )


def test_every_record_is_asked_for_once_and_a_build_after_it_asks_nothing(tmp_path: Path) -> None:
    with Server(rewritten) as server:
        path = recipe(tmp_path, server.url)
        first = built(path)
        assert len(server.seen) == len(ROWS)
        assert answers(tmp_path / "out") == sorted(f"Together they make {2 * n}." for n in range(60))
        assert not list(check.faults(tmp_path / "out"))
        assert first.manifest.noted["rewrite"]["requests"] == 60
        assert built(path).reused
        again = built(path, "other", workers=2)
        assert len(server.seen) == len(ROWS)
    assert again.manifest.digest == first.manifest.digest
    assert again.manifest.noted["rewrite"]["replies from the cache"] == 60


def test_an_edit_asks_again_only_for_what_it_changed(tmp_path: Path) -> None:
    with Server(rewritten) as server:
        built(recipe(tmp_path, server.url))
        rows = [*ROWS[:30], {"instruction": "Say what 99 and 99 are.", "output": "They are 198."}, *ROWS[31:]]
        built(recipe(tmp_path, server.url, rows))
        assert len(server.seen) == 61
        built(recipe(tmp_path, server.url, rows, max_tokens=512, train_on="last_turn"))
        assert len(server.seen) == 61


def test_failures_on_the_way_change_nothing_that_is_built(tmp_path: Path) -> None:
    def failing(number: int, seen: Seen) -> Act:
        return Act(status=500) if number % 3 == 0 and number else rewritten(number, seen)

    with Server(failing) as server:
        one = built(recipe(tmp_path, server.url))
    (tmp_path / "llm.sqlite").unlink()
    with Server(rewritten) as server:
        other = built(recipe(tmp_path, server.url), "other")
    assert one.manifest.digest == other.manifest.digest
    assert one.manifest.noted["rewrite"]["requests"] > 60


def test_what_gets_no_reply_is_a_reject_and_never_a_record(tmp_path: Path) -> None:
    def behave(number: int, seen: Seen) -> Act:
        if "They are 6." in seen.asked:
            return Act("They ma", finish="length")
        if "They are 8." in seen.asked:
            return Act("", message={"refusal": "I will not add."})
        return rewritten(number, seen)

    with Server(behave) as server:
        outcome = built(recipe(tmp_path, server.url))
        assert outcome.manifest.funnel[2].rejected == {"refused": 1, "truncated": 1}
        before = len(server.seen)
        (tmp_path / "out" / "manifest.json").unlink()
        built(recipe(tmp_path, server.url))
        assert len(server.seen) == before


def test_what_failed_for_good_is_asked_again_by_the_next_build_and_only_that(tmp_path: Path) -> None:
    ill = True

    def behave(number: int, seen: Seen) -> Act:
        return Act(status=400) if ill and "They are 6." in seen.asked else rewritten(number, seen)

    with Server(behave) as server:
        path = recipe(tmp_path, server.url)
        first = built(path)
        assert first.manifest.funnel[2].rejected == {"failed": 1}
        assert built(path).manifest.digest == first.manifest.digest
        assert len(server.seen) == len(ROWS) + 1
        ill = False
        second = built(path)
        assert len(server.seen) == len(ROWS) + 2
        assert second.manifest.funnel[2].rejected == {}
        assert built(path).reused
    assert answers(tmp_path / "out") == sorted(f"Together they make {2 * n}." for n in range(60))
    assert not list(check.faults(tmp_path / "out"))


PROGRAM = """
import sys
from pathlib import Path
from dataforge import config
from dataforge.build import Options, build
path = Path(sys.argv[1])
build(config.load(path), path.parent / "out", lambda text: None, Options(workers=1))
"""


def test_a_build_that_is_killed_asks_for_no_finished_reply_twice(tmp_path: Path) -> None:
    def slow(number: int, seen: Seen) -> Act:
        return Act(rewritten(number, seen).text, delay=0.03)

    rows = [{"instruction": f"Say what {n} and {n} are.", "output": f"They are {2 * n}."} for n in range(400)]
    with Server(slow) as server:
        path = recipe(tmp_path, server.url, rows)
        for wanted in (40, 150, 260):
            run = subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], env=dict(os.environ))
            while len(server.answered) < wanted:
                assert run.poll() is None
                time.sleep(0.002)
            run.send_signal(signal.SIGKILL)
            run.wait()
        outcome = built(path)
    times = Counter(server.answered)
    # A kill costs at most what was under way: 8 at a time.
    assert sum(times.values()) - len(times) <= 3 * 8
    assert len(times) == 400
    assert outcome.manifest.statistics["train"].rows == 400


@pytest.mark.parametrize("status", [500, 401])
def test_a_server_that_only_fails_ends_the_build_with_its_own_words(tmp_path: Path, status: int) -> None:
    with (
        Server(lambda number, seen: Act('{"error": {"message": "no model here"}}', status=status, how="raw")) as server,
        pytest.raises(BuildError, match="no model here"),
    ):
        built(recipe(tmp_path, server.url))
    assert len(server.seen) <= 36
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_spent_budget_ends_it_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    with Server(rewritten) as server:
        with pytest.raises(BuildError, match=r"budget\.max_requests"):
            built(recipe(tmp_path, server.url, budget={"max_requests": 25}))
        assert len(server.seen) == 25
        built(recipe(tmp_path, server.url, budget={"max_requests": 500}))
        assert len(server.seen) == 60


def test_what_it_will_cost_is_said_before_and_may_be_refused(tmp_path: Path) -> None:
    said: list[str] = []

    def refuse(sentence: str) -> None:
        said.append(sentence)
        raise ForgeError("no")

    price = {"base_url": "", "model": "m", "max_tokens": 100, "price": {"input": 10, "output": 100}}
    with Server(rewritten) as server:
        path = recipe(tmp_path, server.url, llm={"writer": {**price, "base_url": server.url}})
        with pytest.raises(ForgeError, match="no"):
            built(path, confirm=refuse)
        assert not server.seen
        counts = built(path, confirm=said.append).manifest.noted["rewrite"]
        assert (counts["rewritten"], counts.get("not_asked")) == (60, None)
        (tmp_path / "out" / "manifest.json").unlink()
        built(path, confirm=said.append)
    assert len(said) == 2
    assert said[0].startswith("rewrite will send writer 60 requests with about ")
    assert "at most 6,000 in the replies, and 60 more at most" in said[0]
    assert "for at most 0.68, or 1.43 with all that may follow" in said[0]
    assert said[1] == said[0]
    # 60 replies of 10 tokens in and 5 out.
    assert (counts["requests"], counts["requests foreseen"], counts["requests foreseen at most"]) == (60, 60, 120)
    assert counts["cost in millionths"] == 60 * (10 * 10 + 5 * 100)
    assert counts["cost foreseen at most, in millionths"] > counts["cost in millionths"]


def test_recorded_replies_build_without_a_server_and_a_miss_says_which(tmp_path: Path) -> None:
    with Server(rewritten) as server:
        first = built(recipe(tmp_path, server.url))
    lines = [replay.line(row) for row in Cache().rows()]
    (tmp_path / "replies.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "llm.sqlite").unlink()
    nowhere = {"writer": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}
    other = built(recipe(tmp_path, "", llm=nowhere, replay="replies.jsonl"), "other")
    assert answers(tmp_path / "other") == answers(tmp_path / "out")
    assert other.manifest.statistics == first.manifest.statistics
    assert not (tmp_path / "llm.sqlite").exists()
    (tmp_path / "replies.jsonl").write_bytes(b"".join(lines[1:]))
    with pytest.raises(InputError, match=r"replies\.jsonl: holds no reply to the request .*They are"):
        built(recipe(tmp_path, "", llm=nowhere, replay="replies.jsonl"), "third")


def test_replies_that_become_no_record_are_paid_for_once_and_replayed(tmp_path: Path) -> None:
    def half(number: int, seen: Seen) -> Act:
        return Act("Together", finish="length") if "They are 1" in seen.asked else rewritten(number, seen)

    said: list[str] = []
    with Server(half) as server:
        path = recipe(tmp_path, server.url)
        first = built(path)
        asked = len(server.seen)
        again = built(path, "again", confirm=said.append)
        shown = preview.of_recipe(config.load(path), 3)
        assert len(server.seen) == asked
    assert not said  # nothing was foreseen
    assert {reject.reason for reject in shown.rejects} <= {"rewrite/truncated"}
    assert first.manifest.statistics == again.manifest.statistics
    cut = sum(f"They are {2 * n}.".startswith("They are 1") for n in range(60))
    counts = again.manifest.noted["rewrite"]
    assert (counts["replies from the cache"], counts.get("requests")) == (60, None)
    assert len(answers(tmp_path / "again")) == 60 - cut < 60
    (tmp_path / "replies.jsonl").write_bytes(b"".join(replay.line(row) for row in Cache().rows()))
    (tmp_path / "llm.sqlite").unlink()
    nowhere = {"writer": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}}
    built(recipe(tmp_path, "", llm=nowhere, replay="replies.jsonl"), "other")
    rejects = (tmp_path / "out" / "rejects.jsonl").read_bytes()
    for name in ("again", "other"):
        assert answers(tmp_path / name) == answers(tmp_path / "out")
        assert (tmp_path / name / "rejects.jsonl").read_bytes() == rejects
    assert rejects.count(b'"reason":"truncated"') == cut == 15


def test_replies_that_became_no_record_are_asked_for_again_once_they_are_forgotten(tmp_path: Path) -> None:
    short = True

    def half(number: int, seen: Seen) -> Act:
        return Act("Together", finish="length") if short and "They are 1" in seen.asked else rewritten(number, seen)

    with Server(half) as server:
        path = recipe(tmp_path, server.url)
        built(path)
        asked, short = len(server.seen), False
        cache = Cache()
        assert cache.prune(unusable=True) == 15
        cache.close()
        built(path, "other")
        assert len(server.seen) == asked + 15
        assert len(answers(tmp_path / "other")) == 60
        assert built(path).reused  # what a folder holds already is not made anew


def test_a_preview_takes_what_was_paid_for_and_shows_what_would_be_asked(tmp_path: Path) -> None:
    with Server(rewritten) as server:
        path = recipe(tmp_path, server.url)
        shown = preview.of_recipe(config.load(path), 3)
        assert not server.seen
        assert not shown.shown
        assert shown.rejects[0].reason == "rewrite/not_asked"
        assert "would ask m: " in shown.rejects[0].detail
        built(path)
        asked = len(server.seen)
        shown = preview.of_recipe(config.load(path), 3)
    assert len(shown.shown) == 3
    assert shown.shown[0].messages[-1].text.startswith("Together they make")
    assert len(server.seen) == asked


def test_what_would_be_asked_is_explained_without_asking(tmp_path: Path) -> None:
    with Server(rewritten) as server:
        path = recipe(tmp_path, server.url)
        before = list(explain.explained(config.load(path), tmp_path / "out"))
        built(path)
        asked = len(server.seen)
        after = list(explain.explained(config.load(path), tmp_path / "out"))
        assert len(server.seen) == asked
    assert any("run" in line for line in before)
    assert "nothing would run" in after[0]


@pytest.mark.parametrize(
    ("llm", "words"),
    [
        ({}, "there is no model 'writer' under `llm:`, and the recipe has none"),
        ({"writter": {"base_url": "http://x", "model": "m"}}, "did you mean 'writter'"),
        ({"writer": {"base_url": "localhost:8000", "model": "m"}}, "is no address of an endpoint"),
        ({"writer": {"base_url": "http://x", "model": "m", "concurency": 3}}, "concurrency"),
        ({"writer": {"base_url": "http://x"}}, "model"),
        (
            {"writer": {"base_url": "http://x", "model": "m", "key_file": "nowhere.txt"}},
            r"nowhere\.txt: the key cannot",
        ),
    ],
)
def test_a_model_that_is_not_said_right_ends_in_one_line(tmp_path: Path, llm: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, InputError), match=words):
        built(recipe(tmp_path, "", llm=llm))


def test_no_key_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with Server(rewritten) as server:
        built(recipe(tmp_path, server.url))
        assert server.seen[0].headers["authorization"] == "Bearer sk-very-secret"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sk-very-secret" not in path.read_bytes()


def test_the_sample_from_passages_to_shards_builds_from_recorded_replies(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "samples" / "recipes" / "ask.yaml"
    manifest = build(config.load(path), tmp_path / "out", lambda _: None, Options(workers=1)).manifest
    stations = {stage.stage: stage for stage in manifest.funnel}
    assert stations["chunk"].passed == 10
    # Ten passages in two styles, for two questions and then for one more: 30, of which four have a fault.
    assert stations["ask"].rejected == {"no_evidence": 1, "not_self_contained": 2, "round_trip": 1}
    assert stations["length"].passed == 26
    assert not (tmp_path / "llm.sqlite").exists()
    assert not list(check.faults(tmp_path / "out"))


def test_an_interrupt_while_asking_says_that_replies_are_kept_and_they_are(tmp_path: Path) -> None:
    def slow(number: int, seen: Seen) -> Act:
        return Act(rewritten(number, seen).text, delay=0.05)

    with Server(slow) as server:
        path = recipe(tmp_path, server.url)
        command = ("build", str(path), "--out", "out", "--yes", "--workers", "1")
        with started(tmp_path, *command) as running:
            running.wait_until(lambda: len(server.answered) >= 16)
            running.process.send_signal(signal.SIGINT)
            code, said = running.ended()
        assert code == 130
        assert said[-1] == (
            "interrupted: 0 of 1 parts of 'rewrite' are done and kept, and so is every reply; "
            "the same command goes on from there"
        )
        built(path)
    times = Counter(server.answered)
    assert len(times) == 60
    assert sum(times.values()) - len(times) <= 8
