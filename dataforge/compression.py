"""Files that are compressed or packed together: `.gz`, `.zst`, `.bz2`, `.xz`, `.zip`, `.tar` and their mixtures.

What breaks off is told as a `BrokenOffError`, after all that could be read.
"""

import io
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

from dataforge.content import BrokenOffError

Kind = Literal["gz", "zst", "bz2", "xz"]
Archive = Literal["zip", "tar"]
WINDOW = 2**31
"""Bytes that a zstandard file may look back; dumps of forums need all of it."""
_SUFFIXES: dict[str, Kind] = {".gz": "gz", ".zst": "zst", ".zstd": "zst", ".bz2": "bz2", ".xz": "xz"}
_SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
_FIRST: dict[bytes, Kind] = {
    b"\x1f\x8b": "gz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
}
_FAULTS = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, OSError)
_FEW, _MANY = 2**6, 2**16
"""Bytes that are decompressed at a time: each may become thousands."""
_MUCH = 2**20
"""Bytes that come of them above which fewer are taken."""


def bare(name: str) -> str:
    """A file's name without the endings that say how it is compressed."""
    for short, long in _SHORT.items():
        if name.lower().endswith(short):
            name = name[: -len(short)] + long
    while True:
        suffix = Path(name).suffix
        if suffix.lower() not in _SUFFIXES or name == suffix:
            return name
        name = name[: -len(suffix)]


def archive(name: str) -> Archive | None:
    """Whether a file of that name holds others."""
    suffix = Path(bare(name)).suffix.lower()
    return "zip" if suffix == ".zip" else "tar" if suffix == ".tar" else None


def compressed(head: bytes) -> bool:
    """Whether a file that begins with these bytes is compressed."""
    return head.startswith(tuple(_FIRST))


def opened(raw: io.BufferedReader) -> io.BufferedReader:
    """A file's bytes, decompressed as often as they have to be, which their first bytes tell; raw ones as they are."""
    file = raw
    try:
        for _ in range(3):
            head = file.peek(6)
            kind = next((kind for first, kind in _FIRST.items() if head.startswith(first)), None)
            if kind is None:
                break
            file = io.BufferedReader(_Checked(_reader(kind, file), file), io.DEFAULT_BUFFER_SIZE * 8)
    except BrokenOffError:
        file.close()
        raise
    return file


def pieces(raw: io.BufferedReader, size: int) -> Iterator[bytes]:
    """A file's bytes, decompressed, in pieces of about `size` at most where the kind of compression lets them be cut.

    What is compressed once with zstandard is not copied on the way, which takes half the time of `opened`.
    """
    if raw.peek(4)[:4] != next(first for first, kind in _FIRST.items() if kind == "zst"):
        with opened(raw) as file:
            while piece := file.read1(size):
                yield piece
        return
    with raw:
        reader = _Zstandard(raw)
        try:
            while piece := reader.read1(2**62):
                yield piece
        except _FAULTS as error:
            raise BrokenOffError(f"what is compressed breaks off ({_said(error)})") from None


def members(path: Path, name: str, wanted: Callable[[str], bool], scratch: Path) -> Iterator[tuple[str, Path]]:
    """The files of an archive, each as a file of its own for as long as the next is not asked for."""
    place = scratch / "member"
    try:
        if archive(name) == "zip":
            with zipfile.ZipFile(path) as packed:
                for each in packed.infolist():
                    if not each.is_dir() and wanted(each.filename):
                        with packed.open(each) as member:
                            _copy(member, place)
                        yield each.filename, place
            return
        with path.open("rb") as raw, tarfile.open(fileobj=opened(raw), mode="r|") as packed_:
            for found in packed_:
                if found.isfile() and wanted(found.name):
                    opened_ = packed_.extractfile(found)
                    if opened_ is not None:
                        with opened_:
                            _copy(opened_, place)
                        yield found.name.removeprefix("./"), place
    except _FAULTS as error:
        raise BrokenOffError(f"the archive breaks off ({_said(error)})") from None
    finally:
        place.unlink(missing_ok=True)


def _copy(member: IO[bytes], place: Path) -> None:
    with place.open("wb") as file:
        shutil.copyfileobj(member, file, 2**20)


def _reader(kind: Kind, file: io.BufferedReader) -> Callable[[int], bytes]:
    if kind == "gz":
        import gzip

        return gzip.GzipFile(fileobj=file).read1
    if kind == "bz2":
        import bz2

        return bz2.BZ2File(file).read1
    if kind == "xz":
        return lzma.LZMAFile(file).read1
    return _Zstandard(file).read1


class _Zstandard:
    """One frame after another; the library's own reader does not tell a file that breaks off from one that ends."""

    def __init__(self, file: io.BufferedReader) -> None:
        import zstandard

        self._file, self._error = file, zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        self._frame: Any = None
        self._rest = self._found = b""
        self._step = _FEW

    def read1(self, size: int) -> bytes:
        """At most so many bytes, and none at the end."""
        while not self._found:
            given = self._rest or self._file.read(self._step)
            self._rest = b""
            if not given:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a frame")
                return b""
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            try:
                self._found = self._frame.decompress(given)
            except self._error as error:
                raise EOFError(str(error)) from None
            much = len(self._found) > _MUCH
            self._step = max(_FEW, self._step // 4) if much else min(_MANY, self._step * 2)
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        found, self._found = self._found[:size], self._found[size:]
        return found


class _Checked(io.RawIOBase):
    """Bytes whose faults are told in our words."""

    def __init__(self, read: Callable[[int], bytes], file: io.BufferedReader) -> None:
        self._read, self._file = read, file

    def readable(self) -> bool:
        """They are."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill as much of a buffer as there is."""
        try:
            found = self._read(len(buffer))
        except _FAULTS as error:
            raise BrokenOffError(f"what is compressed breaks off ({_said(error)})") from None
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        """Close the compressed file."""
        self._file.close()
        super().close()


def _said(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
