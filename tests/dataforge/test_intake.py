"""Recipes over files of any kind: where they are, what is made of them, and what is made again."""

import contextlib
import functools
import gzip
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dataforge import config, preview
from dataforge.build import Options, Outcome, build
from dataforge.errors import ConfigError, ForgeError, InputError

Write = Callable[..., Path]


def records(start: int, count: int) -> list[dict[str, Any]]:
    return [
        {"instruction": f"Who, {number}?", "output": f"Pebble {number}, 小石头"}
        for number in range(start, start + count)
    ]


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def loose(count: int) -> list[dict[str, Any]]:
    """Records that take room though they are compressed."""
    return [{**row, "x": os.urandom(50).hex()} for row in records(0, count)]


class Place:
    """A folder with data and recipes over it."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder, self.said, self._base = folder, list[str](), base

    def document(self, **source: Any) -> config.Document:
        recipe = {
            "name": "small",
            "sources": [{"use": "alpaca", "name": "s", **source}],
            "tokenizer": str(self._base),
            "max_tokens": 128,
        }
        return config.from_mapping(recipe, self.folder)

    def build(self, out: str = "out", workers: int = 1, **source: Any) -> Outcome:
        self.said.clear()
        frames = source.pop("frames", None)
        return build(self.document(**source), self.folder / out, self.said.append, Options(workers), frames=frames)

    def instructions(self, out: str = "out") -> list[tuple[str, str]]:
        tables = [pq.read_table(path) for path in sorted((self.folder / out / "records").glob("*.parquet"))]
        rows = [row for table in tables for row in table.to_pylist()]
        return [(row["file"], row["messages"][0]["content"]) for row in rows]

    def rejects(self, out: str = "out") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / out / "rejects.jsonl").read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path, tiny_base: Path) -> Place:
    return Place(tmp_path, tiny_base)


def asked(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["instruction"] for row in rows]


def test_a_folder_is_read_in_the_order_of_names(place: Place) -> None:
    data = place.folder / "data"
    (data / "b").mkdir(parents=True)
    (data / ".cache").mkdir()
    (data / "b" / "1.jsonl").write_bytes(lines(records(0, 3)))
    (data / "c.csv").write_text(pd.DataFrame(records(3, 3)).to_csv(index=False), encoding="utf-8")
    (data / "a.jsonl.gz").write_bytes(gzip.compress(lines(records(6, 3))))
    for hidden in (".hidden.jsonl", ".cache/x.jsonl", "README.md", "picture.png"):
        (data / hidden).write_bytes(b"{}")
    (data / "empty.jsonl").write_bytes(b"\n")
    place.build(path="data")
    assert place.instructions() == [
        *(("a.jsonl.gz", text) for text in asked(records(6, 3))),
        *(("b/1.jsonl", text) for text in asked(records(0, 3))),
        *(("c.csv", text) for text in asked(records(3, 3))),
    ]
    assert [text for text in place.said if "picture.png" in text]
    assert [text for text in place.said if "empty.jsonl holds no records" in text]


def test_globs_and_lists_name_files_from_the_folder_they_share(place: Place) -> None:
    for number, name in enumerate(["x/one/a.jsonl", "x/two/a.jsonl", "y.jsonl", "x/one/.a.jsonl"]):
        path = place.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines(records(number, 1)))
    place.build("glob", path="x/**/*.jsonl")
    assert [file for file, _ in place.instructions("glob")] == ["one/a.jsonl", "two/a.jsonl"]
    place.build("list", path=["y.jsonl", "x/*/a.jsonl", "y.jsonl"])
    assert [file for file, _ in place.instructions("list")] == ["y.jsonl", "x/one/a.jsonl", "x/two/a.jsonl"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "none.jsonl"}, r"sources\[0\].path: there is no file .*none\.jsonl"),
        ({"path": "none/*.jsonl"}, r"sources\[0\].path: there is no file"),
        ({"path": "empty"}, r"is a folder without a file that can be read \(it is empty\)"),
        (
            {"path": "odd"},
            r"is a folder without a file that can be read \(there are x\.png; name one, or say `format:`\)",
        ),
        ({}, "must say where its records are with one of path, hub, modelscope, frame"),
        ({"path": "a", "hub": "b/c"}, "must say where its records are with one of"),
        ({"path": "odd/x.png", "split": "dev"}, "is of data sets of a hub, and this one is given by `path:`"),
        ({"path": "odd/x.png", "format": "cvs"}, "there is no format 'cvs'; did you mean 'csv'"),
        (
            {"path": "odd/x.png", "format": {"use": "csv", "headers": 1}},
            r"format.headers: unknown key; did you mean 'header'",
        ),
        ({"path": "odd/x.png", "encoding": "utf-9"}, "there is no encoding 'utf-9'"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_told_its_line(place: Place, source: dict[str, Any], said: str) -> None:
    (place.folder / "empty").mkdir()
    (place.folder / "odd").mkdir()
    (place.folder / "odd" / "x.png").write_bytes(b"x")
    with pytest.raises(ConfigError, match=said):
        place.build(**source)


def test_what_is_no_known_format_asks_for_one(place: Place) -> None:
    (place.folder / "data.bin").write_bytes(b"hello\n")
    with pytest.raises(
        InputError, match=r"data\.bin: neither its name nor its first bytes say .* one of arrow, blocks"
    ):
        place.build(path="data.bin")


def test_the_same_is_built_by_one_worker_and_two_and_of_every_layout(place: Place) -> None:
    rows = records(0, 5000)
    frame = pd.DataFrame(rows)
    many = place.folder / "many"
    many.mkdir()
    for number in range(3):
        (many / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines(records(number * 3000, 3000))))
    one, two = (place.build(f"w{workers}", workers, path="many") for workers in (1, 2))
    assert one.manifest.digest == two.manifest.digest
    (place.folder / "a.jsonl").write_bytes(lines(rows))
    (place.folder / "a.jsonl.gz").write_bytes(gzip.compress(lines(rows)))
    (place.folder / "a.json").write_bytes(orjson.dumps(rows))
    frame.to_csv(place.folder / "a.csv", index=False)
    frame.to_parquet(place.folder / "a.parquet")
    shards = set()
    for name in ("a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.parquet"):
        outcome = place.build(f"of-{name}", path=name)
        shards.add(tuple(entry.columns_sha256 for entry in outcome.manifest.shards))
        assert outcome.manifest.funnel[0].read == 5000
    outcome = place.build("of-frame", frame="rows", frames={"rows": frame})
    assert {*shards, tuple(entry.columns_sha256 for entry in outcome.manifest.shards)} == shards
    assert len(shards) == 1


def test_only_a_changed_file_is_unpacked_anew(place: Place) -> None:
    data = place.folder / "data"
    data.mkdir()
    for name in ("a", "b", "c"):
        (data / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines(records(ord(name), 5))))
    first = place.build(path="data")
    assert place.build(path="data").reused

    def unpacked() -> set[Path]:
        notes = (place.folder / "out" / ".work").glob("*/*.done")
        return {path for path in notes if "parts" in orjson.loads(path.read_bytes())["facts"]}

    before = unpacked()
    (data / "b.jsonl.gz").write_bytes(gzip.compress(lines(records(1000, 5))))
    second = place.build(path="data")
    assert len(before) == 3
    assert len(unpacked() - before) == 1
    assert first.manifest.inputs != second.manifest.inputs
    (data / "c.jsonl.gz").rename(data / "d.jsonl.gz")
    assert place.build(path="data").manifest.inputs != second.manifest.inputs


def test_members_of_archives_stand_in_the_order_of_their_names(place: Place) -> None:
    with zipfile.ZipFile(place.folder / "data.zip", "w") as packed:
        packed.writestr("z.jsonl", lines(records(0, 2)))
        packed.writestr("a/b.jsonl", lines(records(2, 2)) + b"{broken\n")
    place.build(path="data.zip")
    files = [file for file, _ in place.instructions()]
    assert files == ["data.zip/a/b.jsonl"] * 2 + ["data.zip/z.jsonl"] * 2
    (reject,) = place.rejects()
    assert (reject["file"], reject["line"], reject["reason"]) == ("data.zip/a/b.jsonl", 3, "broken_json")


def test_an_encoding_and_a_break_are_said_and_the_break_is_a_reject(place: Place) -> None:
    rows = [{**row, "input": "河水从山上流下来，经过许多村庄。"} for row in records(0, 5)]
    (place.folder / "gb.jsonl").write_bytes(lines(rows).decode().encode("gb18030"))
    whole = gzip.compress(lines(loose(3000)))
    (place.folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    place.build(path=["gb.jsonl", "cut.jsonl.gz"])
    assert "note: gb.jsonl is read as gb18030" in place.said
    assert [text for text in place.said if text.startswith("note: cut.jsonl.gz: what is compressed breaks off")]
    (reject,) = place.rejects()
    assert (reject["reason"], reject["file"]) == ("breaks_off", "cut.jsonl.gz")


def test_a_preview_reads_the_first_records_alone(place: Place) -> None:
    whole = gzip.compress(lines(loose(9000)))
    (place.folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    frame = pd.DataFrame(records(0, 5))
    shown = preview.of_recipe(place.document(path="cut.jsonl.gz"), 2)
    assert (len(shown.shown), len(shown.lengths)) == (2, preview.RECORDS_PER_SOURCE)
    assert not shown.rejects, "the break is not reached"
    assert preview.of_recipe(place.document(frame="f"), 2, frames={"f": frame}).lengths
    (place.folder / "data").mkdir()
    for name, count in (("a.csv", 5), ("b.parquet", 300), ("c.xlsx", 5)):
        table = pd.DataFrame(records(0, count))
        path = place.folder / "data" / name
        {"csv": table.to_csv, "parquet": table.to_parquet, "xlsx": table.to_excel}[name[2:]](path, index=False)
    shown = preview.of_recipe(place.document(path="data"), 10)
    assert shown.shown[0].place == "s, a.csv:2"
    assert shown.shown[9].place == "s, b.parquet:5"


def test_a_frame_that_is_not_handed_over_and_one_that_is(place: Place) -> None:
    with pytest.raises(InputError, match=r"`frame: f` is handed over in Python: build\(..., frames="):
        place.build(frame="f")
    frame = pd.DataFrame(
        [{**row, "score": float("nan"), "extra": {"when": pd.Timestamp(0)}} for row in records(0, 3000)]
    )
    place.build(frame="f", frames={"f": frame}, workers=2)
    assert [text for _, text in place.instructions()] == asked(records(0, 3000))
    assert place.build(frame="f", frames={"f": frame}).reused
    frame.loc[0, "output"] = "Another."
    assert not place.build(frame="f", frames={"f": frame}).reused


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_behind_urls_are_fetched_once(place: Place, served: tuple[Path, str]) -> None:
    folder, url = served
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines(records(0, 5))))
    pd.DataFrame(records(5, 5)).to_parquet(folder / "b.parquet")
    (folder / "c.zip").write_bytes(b"")
    with zipfile.ZipFile(folder / "c.zip", "w") as packed:
        packed.writestr("in.jsonl", lines(records(10, 5)))
    paths = [f"{url}/a.jsonl.gz?key=secret", f"{url}/b.parquet", f"{url}/c.zip", f"zip://in.jsonl::{folder}/c.zip"]
    assert len(preview.of_recipe(place.document(path=paths), 3).lengths) == 20
    place.build(path=paths)
    assert [text for _, text in place.instructions()] == asked([*records(0, 15), *records(10, 5)])
    assert place.build(path=paths).reused
    (folder / "a.jsonl.gz").unlink()
    with pytest.raises(InputError, match=rf"{url}/a\.jsonl\.gz: cannot be reached") as caught:
        place.build(path=paths)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.jsonl", "nosuch://x/y.jsonl", "s3://bucket/x.jsonl"])
def test_what_cannot_be_reached_ends_in_one_line(place: Place, url: str) -> None:
    with pytest.raises(ForgeError, match=url) as caught:
        place.build(path=url)
    assert "\n" not in str(caught.value)


def test_a_build_killed_while_it_unpacks_goes_on_with_what_is_done(place: Place) -> None:
    data = place.folder / "data"
    data.mkdir()
    for number in range(8):
        (data / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines(records(number * 4000, 4000))))
    wanted = place.build("whole", path="data").manifest.digest
    recipe = place.folder / "recipe.yaml"
    recipe.write_text(json.dumps(place.document(path="data").data), encoding="utf-8")
    out = place.folder / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "dataforge", "build", str(recipe), "--out", str(out), "--workers", "2"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and len(list((out / ".work").glob("*/*.done"))) < 3:
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    outcome = place.build("killed", workers=2, path="data")
    assert outcome.found >= 3
    assert outcome.manifest.digest == wanted


def test_a_build_of_local_lines_loads_no_reader_of_anything_else(place: Place) -> None:
    (place.folder / "a.jsonl").write_bytes(lines(records(0, 5)))
    recipe = place.folder / "recipe.yaml"
    recipe.write_text(json.dumps(place.document(path="a.jsonl").data), encoding="utf-8")
    code = (
        "import sys; from dataforge.cli import run; run(['build', 'recipe.yaml', '--out', 'o']); "
        "print(sorted({'datasets', 'openpyxl', 'pyreqwest', 'torch', 'uvloop'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place.folder, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"
