"""Where bytes come from: files cut into parts, and the records of a part with their places.

A part is a range of bytes that holds at most 2,048 consecutive records, so a file is read by several processes and
only its changed parts are read again. A broken record is a `Reject` and reading goes on; where nothing after the fault
can be told apart, it is an `InputError`.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from dataforge.errors import InputError
from dataforge.records import Origin, Reject, Row, record_id

RECORDS_PER_PART = 2048
BYTES_PER_PART = 2**23
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a file that holds whole records."""

    start: int
    end: int
    """In bytes."""
    ordinal: int
    """The number of its first record in the file, from 0."""
    line: int
    """The line that it starts on, from 1."""
    records: int
    array: bool
    """Whether the records are items of a JSON array, else lines."""
    hash: str
    """blake2b-128 of its bytes."""


@dataclass(frozen=True)
class Scan:
    """A file as its parts."""

    sha256: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Part:
    """A span of a source's file."""

    source: str
    path: Path
    span: Span
    name: str = ""
    """Of the file, below the source's root; its last part if empty."""
    number: int = 0
    """Of the file, among those of the source."""
    packed: tuple[str, str] | None = None
    """Key and output of the stage that unpacked it, which is read in place of the file."""

    def __str__(self) -> str:
        """What a user knows it by."""
        return f"records {self.span.ordinal + 1} to {self.span.ordinal + self.span.records} of {self.file}"

    @property
    def file(self) -> str:
        """What rejects and records name it by."""
        return self.name or self.path.name


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the system refuses into an `InputError` that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def scan(path: Path, limit: int | None = None) -> Scan:
    """Cut a JSON array or JSON Lines file, told apart by the first character; with `limit`, its first records alone.

    Raises `InputError` for an empty file, one that the system does not let be read, and a JSON array that breaks off.
    """
    with readable(path), path.open("rb") as file:
        start = file.read(4096).removeprefix(_BOM).lstrip()
        if not start:
            raise InputError(f"{path}: holds no records; one JSON object a line is what is read")
        file.seek(0)
        if start.startswith(b"["):
            content = file.read()
            whole = hashlib.sha256(content)
            spans = tuple(itertools.islice(_array_spans(path, content, limit), None if limit is None else 1))
        else:
            whole = hashlib.sha256()
            spans = tuple(itertools.islice(_line_spans(file, whole, limit), None if limit is None else 1))
    return Scan(whole.hexdigest(), spans)


def unpacked(part: Part, content: bytes) -> Iterator[Row | Reject]:
    """The records of a part of a file that was unpacked: see `unpack`."""
    for ordinal, line in enumerate(content.splitlines(), start=part.span.ordinal):
        number, value, *fault = orjson.loads(line)
        origin = Origin(part.source, part.file, ordinal, number)
        if fault:
            reason, detail = fault
            yield Reject(record_id(part.source, detail), origin, "read", reason, detail)
        else:
            yield _row(value, origin)


def read(part: Part) -> Iterator[Row | Reject]:
    """The records of a part that is read where it lies.

    Raises `InputError` where the file is no longer the one that was scanned, or cannot be read.
    """
    span = part.span
    with readable(part.path), part.path.open("rb") as file:
        file.seek(span.start)
        content = file.read(span.end - span.start)
    if _hash(content) != span.hash:
        raise InputError(f"{part.path}: has changed since the build began; run it again")
    if span.array:
        for value, ordinal, line in _values(part.path, content.decode(), 0, span.ordinal, span.line, span.records):
            yield _row(value, Origin(part.source, part.file, ordinal, line))
        return
    ordinals = itertools.count(span.ordinal)
    lines = enumerate(content.removeprefix(_BOM if span.start == 0 else b"").split(b"\n"), start=span.line)
    stripped = ((number, line.strip()) for number, line in lines)
    for number, text in itertools.islice(((number, text) for number, text in stripped if text), span.records):
        yield _line(text, Origin(part.source, part.file, next(ordinals), number))


def _line_spans(file: BinaryIO, whole: Any, limit: int | None) -> Iterator[Span]:
    start, ordinal, number, most = 0, 0, 1, min(RECORDS_PER_PART, limit or RECORDS_PER_PART)
    lines: list[bytes] = []
    size = 0
    for line in itertools.chain(file, (None,)):
        if line is not None:
            lines.append(line)
            size += len(line)
        if lines and (line is None or len(lines) == most or size >= BYTES_PER_PART):
            content = b"".join(lines)
            whole.update(content)
            records = sum(1 for each in lines if each.strip()) - (start == 0 and lines[0].strip() == _BOM)
            if records:
                yield Span(start, start + size, ordinal, number, records, array=False, hash=_hash(content))
            start, ordinal, number = start + size, ordinal + records, number + len(lines)
            lines, size = [], 0


def _array_spans(path: Path, content: bytes, limit: int | None) -> Iterator[Span]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    first = _past_blanks(text, text.index("[") + 1)
    most = min(RECORDS_PER_PART, limit or RECORDS_PER_PART)
    byte = len(text[:first].encode()) + (len(_BOM) if content.startswith(_BOM) else 0)
    line, begun, counted = text.count("\n", 0, first) + 1, first, 0
    for ordinal in itertools.count():
        position = first
        if text[position : position + 1] != "]":
            _, first = _value(path, text, position, ordinal, 1)
        ends = text[position : position + 1] == "]"
        if ordinal - counted and (ends or ordinal - counted == most or position - begun >= BYTES_PER_PART):
            piece = text[begun:position].encode()
            yield Span(byte, byte + len(piece), counted, line, ordinal - counted, array=True, hash=_hash(piece))
            byte, line, begun, counted = byte + len(piece), line + text.count("\n", begun, position), position, ordinal
        if ends:
            return


def _values(
    path: Path, text: str, position: int, ordinal: int, line: int, records: int
) -> Iterator[tuple[Any, int, int]]:
    """Items of a JSON array from a position on, each with its number and line."""
    for number in range(ordinal, ordinal + records):
        value, following = _value(path, text, position, number, line)
        yield value, number, line
        line, position = line + text.count("\n", position, following), following


def _value(path: Path, text: str, position: int, ordinal: int, line: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, position)
        return value, _past_separator(text, end)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno + line - 1}: the JSON array breaks off in record {ordinal + 1} ({error.msg}, column "
            f"{error.colno}); mend it there, or write one object a line so that the rest can be read"
        ) from None


_DECODER = json.JSONDecoder()


def _line(content: bytes, origin: Origin) -> Row | Reject:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        shown = content[:200].decode(errors="replace")
        detail = f"{error.msg} at column {error.colno} of {shown!r}"
        return Reject(record_id(origin.source, shown), origin, "read", "broken_json", detail)
    return _row(value, origin)


def _past_separator(text: str, position: int) -> int:
    position = _past_blanks(text, position)
    if text[position : position + 1] == ",":
        return _past_blanks(text, position + 1)
    if text[position : position + 1] in ("]", ""):
        return position
    raise json.JSONDecodeError("Expecting ',' or ']' behind a record", text, position)


def _past_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _row(value: Any, origin: Origin) -> Row | Reject:
    try:
        identity = record_id(origin.source, value)
    except TypeError as error:  # half a character, or a number of more than 64 bits
        shown = ascii(value)[:200]
        return Reject(record_id(origin.source, shown), origin, "read", "bad_value", f"{error}: {shown}")
    if not isinstance(value, dict):
        detail = f"a record is a JSON object, not {type(value).__name__}"
        return Reject(identity, origin, "read", "not_an_object", detail)
    return Row(identity, origin, value)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
