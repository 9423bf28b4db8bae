"""`forge cache`: what is told before replies are forgotten, and which stay."""

import io
import itertools
import json
import sqlite3
import time
from pathlib import Path

import pytest

from dataforge.cli import run
from dataforge.errors import InputError
from dataforge.llm import replay
from dataforge.llm.cache import ENVIRONMENT, Cache
from dataforge.llm.requests import NoReply, Reply

DAY = 86400
LONG = "word " * 400


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with 100 replies of `old` and 100 of `new`; number n was last used n days ago."""
    path = tmp_path / "llm.sqlite"
    monkeypatch.setenv(ENVIRONMENT, str(path))
    cache = Cache()
    for model, number in itertools.product(("old", "new"), range(100)):
        reply = Reply(LONG, model=model, prompt_tokens=10, completion_tokens=400)
        cache.put(f"{hash((model, number)):x}/{model}/{number}", {"messages": [LONG]}, reply)
    cache.close()
    with sqlite3.connect(path) as db:
        for key, model in db.execute("SELECT key, model FROM replies").fetchall():
            ago = int(key.rpartition("/")[2]) + (0.25 if model == "old" else 0.5)
            db.execute("UPDATE replies SET used = ? WHERE key = ?", (time.time() - ago * DAY, key))
    db.close()
    return path


def left() -> dict[str, list[int]]:
    """The numbers of the replies that are there, by model."""
    cache = Cache()
    found: dict[str, list[int]] = {"old": [], "new": []}
    for row in cache.rows():
        found[row.model].append(int(row.key.rpartition("/")[2]))
    cache.close()
    return {model: sorted(numbers) for model, numbers in found.items()}


ALL = list(range(100))


def test_by_model_and_by_age(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cache", "prune", "--model", "old", "--unused-days", "60", "--yes"]) == 0
    assert left() == {"old": list(range(60)), "new": ALL}
    told = capsys.readouterr()
    assert "40 replies of old will be forgotten, 0.2 MB, 400 tokens in, 16,000 out, last used" in told.err
    assert "40 replies forgotten" in told.out
    assert run(["cache", "prune", "--unused-days", "80", "--yes"]) == 0
    assert left() == {"old": list(range(60)), "new": list(range(80))}


@pytest.mark.parametrize("kilobytes", [700, 300, 100])
def test_by_size_the_longest_unused_go_first_and_no_more_than_need(kept: Path, kilobytes: int) -> None:
    before = kept.stat().st_size
    assert before > 800_000
    assert run(["cache", "prune", "--to-size", f"{kilobytes}KB", "--yes"]) == 0
    assert kept.stat().st_size <= kilobytes * 1000
    found = left()
    # What stays is the most recently used of both models together; `old` was used a quarter of a day later each time.
    count = len(found["old"]) + len(found["new"])
    assert found == {"old": list(range((count + 1) // 2)), "new": list(range(count // 2))}
    assert count >= 0.8 * 200 * kilobytes * 1000 / before - 12


def test_a_size_that_is_not_reached_takes_nothing(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cache", "prune", "--to-size", "1GB"]) == 0
    assert left() == {"old": ALL, "new": ALL}
    assert "0 replies forgotten" in capsys.readouterr().out


def test_nothing_goes_where_nobody_can_be_asked(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run(["cache", "prune", "--unused-days", "0"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "200 replies of all models will be forgotten" in told
    assert "--yes" in told
    assert left() == {"old": ALL, "new": ALL}
    assert run(["cache", "prune"]) == 2
    assert "--to-size" in capsys.readouterr().err


def test_what_is_reported_as_json(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cache", "prune", "--unused-days", "0", "--yes", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["forgotten"], said["file"], said["bytes"]) == (200, str(kept), kept.stat().st_size)
    assert run(["cache", "stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == []


CUT = NoReply("truncated", "cut off after 512 tokens", "half a", "new", 10, 512)
REFUSED = NoReply("refused", "I cannot", model="old", prompt_tokens=10, completion_tokens=3)


@pytest.fixture
def unusable(kept: Path) -> Path:
    """The same cache with two replies that can become no record."""
    cache = Cache()
    cache.put("x/new/500", {"messages": [LONG]}, CUT)
    cache.put("x/old/500", {"messages": [LONG]}, REFUSED)
    cache.close()
    return kept


def test_what_can_become_no_record_is_forgotten_alone(unusable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cache", "prune", "--unusable", "--model", "new", "--yes"]) == 0
    assert left() == {"old": [*ALL, 500], "new": ALL}
    told = capsys.readouterr()
    assert "1 unusable replies of new will be forgotten, 0.0 MB, 10 tokens in, 512 out" in told.err
    assert run(["cache", "prune", "--unusable", "--yes"]) == 0
    assert left() == {"old": ALL, "new": ALL}
    assert run(["cache", "prune", "--unusable", "--yes"]) == 0
    assert "0 replies forgotten" in capsys.readouterr().out.splitlines()[-1]


def test_what_can_become_no_record_is_counted_and_exported(unusable: Path, tmp_path: Path) -> None:
    cache = Cache()
    assert {(each.model, each.replies, each.completion_tokens) for each in cache.stats()} == {
        ("old", 101, 40_003),
        ("new", 101, 40_512),
    }
    cache.close()
    assert run(["cache", "export", str(tmp_path / "replies.jsonl")]) == 0
    lines = [json.loads(text) for text in (tmp_path / "replies.jsonl").read_bytes().splitlines()]
    (cut,) = (line["reply"] for line in lines if line["key"] == "x/new/500")
    assert (cut["reason"], cut["detail"], cut["text"]) == (CUT.reason, CUT.detail, CUT.text)
    recorded = replay.read(tmp_path / "replies.jsonl")
    assert len(recorded) == 202
    assert (recorded["x/new/500"], recorded["x/old/500"]) == (CUT, REFUSED)
    assert sum(isinstance(reply, Reply) for reply in recorded.values()) == 200


@pytest.mark.parametrize("reason", ["failed", "not_asked", "tired", ["truncated"]])
def test_what_is_never_kept_is_no_recorded_reply(tmp_path: Path, reason: object) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"key": "k", "reply": {"reason": reason, "detail": "502"}}) + "\n")
    with pytest.raises(InputError, match=r"replies\.jsonl:1: is no recorded reply"):
        replay.read(path)
