"""A source that joins its files: what it counts, the build around it, and what a wrong input gets."""

import itertools
import json
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dataforge import check, config, heads, preview
from dataforge.assembly import Assembly
from dataforge.build import Options, Outcome, build
from dataforge.shards import read_manifest
from tests.dataforge.faulty import KillAt, forge, notes
from tests.dataforge.test_reddit import TIME, comment, post

POSTS, COMMENTS = 40, 4
Contents = Mapping[str, bytes]


def written(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def dump() -> list[dict[str, Any]]:
    """Threads whose later comments have the higher scores, with what each rule leaves out between them."""
    rows = []
    for number in range(POSTS):
        name = f"p{number:02}"
        rows.append(post(name, selftext=f"What of {number}?", created_utc=TIME + number))
        rows += [comment(f"{name}c{at}", name, score=3 * at + 2, created_utc=TIME + 100 * at) for at in range(COMMENTS)]
        rows.append(comment(f"{name}low", name, score=1))
    return [*rows, comment("lost", "elsewhere"), post("lonely"), {"color": "red"}]


def recipe(folder: Path, base: Path, path: Any, **source: Any) -> Path:
    document = {
        **{"name": "votes", "kind": "pairs", "seed": 3, "tokenizer": str(base), "chat": "chatml"},
        **{"missing_tokens": "as_text", "max_tokens": 512, "split": {"eval": 0.2}},
        "sources": [{"use": "reddit", "name": "talk", "path": path, **source}],
        "steps": [{"use": "mine_votes"}],
    }
    place = folder / "recipe.yaml"
    place.write_text(json.dumps(document))
    return place


def laid(folder: Path, files: Contents) -> Path:
    """Files in the folder `talk`, which is the source's."""
    (folder / "talk").mkdir(parents=True)
    for name, content in files.items():
        (folder / "talk" / name).write_bytes(content)
    return folder


def built(place: Path, workers: int = 1, said: list[str] | None = None) -> Outcome:
    lines = [] if said is None else said
    return build(config.load(place, ()), place.parent / "b", lines.append, Options(workers=workers))


def halves() -> dict[str, bytes]:
    rows = dump()
    return {
        "RC.ndjson": written([row for row in rows if "title" not in row]),
        "RS.ndjson": written([row for row in rows if "title" in row]),
    }


def test_counts_add_up_or_it_is_a_bug() -> None:
    tally = Assembly()
    tally.count(read=5, passed=1, rejected={"b": 1, "none": 0})
    tally.count(joined=2, rejected={"b": 0, "a": 1})
    assert tally.counts() == {"read": 5, "passed": 1, "joined": 2, "rejected": {"a": 1, "b": 1}}
    tally.check(1)
    with pytest.raises(RuntimeError, match="do not add up"):
        tally.check(2)
    tally.count(read=1)
    with pytest.raises(RuntimeError, match="6 records read, 1 passed, 2 joined and 2 rejected do not add up"):
        tally.check(1)


def test_the_funnel_begins_with_what_became_of_the_records(tmp_path: Path, tiny_base: Path) -> None:
    said: list[str] = []
    made = built(recipe(laid(tmp_path, halves()), tiny_base, "talk"), said=said)
    first = made.manifest.funnel[0]
    assert (first.stage, first.read, first.passed, first.joined) == (
        "threads",
        POSTS * (COMMENTS + 2) + 3,
        POSTS + 1,
        POSTS * COMMENTS,
    )
    assert first.rejected == {"comment_low_score": POSTS, "comment_without_post": 1, "post_with_few_comments": 1}
    for before, after in itertools.pairwise(made.manifest.funnel):
        assert after.read == before.passed, (before, after)
    (reject,) = [json.loads(line) for line in (tmp_path / "b" / "rejects.jsonl").read_text().splitlines()]
    assert reject["reason"] == "neither_post_nor_comment"
    assert f"RC.ndjson:{POSTS * (COMMENTS + 1) + 2}: " in reject["detail"]
    assert "note: comments whose post is in none of the files: 1" in said
    assert list(check.faults(tmp_path / "b")) == []


def test_neither_workers_nor_lines_nor_the_order_of_paths_change_what_is_built(tmp_path: Path, tiny_base: Path) -> None:
    files = halves()
    first = built(recipe(laid(tmp_path / "a", files), tiny_base, "talk")).manifest
    two = built(recipe(laid(tmp_path / "b", files), tiny_base, "talk"), workers=2).manifest
    assert two.digest == first.digest
    listed = ["talk/RS.ndjson", "talk/RC.ndjson"]
    forth = built(recipe(laid(tmp_path / "c", files), tiny_base, listed)).manifest
    back = built(recipe(laid(tmp_path / "d", files), tiny_base, listed[::-1])).manifest
    # A digest is of the recipe too, so what is built is compared without it.
    assert len({one_of(each) for each in (first, forth, back)}) == 1
    mixed = dump()
    random.Random(4).shuffle(mixed)
    shuffled = {"RC.ndjson": written(mixed[:90]), "RS.ndjson": written(mixed[90:])}
    other = built(recipe(laid(tmp_path / "e", shuffled), tiny_base, "talk")).manifest
    assert one_of(other) == one_of(first)
    assert other.digest != first.digest


def one_of(manifest: Any) -> str:
    """What was built, apart from the bytes of the files that it was built from."""
    shards = [(entry.split, entry.columns_sha256) for entry in manifest.shards]
    return json.dumps([shards, [stage.model_dump() for stage in manifest.funnel]], sort_keys=True)


def test_a_build_that_is_killed_goes_on_and_ends_the_same(tmp_path: Path, tiny_base: Path) -> None:
    kills, finished = 0, set[int]()
    whole = built(recipe(laid(tmp_path / "whole", halves()), tiny_base, "talk")).manifest
    folder = laid(tmp_path / "killed", halves())
    recipe(folder, tiny_base, "talk")
    while True:
        done = notes(folder / "b")
        command = ("build", "recipe.yaml", "--out", "b", "--workers", "1")
        code, said = forge(folder, *command, fault=KillAt(8 * 2**kills))
        assert {name: state for name, state in notes(folder / "b").items() if name in done} == done
        if code == 0:
            break
        assert code == -signal.SIGKILL, said
        kills += 1
        finished.add(len(notes(folder / "b")))
    # Once before the threads were made, and behind them.
    assert min(finished) == 0
    assert len(finished) >= 3
    assert read_manifest(folder / "b").digest == whole.digest
    assert list(check.faults(folder / "b")) == []


def test_a_setting_or_a_byte_of_a_file_has_its_threads_made_anew(tmp_path: Path, tiny_base: Path) -> None:
    files = halves()
    folder = laid(tmp_path, files)
    first = built(recipe(folder, tiny_base, "talk"))
    assert built(recipe(folder, tiny_base, "talk")).reused
    fewer = built(recipe(folder, tiny_base, "talk", max_comments=3))
    assert fewer.manifest.funnel[0].rejected["comment_above_most"] == POSTS
    (folder / "talk" / "RC.ndjson").write_bytes(files["RC.ndjson"].replace(b'"score": 1,', b'"score": 2,'))
    more = built(recipe(folder, tiny_base, "talk"))
    assert "comment_low_score" not in more.manifest.funnel[0].rejected
    assert len({each.manifest.digest for each in (first, fewer, more)}) == 3


def test_a_preview_shows_what_a_build_makes(tmp_path: Path, tiny_base: Path) -> None:
    place = recipe(laid(tmp_path, halves()), tiny_base, "talk")
    manifest = built(place).manifest
    shown = preview.of_recipe(config.load(place, ()), 10**6)
    assert {each.id for each in shown.shown} == {each.id for each in preview.of_build(tmp_path / "b", 10**6).shown}
    assert len(shown.shown) == sum(manifest.statistics[split].rows for split in ("train", "eval"))


def test_a_preview_reads_on_where_the_beginnings_are_no_threads(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The posts come behind so many comments that the beginning is refused for having none.
    rows = sorted(dump(), key=lambda row: "title" in row)
    place = recipe(laid(tmp_path, {"all.ndjson": written(rows)}), tiny_base, "talk")
    whole = preview.of_recipe(config.load(place, ()), 10**6)
    monkeypatch.setattr(heads, "BEGINNING", 2048)
    cut = preview.of_recipe(config.load(place, ()), 10**6)
    assert len(whole.shown) > 100
    assert [each.id for each in cut.shown] == [each.id for each in whole.shown]


def test_a_preview_joins_the_beginnings_alone_where_they_hold_threads(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = recipe(laid(tmp_path, {"all.ndjson": written(dump())}), tiny_base, "talk")
    monkeypatch.setattr(heads, "BEGINNING", 8192)
    shown = preview.of_recipe(config.load(place, ()), 10**6)
    assert 0 < shown.funnel[0].read < POSTS


def cut_off(content: bytes) -> bytes:
    packed = zstandard.ZstdCompressor().compress(content)
    return packed[: len(packed) // 2]


HALVES = halves()
WRONG: dict[str, tuple[Contents, str]] = {
    "only comments": (
        {"RC.ndjson": HALVES["RC.ndjson"]},
        "RC.ndjson: no posts are in them; name the file with the posts in `path` too",
    ),
    "only posts": (
        {"RS.ndjson": HALVES["RS.ndjson"]},
        "RS.ndjson: no comments are in them; name the file with the comments in `path` too",
    ),
    "neither": (
        {f"{name}.jsonl": b'{"instruction": "x", "output": "y"}\n' for name in "abcde"},
        "a.jsonl, b.jsonl, c.jsonl and 2 more: neither posts (an 'id' and a 'title') nor comments",
    ),
    "blank": ({"a.jsonl": b"\n"}, "a.jsonl: neither posts"),
    "cut off": (
        {"RS.ndjson": HALVES["RS.ndjson"], "RC.ndjson.zst": cut_off(HALVES["RC.ndjson"])},
        "RC.ndjson.zst: what is compressed breaks off (it ends in the middle of a frame); get it again or leave it out",
    ),
    "half an answer": (
        {"api.json": json.dumps([post("p")], indent=1).encode()[:-5]},
        "api.json: is neither one JSON value nor one a line; mend it or leave it out",
    ),
    "an archive": ({"all.zip": b"PK\5\6" + bytes(18)}, "all.zip: is an archive; unpack it first"),
}


@pytest.mark.parametrize("command", [("build", "--out", "b"), ("preview",)], ids=["build", "preview"])
@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_serve_is_one_line_with_the_way_out(
    name: str, command: tuple[str, ...], tmp_path: Path, tiny_base: Path
) -> None:
    files, wanted = WRONG[name]
    recipe(laid(tmp_path, files), tiny_base, "talk")
    code, said = forge(tmp_path, command[0], "recipe.yaml", *command[1:])
    (line,) = said
    assert code == 2
    assert line.startswith("error: ")
    assert wanted in line


@pytest.mark.parametrize(
    ("path", "source", "wanted"),
    [
        ("nowhere", {}, "sources[0].path: there is no file nowhere"),
        ("void", {}, "void: is a folder without a file that can be read (it is empty)"),
        ("talk", {"encoding": "cp1252"}, "source talk: `use: reddit` reads its files by itself; leave out `encoding`"),
        ("talk", {"min_score": 3}, "min_score"),
        ("talk", {"max_comments": 0}, "max_comments"),
        ("talk", {"keep": ["everything"]}, "keep"),
    ],
)
def test_what_the_recipe_says_wrongly_is_one_line(
    path: str, source: dict[str, Any], wanted: str, tmp_path: Path, tiny_base: Path
) -> None:
    (laid(tmp_path, halves()) / "void").mkdir()
    place = recipe(tmp_path, tiny_base, path, **source)
    code, (line, *more) = forge(tmp_path, "build", str(place.name), "--out", "b")
    assert (code, more) == (2, [])
    assert wanted in line
