"""Folders whose files are written whole or not at all: on this machine, or behind any fsspec URL.

folder = at("builds/x")           # or "s3://bucket/x", where s3fs is installed
folder.write("a/b.json", content)
folder.read("a/b.json")

Several processes, on several machines, may write into one folder; each sees at once what another has written.
"""

import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fsspec
import pyarrow as pa

from dataforge.errors import BuildError, first_line
from dataforge.shards import replace_file

_SCRATCH = ".scratch"
_PUTS_ARE_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "memory"})
"""Where a file that is being put cannot be seen before its last byte is there; a rename would be a second copy."""


class Folder(Protocol):
    """Files by their names, with `/` between folders. Reading what is not there raises `FileNotFoundError`."""

    @property
    def url(self) -> str:
        """The path or URL."""

    def read(self, name: str) -> bytes:
        """A file's content."""

    def write(self, name: str, content: bytes | Iterable[bytes], *, synced: bool = True) -> None:
        """Write a file, given at once or in pieces: whoever looks sees all of it or nothing.

        Not `synced`, it may be lost or torn when the power fails, which its reader must be able to tell.
        """

    def size(self, name: str) -> int | None:
        """A file's bytes, or None where there is none."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """The files below a folder of it, sorted by name, with their bytes."""

    def delete(self, name: str) -> None:
        """Take a file, or a folder with all in it, away; nothing where there is none."""

    def publish(self, name: str, target: str) -> None:
        """Let a file be found under a second name too."""

    def open(self, name: str) -> pa.NativeFile:
        """A file to read from in any order; closing it is the caller's."""

    def local(self, names: Sequence[str]) -> AbstractContextManager[list[Path]]:
        """The paths of files on this machine that hold the same, for as long as the context lasts."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A folder of this machine for as long as the context lasts."""

    def holds(self, place: object) -> bool:
        """Whether a file that an error names lies in it."""


def at(place: str | Path) -> Folder:
    """The folder at a path or an fsspec URL.

    Raises `BuildError` where no client for the URL's protocol is installed, and where it gets no answer.
    """
    if "://" not in str(place):
        return LocalFolder(str(place))
    try:
        filesystem, path = fsspec.core.url_to_fs(str(place))
    except (ImportError, ValueError) as error:
        raise BuildError(f"{place}: {error}") from None
    folder = RemoteFolder(str(place).rstrip("/"), filesystem, path.rstrip("/"))
    try:
        folder.size("manifest.json")
    except Exception as error:  # each client has errors of its own for what is not let in and what does not answer
        raise BuildError(
            f"{place}: cannot be reached ({type(error).__name__}: {first_line(error)}); see to the address and the "
            "credentials, which the protocol's client takes from the environment"
        ) from None
    return folder


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

    def write(self, name: str, content: bytes | Iterable[bytes], *, synced: bool = True) -> None:
        """Write a file whole or not at all."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with named(target):
            replace_file(target, content, synced=synced)

    def size(self, name: str) -> int | None:
        """A file's bytes."""
        try:
            found = (self.path / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def sizes(self, prefix: str) -> dict[str, int]:
        """The files below a folder of it."""
        found = {path.relative_to(self.path).as_posix(): path for path in (self.path / prefix).rglob("*")}
        return {name: path.stat().st_size for name, path in sorted(found.items()) if path.is_file()}

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
        with source.open("rb") as file:
            os.fsync(file.fileno())
        try:
            os.link(source, goal)
        except OSError:
            self.write(target, source.read_bytes())

    def open(self, name: str) -> pa.NativeFile:
        """A file, mapped into memory: reading touches only its pages."""
        return pa.memory_map(str(self.path / name))

    @contextmanager
    def local(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """The files themselves."""
        yield [self.path / name for name in names]

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

    @property
    def _puts_are_whole(self) -> bool:
        protocol = self.filesystem.protocol
        return bool(_PUTS_ARE_WHOLE.intersection([protocol] if isinstance(protocol, str) else protocol))

    @property
    def _now(self) -> Any:
        """The filesystem, which forgets what it has listed: others write here too."""
        self.filesystem.invalidate_cache()
        return self.filesystem

    def read(self, name: str) -> bytes:
        """A file's content."""
        return bytes(self._now.cat_file(f"{self.root}/{name}"))

    def write(self, name: str, content: bytes | Iterable[bytes], *, synced: bool = True) -> None:
        """Put a file whole: under its name where a put shows it once it is there, else under another and renamed."""
        target = f"{self.root}/{name}"
        with named(f"{self.url}/{name}"):
            if self._puts_are_whole:
                self._put(target, content)
                return
            # Two machines may try the same task, and their processes may share a number.
            temporary = f"{target}.{uuid.uuid4().hex}.tmp"
            self.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            try:
                self._put(temporary, content)
                self.filesystem.mv(temporary, target)
            except BaseException:
                if self._now.exists(temporary):
                    self.filesystem.rm_file(temporary)
                raise

    def _put(self, path: str, content: bytes | Iterable[bytes]) -> None:
        if isinstance(content, bytes):
            self.filesystem.pipe_file(path, content)
            return
        # A remote file that is closed counts as whole, even by an error in the middle of writing it.
        with tempfile.NamedTemporaryFile(prefix="forge-") as file:
            file.writelines(content)
            file.flush()
            self.filesystem.put_file(file.name, path)

    def size(self, name: str) -> int | None:
        """A file's bytes."""
        try:
            found = self._now.info(f"{self.root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return int(found["size"]) if found["type"] == "file" else None

    def sizes(self, prefix: str) -> dict[str, int]:
        """The files below a folder of it, asked of the server in one listing."""
        try:
            found = self._now.find(f"{self.root}/{prefix}".rstrip("/") + "/", detail=True)
        except FileNotFoundError:
            return {}
        return {path.removeprefix(f"{self.root}/"): int(found[path]["size"]) for path in sorted(found)}

    def delete(self, name: str) -> None:
        """Take a file or folder away."""
        if self._now.exists(f"{self.root}/{name}"):
            self.filesystem.rm(f"{self.root}/{name}", recursive=True)

    def publish(self, name: str, target: str) -> None:
        """A copy on the server."""
        goal = f"{self.root}/{target}"
        if not self._puts_are_whole:  # where they are, there are no folders to make
            self.filesystem.makedirs(goal.rpartition("/")[0], exist_ok=True)
        self._now.cp_file(f"{self.root}/{name}", goal)

    def open(self, name: str) -> pa.NativeFile:
        """A file that is asked of the server in blocks."""
        return pa.PythonFile(self._now.open(f"{self.root}/{name}", "rb"), mode="r")

    @contextmanager
    def local(self, names: Sequence[str]) -> Iterator[list[Path]]:
        """Copies for as long as they are needed; a client that can fetches many at once."""
        with tempfile.TemporaryDirectory(prefix="forge-") as scratch:
            paths = [Path(scratch) / f"{number}-{Path(name).name}" for number, name in enumerate(names)]
            if names:
                self._now.get([f"{self.root}/{name}" for name in names], [str(path) for path in paths])
            yield paths

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
        if error.errno is not None and error.filename is None:
            error.filename = str(place)
        raise
