"""`forge cache`: what is told before replies are forgotten, and which stay."""

import io
import itertools
import json
import sqlite3
import time
from pathlib import Path

import pytest

from dataforge.cli import run
from dataforge.llm.cache import ENVIRONMENT, Cache
from dataforge.llm.requests import Reply

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
