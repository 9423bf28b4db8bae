"""What holds for every folder, asked of one on this machine and of fsspec's.

`memory` shows a file that is put at once and whole; the filesystem behind a `dir` does not, so it takes the other way
through `write`. Where FORGE_TEST_URL names a folder behind another protocol, the same is asked of it.
"""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataforge import config, folders
from dataforge.build import Options, Outcome, build
from dataforge.errors import BuildError
from dataforge.folders import Folder, RemoteFolder
from tests.dataforge.conftest import RECORDS

Write = Callable[..., Path]
OTHER = os.environ.get("FORGE_TEST_URL")


@pytest.fixture(params=["local", "memory", "dir", *(["other"] if OTHER else [])])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """An empty folder beside another whose name begins alike."""
    match request.param:
        case "local":
            found = folders.at(tmp_path / "build")
        case "dir":
            found = RemoteFolder("dir://build", fsspec.filesystem("dir", path=str(tmp_path), fo="file"), "build")
        case _:
            found = folders.at(f"{OTHER if request.param == 'other' else 'memory:/'}/{uuid.uuid4().hex}/build")
    yield found
    if isinstance(found, RemoteFolder) and found.filesystem.exists(found.root):
        found.filesystem.rm(found.root, recursive=True)


def beside(folder: Folder) -> Folder:
    """The same folder as another process sees it."""
    if isinstance(folder, RemoteFolder) and folder.filesystem.protocol != "dir":
        filesystem, path = fsspec.core.url_to_fs(folder.url, skip_instance_cache=True)
        return RemoteFolder(folder.url, filesystem, path)
    return folder


def test_what_was_written_is_read(folder: Folder) -> None:
    folder.write("a/b.json", b"one")
    folder.write("c", iter([b"two", b"", b" pieces"]))
    folder.write("empty", b"")
    assert (folder.read("a/b.json"), folder.read("c"), folder.read("empty")) == (b"one", b"two pieces", b"")
    assert (folder.size("a/b.json"), folder.size("c"), folder.size("empty")) == (3, 10, 0)
    assert folder.sizes("") == {"a/b.json": 3, "c": 10, "empty": 0}


def test_a_file_is_written_over(folder: Folder) -> None:
    folder.write("a", b"the first, a long one")
    assert folder.size("a") == 21
    folder.write("a", b"second")
    assert (folder.read("a"), folder.size("a")) == (b"second", 6)


def test_what_is_not_there_is_told(folder: Folder) -> None:
    folder.write("a/b", b"x")
    for name in ("no", "a/no", "no/no", "a"):
        assert folder.size(name) is None
    assert folder.sizes("no") == {}
    with pytest.raises(FileNotFoundError):
        folder.read("no/no")
    with pytest.raises(FileNotFoundError):
        folder.open("no")
    folder.delete("no")
    folder.delete("no/no")


def test_an_empty_folder_holds_nothing(folder: Folder) -> None:
    assert folder.sizes("") == {}
    assert folder.size("manifest.json") is None


def test_a_folder_is_taken_away_and_one_whose_name_begins_alike_stays(folder: Folder) -> None:
    for name in ("shards/a", "shards/deep/b", "shards-of-others/c", "shards.txt"):
        folder.write(name, b"x")
    assert list(folder.sizes("shards")) == ["shards/a", "shards/deep/b"]
    folder.delete("shards")
    assert list(folder.sizes("")) == ["shards-of-others/c", "shards.txt"]
    folder.delete("shards.txt")
    assert list(folder.sizes("")) == ["shards-of-others/c"]
    folder.write("shards/a", b"y")
    assert folder.read("shards/a") == b"y"


def test_a_file_gets_a_second_name(folder: Folder) -> None:
    folder.write(".work/ab/key.shard", b"windows")
    folder.write("shards/train", b"an older build")
    folder.publish(".work/ab/key.shard", "shards/train")
    folder.publish(".work/ab/key.shard", "new/train")
    assert folder.read("shards/train") == folder.read("new/train") == b"windows"
    folder.delete(".work")
    assert folder.read("shards/train") == b"windows"


def test_a_file_is_read_in_any_order(folder: Folder) -> None:
    folder.write("a", bytes(range(256)))
    with folder.open("a") as file:
        file.seek(250)
        assert file.read(10) == bytes(range(250, 256))
        file.seek(3)
        assert file.read(2) == b"\3\4"
    table = pa.table({"x": list(range(1000))})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=100)
    folder.write("t.parquet", sink.getvalue().to_pybytes())
    with folder.open("t.parquet") as file:
        assert pq.ParquetFile(file).read_row_group(7)["x"][0].as_py() == 700


def test_files_of_the_same_name_are_told_apart_on_this_machine(folder: Folder) -> None:
    folder.write("a/thin", b"first")
    folder.write("b/thin", b"second")
    with folder.local(["a/thin", "b/thin", "a/thin"]) as paths:
        assert [path.read_bytes() for path in paths] == [b"first", b"second", b"first"]
    with folder.local([]) as paths:
        assert paths == []


def test_what_breaks_off_in_the_middle_leaves_what_was_there(folder: Folder) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half" * 2**20
        raise OSError("no space")

    folder.write("old", b"whole")
    for name in ("old", "new"):
        with pytest.raises(OSError, match="no space"):
            folder.write(name, pieces())
    assert folder.read("old") == b"whole"
    assert list(folder.sizes("")) == ["old"] or isinstance(folder, folders.LocalFolder)
    assert folder.size("new") is None


def test_what_another_process_writes_is_seen_at_once(folder: Folder) -> None:
    other = beside(folder)
    folder.write("a/first", b"1")
    assert folder.sizes("") == {"a/first": 1}
    assert folder.size("a/second") is None
    other.write("a/second", b"22")
    other.write("a/first", b"333")
    assert folder.sizes("") == {"a/first": 3, "a/second": 2}
    assert (folder.size("a/second"), folder.size("a/first")) == (2, 3)
    other.delete("a/first")
    assert folder.sizes("a") == {"a/second": 2}
    assert folder.size("a/first") is None


def test_whoever_looks_sees_all_of_a_file_or_nothing(folder: Folder) -> None:
    other, done = beside(folder), threading.Event()
    sizes, seen = [300_000, 200_000], set[int]()

    def look() -> None:
        while not done.is_set():
            try:
                seen.add(len(other.read("a")))
            except FileNotFoundError:
                continue

    looking = threading.Thread(target=look)
    looking.start()
    for number in range(20):
        folder.write("a", bytes(sizes[number % 2]))
    done.set()
    looking.join()
    assert seen <= set(sizes)


def test_a_protocol_without_a_client_is_told_in_one_line() -> None:
    with pytest.raises(BuildError, match=r"^no-such-thing://x: [^\n]*$"):
        folders.at("no-such-thing://x")


def test_a_server_that_does_not_answer_is_told_in_one_line() -> None:
    with pytest.raises(BuildError, match=r"^sftp-like://host/x: cannot be reached \(ConnectionRefusedError: nobody"):
        fsspec.register_implementation("sftp-like", _Silent)
        folders.at("sftp-like://host/x")


class _Silent(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A filesystem whose server is not there."""

    protocol = "sftp-like"

    def info(self, path: str, **_: object) -> dict[str, object]:
        """What any question gets."""
        raise ConnectionRefusedError("nobody at home")


def built(recipe: Path, out: Path | str) -> Outcome:
    return build(config.load(recipe, ()), out, lambda text: None, Options(workers=1))


def test_a_build_behind_a_url_is_the_build_on_this_machine(write_recipe: Write, tmp_path: Path) -> None:
    recipe, url = write_recipe(RECORDS), f"memory://{uuid.uuid4().hex}/build"
    here, there = built(recipe, tmp_path / "b"), built(recipe, url)
    assert there.manifest.digest == here.manifest.digest
    mine, theirs = folders.at(tmp_path / "b"), folders.at(url)
    names = [name for name in mine.sizes("") if not name.startswith(".work")]
    assert names == [name for name in theirs.sizes("") if not name.startswith(".work")]
    # The manifest says nothing of time or place, so every file is the same.
    assert {name: theirs.read(name) for name in names} == {name: mine.read(name) for name in names}


def test_a_build_behind_a_url_is_reused_and_built_anew_from_what_is_there(write_recipe: Write) -> None:
    recipe, url = write_recipe(RECORDS), f"memory://{uuid.uuid4().hex}/build"
    first = built(recipe, url)
    assert built(recipe, url).reused
    folders.at(url).delete("manifest.json")
    again = built(recipe, url)
    assert (again.reused, again.made) == (False, 0)
    assert again.manifest == first.manifest
