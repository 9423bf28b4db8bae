"""What can go wrong around a run: damaged data, the wrong base, a full disk, a kill at any instant."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from dataforge.cli import run as run_command
from dataforge.shards import Build
from tests.conftest import write_tiny_base

from .conftest import random_windows, write_build
from .cut_off import Ended, FullAt, KillAt, Tell, forge, fresh, result

TRAIN = {
    "base": "base",
    "data": "build",
    "adapter": {"rank": 4, "alpha": 8.0, "dropout": 0.1},
    "epochs": 3,
    "tokens_per_step": 100,
    "learning_rate": 0.01,
    "precision": "fp32",
    "eval_every": 4,
    "save_every": 3,
}
COMMAND = ["train", "recipe.yaml"]


@pytest.fixture
def place(tmp_path: Path, tiny_base: Path, build: Build) -> Path:
    """A folder with a recipe, a base model and a build."""
    (tmp_path / "base").symlink_to(tiny_base)
    write_recipe(tmp_path)
    return tmp_path


def write_recipe(folder: Path, **settings: Any) -> None:
    (folder / "recipe.yaml").write_text(json.dumps({"train": {**TRAIN, **settings}}))


def refused(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *more: str) -> str:
    """The one line that a command ends in; nothing may have been trained."""
    monkeypatch.chdir(place)
    assert run_command([*COMMAND, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert not list(place.glob("runs/*/*"))
    return line


@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_flipped_byte_of_a_shard(
    place: Path, split: str, share: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "build" / "shards" / f"{split}-00000.arrow"
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 16
    path.write_bytes(content)
    said = refused(place, capsys, monkeypatch)
    assert f"{split}-00000.arrow: the shard's bytes are not those that were built" in said
    assert "delete build and build again" in said


def test_a_shard_that_is_cut_off_or_missing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "build" / "shards" / "train-00000.arrow"
    path.write_bytes(path.read_bytes()[:-100])
    assert "not those that were built" in refused(place, capsys, monkeypatch)
    path.unlink()
    assert "the shard is missing; build again" in refused(place, capsys, monkeypatch)


def test_another_tokenizer_than_the_builds(
    place: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_base, place / "other")
    tokens = json.loads((place / "other" / "tokenizer.json").read_text())
    tokens["model"]["merges"] = tokens["model"]["merges"][:-1]
    (place / "other" / "tokenizer.json").write_text(json.dumps(tokens))
    said = refused(place, capsys, monkeypatch, "train.base=other")
    assert "build was encoded with the tokenizer of tiny" in said
    assert "build again with `tokenizer: " in said


def test_an_adapter_of_another_base(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_base(place / "other", seed=1)
    monkeypatch.chdir(place)
    assert run_command([*COMMAND, "train.base=other", "train.steps=1", "train.epochs=null", "--out", "first"]) == 0
    capsys.readouterr()
    said = refused(place, capsys, monkeypatch, "train.init_from=first/adapter")
    assert "first/adapter: was trained on " in said
    assert "use the base it was trained on, or train again" in said


@pytest.mark.parametrize("taken", ["runs", "runs/tiny", "runs/tiny/checkpoints", "runs/tiny/metrics.jsonl"])
def test_something_else_in_the_place_of_what_is_written(
    place: Path, taken: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    if taken.endswith("metrics.jsonl"):
        Path(taken).mkdir(parents=True)
    else:
        Path(taken).parent.mkdir(parents=True, exist_ok=True)
        Path(taken).touch()
    assert run_command(COMMAND) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: runs/tiny/")
    assert "cannot be written (" in line
    assert "--out" in line


@pytest.fixture(scope="module")
def whole(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run leaves that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    write_build(folder / "build", tiny_base, random_windows(12, 1, "t"), random_windows(3, 2, "e"))
    (folder / "base").symlink_to(tiny_base)
    write_recipe(folder)
    ended = forge(COMMAND, folder)
    assert ended.code == 0, ended.said
    return result(folder / "runs" / "tiny")


@pytest.mark.parametrize(
    ("fault", "named", "saved"),
    [
        (FullAt(".step-00000006.", 1000), "checkpoints/step-00000006", [3, 4]),
        (FullAt("open runs/tiny/metrics.jsonl", 500), ".losses.jsonl", []),
        (FullAt("mkdir runs/tiny/.adapter.", 100), "adapter", [9, 10]),
        (FullAt("mkdir runs/tiny/.adapter.", 10_000), "adapter", [9, 10]),
        (FullAt(".outcome.json.", 10), "adapter", [9, 10]),
    ],
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    place: Path, whole: dict[str, Any], fault: FullAt, named: str, saved: list[int]
) -> None:
    full = forge(COMMAND, place, fault)
    assert full.code == 2, full.said
    assert "Traceback" not in full.said
    line = full.said.splitlines()[-1]
    assert line.startswith(f"error: runs/tiny/{named}: cannot be written (")
    assert "File too large" in line
    assert "make room" in line
    run_folder = place / "runs" / "tiny"
    kept = (run_folder / "checkpoints").glob("*")
    assert sorted(int(path.name.removeprefix("step-")) for path in kept) == saved
    assert {path.name for path in run_folder.rglob(".*")} <= {".losses.jsonl"}
    again = forge(COMMAND, place)
    assert again.code == 0, again.said
    assert ("going on after step" in again.said) == bool(saved)
    assert result(run_folder) == whole


def test_a_disk_that_is_full_when_the_build_is_written(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "c.jsonl").write_text(json.dumps({"instruction": "q", "output": "a " * 200}) + "\n")
    source = {"use": "alpaca", "path": "c.jsonl"}
    recipe = {"name": "x", "tokenizer": str(tiny_base), "max_tokens": 2000, "sources": [source]}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    full = forge(["build", "r.yaml", "--out", "runs/b"], tmp_path, FullAt("mkdir runs/b", 300))
    assert full.code == 2, full.said
    assert "error: runs/b: File too large; make room" in full.said.splitlines()[-1]
    assert [path.name for path in (tmp_path / "runs" / "b").rglob("*") if path.is_file()] == ["lock"]
    assert forge(["build", "r.yaml", "--out", "runs/b"], tmp_path).code == 0


def finish(place: Path, kills: list[dict[str, Any]]) -> list[Ended]:
    """Run the command, killing it as told, and then until it is finished."""
    ended = [forge(COMMAND, place, **kill) for kill in kills]
    last = forge(COMMAND, place)
    assert last.code == 0, last.said
    return [*ended, last]


@pytest.mark.parametrize("after_another_run", [False, True])
def test_a_run_killed_at_any_instant_ends_as_if_it_had_not_been(place: Path, after_another_run: bool) -> None:
    write_recipe(place, keep=1)
    run_folder, before = place / "runs" / "tiny", None
    if after_another_run:
        before = place / "before"
        other = forge([*COMMAND, "train.learning_rate=0.1", "--out", str(before)], place)
        assert other.code == 0, other.said
    fresh(place, before)
    whole = forge(COMMAND, place, Tell())
    assert whole.code == 0, whole.said
    wanted, events = result(run_folder), whole.said.count("event ")
    draw = random.Random(11 + after_another_run)
    for part in (0.1, 0.9):
        fresh(place, before)
        first = KillAt(1 + round(part * (events - 2)) + draw.randint(0, 1))
        ended = finish(place, [{"fault": first}, {"kill_after": draw.uniform(0.2, 1) * whole.seconds}])
        assert ended[0].code == -9
        found = result(run_folder)
        assert set(found["files"]) ^ set(wanted["files"]) == set(), (first, ended)
        assert found == wanted, (first, ended)


def test_a_kill_between_two_renames_loses_no_checkpoint(tmp_path: Path, tiny_base: Path) -> None:
    windows = random_windows(4, 1, "t")
    write_build(tmp_path / "build", tiny_base, windows, [])
    (tmp_path / "base").symlink_to(tiny_base)
    write_recipe(tmp_path, keep=1)
    assert forge(COMMAND, tmp_path).code == 0
    run_folder = tmp_path / "runs" / "tiny"
    wanted = result(run_folder)
    (run_folder / "outcome.json").unlink()
    (newest,) = (run_folder / "checkpoints").iterdir()
    newest.rename(newest.with_name(f".{newest.name}.99.old"))
    (run_folder / "adapter").rename(run_folder / ".adapter.99.old")
    again = forge(COMMAND, tmp_path)
    assert again.code == 0
    assert f"going on after step {int(newest.name.removeprefix('step-'))}" in again.said
    assert result(run_folder) == wanted
