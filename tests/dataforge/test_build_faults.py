"""Whatever happens to a build, the same command goes on from there and ends with the same digest."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dataforge import check, config, readers
from dataforge.build import Options, Outcome, build
from dataforge.explain import explained
from dataforge.shards import read_manifest
from tests.dataforge.faulty import Full, KillAt, Running, forge, notes, said_by, started, write_chats

SIZES = {"long": 2100, "middle": 120, "short": 100}
"""Records of each source: the first has two parts."""
STAGES = 19
"""Of a build: 4 parts as records, as decided and as rows, links, decisions, 2 orders, 2 shards and Parquet."""


@dataclass(frozen=True)
class Place:
    """A folder with a recipe, its sources, and a build that nothing disturbed."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def whole(self) -> Path:
        return self.folder / "whole"

    @property
    def digest(self) -> str:
        return read_manifest(self.whole).digest


def write_recipe(folder: Path, base: Path, names: list[str]) -> None:
    recipe = {
        "name": "faulty",
        "seed": 7,
        "sources": [{"use": "openai", "path": f"{name}.jsonl"} for name in names],
        "steps": [{"use": "dedupe"}],
        "tokenizer": str(base),
        "max_tokens": 128,
        "split": {"eval": 0.2},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))


@pytest.fixture(scope="module")
def once(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("faults"))
    for seed, (name, size) in enumerate(SIZES.items()):
        write_chats(place.folder / f"{name}.jsonl", size, seed)
    write_recipe(place.folder, tiny_base, list(SIZES))
    assert not built(place.recipe, place.whole).reused
    return place


@pytest.fixture
def place(once: Place, tmp_path: Path) -> Place:
    """The same for a test to spoil; files that are one under two names stay so."""
    shutil.rmtree(tmp_path)
    subprocess.run(["cp", "-a", str(once.folder), str(tmp_path)], check=True)
    return Place(tmp_path)


def built(recipe: Path, out: Path, *overrides: str, said: list[str] | None = None, work_limit: int = 10**9) -> Outcome:
    lines = [] if said is None else said
    return build(config.load(recipe, overrides), out, lines.append, Options(workers=1, work_limit=work_limit))


def plan(recipe: Path, out: Path, *overrides: str) -> list[str]:
    return [line.replace(f"{out}: ", "") for line in explained(config.load(recipe, overrides), out)]


def finish(place: Place, out: Path) -> None:
    """Go on with a build, which must do nothing twice and end as if nothing had happened."""
    done = notes(out)
    outcome = built(place.recipe, out)
    assert outcome.manifest.digest == place.digest
    assert outcome.found >= len(done)
    assert {name: state for name, state in notes(out).items() if name in done} == done
    whole(out)


def whole(out: Path) -> None:
    assert list(check.faults(out)) == []
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]
    assert not (out / ".work" / ".scratch").exists() or not list((out / ".work" / ".scratch").iterdir())


def test_a_build_killed_at_every_few_writes_does_nothing_twice(place: Place) -> None:
    draw, out, kills = random.Random(5), place.folder / "b", 0
    # Another build stands there and is taken away on the way.
    standing = {built(place.recipe, out, "seed=8").manifest.digest, place.digest}
    others = notes(out)
    while True:
        done = notes(out)
        code, said = forge(
            place.folder, "build", "recipe.yaml", "--out", "b", "--workers", "1", fault=KillAt(draw.randint(5, 60))
        )
        assert {name: state for name, state in notes(out).items() if name in done} == done
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        if (out / "manifest.json").exists():
            assert read_manifest(out).digest in standing
            assert list(check.faults(out)) == []
        else:
            standing = {place.digest}
    assert kills >= 5
    assert f"  digest {place.digest}" in said
    found = re.search(r"(\d+) of (\d+) tasks found done|nothing has changed", said[0])
    assert found, said
    assert found[1] is None or int(found[1]) >= len(done.keys() - others)
    assert found[2] is None or int(found[2]) == STAGES
    whole(out)


def test_processes_that_are_killed_cost_what_they_were_doing(place: Place) -> None:
    out, command = place.folder / "b", ("build", "recipe.yaml", "--out", "b", "--workers", "2")
    draw = random.Random(6)

    def further() -> Callable[[], bool]:
        enough = len(notes(out)) + draw.randint(1, 4)
        return lambda: len(notes(out)) >= enough

    with started(place.folder, *command) as running:
        running.wait_until(further())
        os.killpg(running.process.pid, signal.SIGKILL)
        assert running.ended()[0] == -signal.SIGKILL
    done = notes(out)
    with started(place.folder, *command) as running:
        running.wait_until(further())
        running.process.kill()
        assert running.ended()[0] == -signal.SIGKILL
        running.wait_for_the_workers()
    assert {name: state for name, state in notes(out).items() if name in done} == done
    done = notes(out)
    with started(place.folder, *command) as running:
        running.wait_until(further())
        for worker in running.workers()[:1]:
            worker.kill()
        assert running.ended() == (0, [])
    assert {name: state for name, state in notes(out).items() if name in done} == done
    assert read_manifest(out).digest == place.digest
    # What the worker was writing is swept away by the next build.
    (out / "manifest.json").unlink()
    finish(place, out)


@pytest.mark.parametrize("whom", ["all", "parent"])
def test_an_interrupt_stops_a_build_at_once_with_one_line(place: Place, whom: str) -> None:
    marker, command = place.folder / "waits", ("build", "recipe.yaml", "--out", "b", "--workers", "2")
    with started(place.folder, *command, fault=f"short.jsonl|{marker}|waits") as running:
        running.wait_until(lambda: marker.exists() and len(notes(place.folder / "b")) == 3)
        interrupt(running, whom)
        code, said = running.ended()
        assert code == 130
        assert len(said) == 1, said
        # What was done last may not have been reported yet.
        assert re.fullmatch("interrupted: [23] of 4 parts of 'read' .* the same command goes on from there", said[0])
        assert running.children, "there was nobody to stop"
        assert running.workers() == []
    finish(place, place.folder / "b")


def test_an_interrupt_stops_a_build_in_one_process(place: Place) -> None:
    marker, command = place.folder / "waits", ("build", "recipe.yaml", "--out", "b", "--workers", "1")
    with started(place.folder, *command, fault=f"short.jsonl|{marker}|waits alone") as running:
        running.wait_until(marker.exists)
        interrupt(running, "all")
        code, said = running.ended()
    assert code == 130
    assert [line.split(" are done")[0] for line in said] == ["interrupted: 3 of 4 parts of 'read'"]
    finish(place, place.folder / "b")


def test_an_interrupt_while_the_workers_start_says_one_line_too(place: Place) -> None:
    with started(place.folder, "build", "recipe.yaml", "--out", "b", "--workers", "2") as running:
        running.wait_until(lambda: running.look() >= 2)
        interrupt(running, "all")
        code, said = running.ended()
        assert code == 130
        assert len(said) == 1, "\n".join(said)
        assert running.workers() == []


def interrupt(running: Running, whom: str) -> None:
    if whom == "all":
        os.killpg(running.process.pid, signal.SIGINT)
    else:
        running.process.send_signal(signal.SIGINT)


def test_a_worker_that_dies_once_is_replaced(place: Place) -> None:
    fault = f"short.jsonl|{place.folder / 'died'}|dies"
    with started(place.folder, "build", "recipe.yaml", "--out", "b", "--workers", "2", fault=fault) as running:
        assert running.ended() == (0, [])
    assert (place.folder / "died").exists()
    assert read_manifest(place.folder / "b").digest == place.digest


def test_what_kills_every_worker_is_named(place: Place) -> None:
    fault = f"short.jsonl|{place.folder / 'died'}|dies again"
    with started(place.folder, "build", "recipe.yaml", "--out", "b", "--workers", "2", fault=fault) as running:
        code, said = running.ended()
        assert code == 2
        (line,) = said
        assert line.startswith("error: a worker ended with SIGKILL over records 1 to 100 of short.jsonl, and so did")
        assert "--workers" in line
    finish(place, place.folder / "b")


def outputs() -> list[str]:
    rows = ["kept", "trained", "train.arrow", "eval.arrow", "train-thin.parquet", "eval-thin.parquet"]
    gathered = ["thin.parquet", "links.parquet", "decided.parquet", "slices.parquet"]
    return ["records.arrow", "rejects", *rows, *gathered, "shard.arrow", "train.parquet", "eval.parquet"]


def flip(path: Path) -> None:
    """Change a bit in the middle of a file, as a disk does: under all its names, and with the time that it had."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def test_the_kinds_of_outputs_are_all_there_are(place: Place) -> None:
    found = {path.name.partition(".")[2] for path in (place.whole / ".work").glob("*/*.*")}
    assert found == {*outputs(), "done"}


@pytest.mark.parametrize("kind", outputs())
def test_a_flipped_bit_is_found_and_its_stage_alone_made_again(place: Place, kind: str) -> None:
    content = {path: path.read_bytes() for path in place.whole.rglob("*/*.*") if path.is_file()}
    path = random.Random(kind).choice(sorted((place.whole / ".work").glob(f"*/*.{kind}")))
    flip(path)
    (place.whole / "manifest.json").unlink()
    outcome = built(place.recipe, place.whole)
    assert (outcome.made, outcome.found) == (1, len(notes(place.whole)) - 1)
    assert outcome.manifest.digest == read_manifest(place.whole).digest == place.digest
    assert {path: path.read_bytes() for path in content if path.suffix != ".json"} == {
        path: found for path, found in content.items() if path.suffix != ".json"
    }


@pytest.mark.parametrize("harm", [flip, truncate, lengthen, Path.unlink])
def test_whatever_is_harmed_in_the_stage_cache_is_made_again(place: Place, harm: Callable[[Path], None]) -> None:
    """One file of every kind, the notes of what is done among them."""
    draw = random.Random(8)
    for kind in [*outputs(), "done"]:
        harm(draw.choice(sorted((place.whole / ".work").glob(f"*/*.{kind}"))))
    digest = place.digest
    (place.whole / "manifest.json").unlink()
    assert built(place.recipe, place.whole).manifest.digest == digest
    whole(place.whole)


def test_notes_that_hold_garbage_are_not_believed(place: Place) -> None:
    digest, work = place.digest, place.whole / ".work"
    garbage = itertools.cycle([b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"hash":1,"files":{},"facts":{}}'])
    for path, content in zip([*work.glob("*/*.done"), *work.glob("*.json")], garbage, strict=False):
        path.write_bytes(content)
    (place.whole / "manifest.json").unlink()
    outcome = built(place.recipe, place.whole)
    assert (outcome.found, outcome.manifest.digest) == (0, digest)


def test_a_changed_shard_of_a_build_that_stands_is_said_and_mended(place: Place) -> None:
    digest, path = place.digest, place.whole / "shards" / "train-00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    said: list[str] = []
    outcome = built(place.recipe, place.whole, said=said)
    assert said == [f"{path}: is not as it was built, and is made again"]
    assert (outcome.made, outcome.manifest.digest) == (1, digest)
    whole(place.whole)
    path.unlink()
    outcome = built(place.recipe, place.whole, said=said)
    assert said == [f"{path}: is not as it was built, and is made again"] * 2
    assert (outcome.made, outcome.manifest.digest) == (0, digest)
    whole(place.whole)


def test_a_changed_manifest_is_said_and_mended(place: Place) -> None:
    digest, path = place.digest, place.whole / "manifest.json"
    path.write_text(path.read_text().replace('"passed": 2', '"passed": 3', 1))
    said: list[str] = []
    outcome = built(place.recipe, place.whole, said=said)
    assert said == [f"{path}: is not as it was built, and is made again"]
    assert (outcome.made, outcome.manifest.digest) == (0, digest)


def test_a_second_build_into_the_same_folder_is_refused(place: Place) -> None:
    marker, command = place.folder / "waits", ("build", "recipe.yaml", "--out", "b")
    with started(place.folder, *command, "--workers", "2", fault=f"short.jsonl|{marker}|waits") as running:
        running.wait_until(marker.exists)
        code, said = forge(place.folder, *command)
        assert code == 2
        assert said == [
            f"error: b: another build (process {running.process.pid}) is writing here; wait for it, or name another "
            "folder with --out"
        ]
        marker.with_suffix(".go").touch()
        assert running.ended() == (0, [])
    assert read_manifest(place.folder / "b").digest == place.digest


@pytest.mark.parametrize("size", [0, 2_000, 60_000])
def test_files_that_may_not_grow_end_a_build_with_one_line(place: Place, size: int) -> None:
    code, said = forge(place.folder, "build", "recipe.yaml", "--out", "b", "--workers", "1", fault=Full(size))
    assert code == 2
    assert said == ["error: b: File too large; make room and run the same command again: what is done is kept"]
    assert not (place.folder / "b" / "manifest.json").exists()
    assert not list((place.folder / "b").rglob("*.tmp"))
    finish(place, place.folder / "b")


def namespace() -> bool:
    """Whether a filesystem may be mounted where nobody else sees it."""
    found = shutil.which("unshare")
    return (
        found is not None and subprocess.run([found, "-rm", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not namespace(), reason="no filesystem may be mounted here")
def test_a_full_disk_and_one_that_is_read_only_end_a_build_with_one_line(place: Place) -> None:
    forge_build = f"'{sys.executable}' -m dataforge build recipe.yaml --out disk/b --workers 2"
    (place.folder / "disk").mkdir()
    (place.folder / "script").write_text(
        "set -e; mount -t tmpfs -o size=300k none disk\n"
        f"{forge_build} || echo $? >&2\n"
        "ls -A disk/b | tr '\\n' ' ' >&2; echo >&2; mount -o remount,ro disk\n"
        f"{forge_build} || echo $? >&2\n"
        "mount -o remount,rw,size=20m disk\n"
        f"{forge_build}\n"
    )
    found = subprocess.run(
        ["unshare", "-rm", "sh", "script"], cwd=place.folder, capture_output=True, text=True, check=True
    )
    full, code, left, read_only, again = said_by(found.stderr)
    assert full == (
        "error: disk/b: No space left on device; make room and run the same command again: what is done is kept"
    )
    assert left == ".work "
    assert re.fullmatch(r"error: disk/b: cannot be written \(\S+: Read-only file system\); name another .*", read_only)
    assert (code, again) == ("2", "2")
    assert f"digest {place.digest}" in found.stdout
    assert " tasks found done" in found.stdout


@pytest.mark.parametrize("out", ["recipe.yaml", "recipe.yaml/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_is_one_line(place: Place, out: str) -> None:
    code, said = forge(place.folder, "build", "recipe.yaml", "--out", out)
    (line,) = said
    assert code == 2
    assert line.startswith(f"error: {out}: ")
    assert "--out" in line or "move it away" in line


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that opens and cannot be read")
def test_a_source_that_cannot_be_read_is_not_blamed_on_the_build_folder(place: Place) -> None:
    (place.folder / "short.jsonl").unlink()
    (place.folder / "short.jsonl").symlink_to("/proc/self/mem")
    code, said = forge(place.folder, "build", "recipe.yaml", "--out", "b")
    assert (code, said) == (2, ["error: short.jsonl: cannot be read (Input/output error)"])


def test_neither_workers_nor_the_hash_seed_change_a_byte(place: Place) -> None:
    with started(place.folder, "build", "recipe.yaml", "--out", "b", "--workers", "3", PYTHONHASHSEED="3") as running:
        assert running.ended() == (0, [])
    for name in ("shards", "records"):
        for path in (place.whole / name).iterdir():
            assert (place.folder / "b" / name / path.name).read_bytes() == path.read_bytes()
    assert (place.folder / "b" / "rejects.jsonl").read_bytes() == (place.whole / "rejects.jsonl").read_bytes()
    assert read_manifest(place.folder / "b") == read_manifest(place.whole)


@pytest.mark.parametrize("limit", [{"RECORDS_PER_PART": 300}, {"BYTES_PER_PART": 99_999}])
def test_where_parts_end_does_not_matter(place: Place, limit: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    before = readers.scan(place.folder / "long.jsonl").spans
    for name, value in limit.items():
        monkeypatch.setattr(readers, name, value)
    assert readers.scan(place.folder / "long.jsonl").spans != before
    assert built(place.recipe, place.folder / "b").manifest.digest == place.digest
    assert (place.folder / "b" / "rejects.jsonl").read_bytes() == (place.whole / "rejects.jsonl").read_bytes()


def test_what_has_not_changed_is_neither_built_nor_explained_as_if_it_had(place: Place) -> None:
    stages = [("records", 4), ("dedupe", 1), ("dedupe", 1), ("records", 4), ("rows", 4), ("order", 2), ("shard", 2)]
    kinds = [f"  {kind:8} 0 of {count} run" for kind, count in [*stages, ("parquet", 1)]]
    everything = ["everything is made; nothing would run", *kinds]
    assert plan(place.recipe, place.whole) == everything
    os.utime(place.folder / "long.jsonl", (1, 1))
    assert plan(place.recipe, place.whole) == everything
    assert built(place.recipe, place.whole).reused
    assert built(place.recipe, place.whole, work_limit=0).reused


def test_another_chat_template_costs_the_rows_and_what_follows(place: Place, tiny_base: Path) -> None:
    template = place.folder / "other.jinja"
    template.write_text((tiny_base / "chat_template.jinja").read_text().replace("Pebble", "Boulder"))
    overrides = ["chat=other.jinja"]
    assert plan(place.recipe, place.whole, *overrides) == [
        "would run",
        "  records  0 of 4 run",
        "  dedupe   0 of 1 run",
        "  dedupe   0 of 1 run",
        "  records  0 of 4 run",
        "  rows     4 of 4 run: the chat template changed",
        "  all that follows depends on them and runs where its own input changes",
    ]
    said: list[str] = []
    outcome = built(place.recipe, place.whole, *overrides, said=said)
    assert said == [f"{place.whole}: is built anew, as the chat template changed"]
    assert (outcome.made, outcome.found) == (9, 10)
    assert outcome.manifest.digest == built(place.recipe, place.folder / "b", *overrides).manifest.digest
    back = built(place.recipe, place.whole)
    assert (back.made, back.found, back.manifest.digest) == (0, 19, place.digest)


def test_records_that_are_appended_cost_the_last_part(place: Place) -> None:
    with (place.folder / "long.jsonl").open("a") as file:
        file.write((place.folder / "short.jsonl").read_text().splitlines()[5] + "\n")
    assert plan(place.recipe, place.whole) == [
        "would run",
        "  records  1 of 4 run: the records in the file changed",
        "  all that follows depends on them and runs where its own input changes",
    ]
    outcome = built(place.recipe, place.whole)
    # Records, links, decisions, records as decided, rows, 2 orders, 2 shards, Parquet; and of the part in which the
    # record stands for a second time, the records as decided and the rows.
    assert (outcome.made, outcome.found) == (12, 7)
    assert outcome.manifest.digest == built(place.recipe, place.folder / "b").manifest.digest


def test_a_further_source_costs_its_own_parts_and_the_gathers(place: Place, tiny_base: Path) -> None:
    write_chats(place.folder / "further.jsonl", 50, 9)
    write_recipe(place.folder, tiny_base, [*SIZES, "further"])
    assert plan(place.recipe, place.whole)[:2] == ["would run", "  records  1 of 5 run: new"]
    outcome = built(place.recipe, place.whole)
    # Records, links, decisions, records as decided, rows, 2 orders, 2 shards, Parquet.
    assert (outcome.made, outcome.found) == (10, 12)
    assert outcome.manifest.digest == built(place.recipe, place.folder / "b").manifest.digest


def test_a_pruned_cache_costs_time_only(place: Place) -> None:
    size = sum(path.stat().st_size for path in (place.whole / ".work").glob("*/*.*"))
    digest = place.digest
    for limit, kept in ((size // 2, range(1, 19)), (0, range(1))):
        (place.whole / "manifest.json").unlink()
        assert built(place.recipe, place.whole, work_limit=limit).manifest.digest == digest
        assert len(notes(place.whole)) in kept
        assert sum(path.stat().st_size for path in (place.whole / ".work").glob("*/*.*")) <= limit
        assert plan(place.recipe, place.whole)[0] == "everything is made; nothing would run"
        assert built(place.recipe, place.whole).reused
    (place.whole / "manifest.json").unlink()
    assert plan(place.recipe, place.whole)[:2] == ["would run", "  records  4 of 4 run: its files are gone or damaged"]
    outcome = built(place.recipe, place.whole)
    assert (outcome.made, outcome.found, outcome.manifest.digest) == (19, 0, digest)
    whole(place.whole)
