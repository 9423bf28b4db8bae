"""Files of any kind become parts of JSON Lines, once: what is compressed, encoded or laid out otherwise is read like
the rest from then on.

    [3, {"question": "Why?"}]                                  the record of line 3
    [4, null, "broken_json", "unexpected end of data ..."]     what stands there instead of one

Parts are written as they are made, so a file of any size takes the memory of one of them.
"""

import functools
import hashlib
import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from dataforge import charsets, components, compression, places, readers, reading, values
from dataforge.content import BrokenOffError, Fault
from dataforge.errors import InputError
from dataforge.places import File
from dataforge.source_entry import Reading

Found = tuple[str, int, Any]
"""The file of an archive that a record is in, or the empty text; its line; its columns or a `Fault`."""


@dataclass
class Notes:
    """What is to be said of a file once it has been read."""

    texts: list[str] = field(default_factory=list)
    assembled: dict[str, Any] = field(default_factory=dict)
    """The counts of the station `threads`, where files were joined."""


def records(file: File, path: Path, reading_: Reading, scratch: Path, notes: Notes) -> Iterator[Found]:
    """The records of a file, or of the files in it where it is an archive; `path` is where it lies on this machine.

    Raises `InputError` where it cannot be read at all.
    """
    with readers.readable(path):
        if compression.archive(file.name):
            yield from _members(file, path, reading_, scratch, notes)
            return
        for number, value in _items(file, lambda: path.open("rb"), path, reading_, notes):
            yield "", number, value


def streamed(
    file: File, open_: Callable[[], io.BufferedReader], reading_: Reading, scratch: Path, notes: Notes
) -> Iterator[Found]:
    """The same of a file that is behind a URL; only an archive is brought here first."""
    if compression.archive(file.name) is None:
        for number, value in _items(file, open_, None, reading_, notes):
            yield "", number, value
        return
    copy = scratch / "archive"
    with open_() as stream, copy.open("wb") as target:
        shutil.copyfileobj(stream, target, 2**20)
    yield from records(file, copy, reading_, scratch, notes)


def _members(file: File, path: Path, reading_: Reading, place: Path, notes: Notes) -> Iterator[Found]:
    def wanted(member: str) -> bool:
        clean = member.removeprefix("./")
        return not places.hidden(clean) and places.is_data(clean, reading_.stated) and not compression.archive(clean)

    count, last = 0, ""
    try:
        for member, copy in compression.members(path, file.name, wanted, place):
            inner = File(member, f"{file.shown}/{member}")
            for number, value in _items(inner, functools.partial(_bytes_of, copy), copy, reading_, notes):
                count, last = count + 1, member
                yield member, number, value
    except BrokenOffError as error:
        if not count:
            raise InputError(f"{file.shown}: {error}") from None
        notes.texts.append(f"{file.name}: {error}; what follows {last} is not read")
        yield last, 0, Fault("breaks_off", f"{error}; what follows is not read")
    if not count:
        raise InputError(f"{file.shown}: there is no file in it that can be read and holds records")


def _bytes_of(path: Path) -> io.BufferedReader:
    return path.open("rb")


def _items(
    file: File, open_: Callable[[], io.BufferedReader], path: Path | None, reading_: Reading, notes: Notes
) -> Iterator[tuple[int, Any]]:
    last = count = 0
    try:
        try:
            use, settings, content, said = reading.content(reading_, file.name, open_, path)
        except InputError as error:
            raise InputError(f"{file.shown}: {error}") from None
        if said:
            notes.texts.append(f"{file.name} is read as {said}")
        for number, value in components.format_(use).read(content, settings):
            last, count = number, count + 1
            yield number, value
    except BrokenOffError as error:
        if not count:
            raise InputError(f"{file.shown}: {error}") from None
        notes.texts.append(f"{file.name}: {error}; what follows line {last:,} is not read")
        yield last + 1, Fault("breaks_off", f"{error}; what follows line {last:,} is not read")


def parts(found: Iterable[Found], facts: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Records as the outputs of a stage, a part each; `facts` is told of every part once it is made.

    Parts are what `readers.Span` says of them, with the `file` of an archive that they are in.
    """
    lines: list[bytes] = []
    size = first_line = 0
    inside: str | None = None
    ordinals: dict[str, int] = {}

    def closed() -> tuple[str, bytes]:
        nonlocal lines, size
        content, file = b"".join(lines), inside or ""
        ordinal = ordinals.get(file, 0)
        facts.append(
            {
                "file": file,
                "size": len(content),
                "ordinal": ordinal,
                "line": first_line,
                "records": len(lines),
                "hash": hashlib.blake2b(content, digest_size=16).hexdigest(),
            }
        )
        ordinals[file] = ordinal + len(lines)
        lines, size = [], 0
        return f"{len(facts) - 1}.jsonl", content

    for file, number, value in found:
        if lines and (file != inside or len(lines) == readers.RECORDS_PER_PART or size >= readers.BYTES_PER_PART):
            yield closed()
        if not lines:
            inside, first_line = file, number
        lines.append(_line(number, value))
        size += len(lines[-1])
    if lines:
        yield closed()


def _line(number: int, value: Any) -> bytes:
    if not isinstance(value, Fault):
        try:
            return values.written([number, value]) + b"\n"
        except (TypeError, RecursionError) as error:
            value = _fault(value, error)
    return orjson.dumps([number, None, value.reason, value.detail]) + b"\n"


def _fault(value: Any, error: Exception) -> Fault:
    shown = ascii(value)[:200]
    if ascii(charsets.MARK)[1:-1] in ascii(value):
        return Fault("bad_encoding", f"holds bytes that are no text in the file's encoding: {shown}")
    return Fault("bad_value", f"{error}: {shown}")
