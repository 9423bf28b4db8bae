"""Folders whose files are written whole or not at all: on this machine, or behind any fsspec URL.

folder = at("builds/x")           # or "s3://bucket/x", where s3fs is installed
folder.write("a/b.json", content)
folder.read("a/b.json")
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fsspec
import pyarrow as pa

from dataforge.errors import BuildError
from dataforge.shards import replace_file

_SCRATCH = ".scratch"


class Folder(Protocol):
    """Files by their names, with `/` between folders. Reading what is not there raises `FileNotFoundError`."""

    @property
    def url(self) -> str:
        """The path or URL."""

    def read(self, name: str) -> bytes:
        """A file's content."""

    def write(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """Write a file, given at once or in pieces: whoever looks sees all of it or nothing."""

    def size(self, name: str) -> int | None:
        """A file's bytes, or None where there is none."""

    def names(self, prefix: str) -> list[str]:
        """The files below a folder of it, sorted."""

    def delete(self, name: str) -> None:
        """Take a file, or a folder with all in it, away; nothing where there is none."""

    def publish(self, name: str, target: str) -> None:
        """Let a file be found under a second name too."""

    def open(self, name: str) -> pa.NativeFile:
        """A file to read from in any order; closing it is the caller's."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The path of a file on this machine that holds the same, for as long as the context lasts."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A folder of this machine for as long as the context lasts."""

    def holds(self, place: object) -> bool:
        """Whether a file that an error names lies in it."""


def at(place: str | Path) -> Folder:
    """The folder at a path or an fsspec URL.

    Raises `BuildError` where no client for the URL's protocol is installed.
    """
    if "://" not in str(place):
        return LocalFolder(str(place))
    try:
        filesystem, path = fsspec.core.url_to_fs(str(place))
    except (ImportError, ValueError) as error:
        raise BuildError(f"{place}: {error}") from None
    return RemoteFolder(str(place), filesystem, path.rstrip("/"))


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine."""

    url: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.url)

    def read(self, name: str) -> bytes:
        """A file's content."""
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """Write a file whole or not at all."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with named(target):
            replace_file(target, content)

    def size(self, name: str) -> int | None:
        """A file's bytes."""
        try:
            return (self.path / name).stat().st_size
        except FileNotFoundError:
            return None

    def names(self, prefix: str) -> list[str]:
        """The files below a folder of it."""
        found = (self.path / prefix).rglob("*")
        return sorted(path.relative_to(self.path).as_posix() for path in found if path.is_file())

    def delete(self, name: str) -> None:
        """Take a file or folder away."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def publish(self, name: str, target: str) -> None:
        """A second name for the same bytes on disk, or a copy where the filesystem knows no hard links."""
        source, goal = self.path / name, self.path / target
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.unlink(missing_ok=True)
        try:
            os.link(source, goal)
        except OSError:
            self.write(target, source.read_bytes())

    def open(self, name: str) -> pa.NativeFile:
        """A file, mapped into memory: reading touches only its pages."""
        return pa.memory_map(str(self.path / name))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The file itself."""
        yield self.path / name

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder in it, so that what a killed process leaves there is found."""
        place = self.path / _SCRATCH
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as folder:
            yield Path(folder)

    def holds(self, place: object) -> bool:
        """Whether a path lies in it."""
        return isinstance(place, str) and Path(place).absolute().is_relative_to(self.path.absolute())

    def sweep(self) -> None:
        """Take away what killed processes left half written; nobody else may write here meanwhile."""
        for pattern in (".*.tmp", "*/.*.tmp"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)
        self.delete(_SCRATCH)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder behind an fsspec filesystem."""

    url: str
    filesystem: Any
    root: str

    def read(self, name: str) -> bytes:
        """A file's content."""
        return bytes(self.filesystem.cat_file(f"{self.root}/{name}"))

    def write(self, name: str, content: bytes | Iterable[bytes]) -> None:
        """Object stores show a file once it is whole; others get a temporary name and a rename."""
        target, temporary = f"{self.root}/{name}", f"{self.root}/{name}.{os.getpid()}.tmp"
        with named(f"{self.url}/{name}"):
            self.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            with self.filesystem.open(temporary, "wb") as file:
                for piece in [content] if isinstance(content, bytes) else content:
                    file.write(piece)
            self.filesystem.mv(temporary, target)

    def size(self, name: str) -> int | None:
        """A file's bytes."""
        try:
            return int(self.filesystem.info(f"{self.root}/{name}")["size"])
        except FileNotFoundError:
            return None

    def names(self, prefix: str) -> list[str]:
        """The files below a folder of it."""
        try:
            found = self.filesystem.find(f"{self.root}/{prefix}")
        except FileNotFoundError:
            return []
        return sorted(path.removeprefix(f"{self.root}/") for path in found)

    def delete(self, name: str) -> None:
        """Take a file or folder away."""
        if self.filesystem.exists(f"{self.root}/{name}"):
            self.filesystem.rm(f"{self.root}/{name}", recursive=True)

    def publish(self, name: str, target: str) -> None:
        """A copy on the server."""
        goal = f"{self.root}/{target}"
        self.filesystem.makedirs(goal.rpartition("/")[0], exist_ok=True)
        self.filesystem.cp_file(f"{self.root}/{name}", goal)

    def open(self, name: str) -> pa.NativeFile:
        """A file that is asked of the server in blocks."""
        return pa.PythonFile(self.filesystem.open(f"{self.root}/{name}", "rb"), mode="r")

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A copy for as long as it is needed."""
        with tempfile.TemporaryDirectory(prefix="forge-") as scratch:
            path = Path(scratch) / Path(name).name
            self.filesystem.get_file(f"{self.root}/{name}", str(path))
            yield path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """One among this machine's temporary files."""
        with tempfile.TemporaryDirectory(prefix="forge-") as folder:
            yield Path(folder)

    def holds(self, place: object) -> bool:
        """Whether a URL lies in it; what the client raises of itself names paths behind the URL, or nothing."""
        return place is None or str(place).startswith((self.url, self.root))


@contextmanager
def named(place: str | Path) -> Iterator[None]:
    """Let what the system refuses name the file, which it leaves out where a write fails."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(place)
        raise
