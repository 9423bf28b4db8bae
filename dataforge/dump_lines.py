"""The lines of JSON dumps as Arrow batches that a database parses, each with its number; what a forum's API says, with
its nested lists of replies, becomes such lines.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from dataforge import compression
from dataforge.content import BrokenOffError, Fault
from dataforge.errors import InputError

SCHEMA = pa.schema([("line", pa.string()), ("number", pa.int64())])
BLOCK = 2**21
"""Bytes that are cut into lines at a time."""
LONGEST = 2**26
"""Bytes of a line above which it is no record."""
WHOLE = 2**28
"""Bytes of a file that is one JSON value."""
_HEAD = 2**18
_BOM = b"\xef\xbb\xbf"
_LISTED = ("kind", "data")


@dataclass
class Dump:
    """One file, read as often as it is asked for; what is counted is of the last time."""

    name: str
    path: Path
    nested: bool = False
    """Whether its values are a list, or an API's answers, which are to be unfolded."""
    columns: set[str] = field(default_factory=set)
    """Of its first lines."""
    lines: int = 0
    """Lines that are not empty, or records of an API's answers."""
    faults: dict[int, Fault] = field(default_factory=dict)
    """By the number of the line: what is too long to be a record, and where the file breaks off."""
    more: int = 0
    """Stubs that stand for comments which the API did not list."""
    unlisted: int = 0
    """Comments that these stand for."""

    def look(self) -> None:
        """Tell from its first lines whether it is `nested`, and which columns all of them have.

        Raises `InputError` where it is no UTF-8.
        """
        try:
            with compression.opened(self.path.open("rb")) as file:
                start = file.read(_HEAD).removeprefix(_BOM)
        except BrokenOffError:
            # What can be read of it is read later, and then it is told where it breaks off.
            start = b""
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{self.name}: is UTF-16, and dumps are UTF-8; convert it (`iconv -f UTF-16 -t UTF-8`)")
        lines = start.split(b"\n")
        values = [value for value in map(_parsed, lines[:-1] if len(lines) > 1 else lines) if value is not None]
        begins = start.lstrip()[:1]
        self.nested = begins == b"[" or (begins == b"{" and not values) or any(map(_is_nested, values))
        self.columns = {key for value in values if isinstance(value, dict) for key in value}

    def only(self, column: str) -> bool:
        """Whether the first lines look as if all records had a column and none a title."""
        return not self.nested and column in self.columns and "title" not in self.columns

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its lines. Raises `InputError` where it is one JSON value that is broken or too large."""
        self.lines, self.faults, self.more, self.unlisted = 0, {}, 0, 0
        number = 1
        for block, ends in self._blocks():
            offsets = np.zeros(len(ends) + 1, dtype=np.int32)
            offsets[1:] = ends
            lines = self._text(
                pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(block)), number
            )
            if self.nested:
                numbers = pa.array(np.full(len(ends), number))
            else:
                numbers = pa.array(np.arange(number, number + len(ends)))
                number += len(ends)
            self.lines += len(ends)
            yield pa.record_batch([lines, numbers], schema=SCHEMA)

    def _text(self, lines: pa.StringArray, number: int) -> pa.StringArray:
        """Lines in which what is no UTF-8 is a fault and empty: the database would break down over it."""
        try:
            lines.validate(full=True)
            return lines
        except pa.ArrowInvalid:
            found = []
            for at, line in enumerate(lines.cast(pa.binary()).to_pylist(), start=number):
                try:
                    found.append(line.decode())
                except UnicodeDecodeError as error:
                    self.faults[at] = Fault(
                        "bad_encoding", f"{error.reason} at byte {error.start}: it is no UTF-8 text"
                    )
                    found.append("")
            return pa.array(found, pa.string())

    def _blocks(self) -> Iterator[tuple[bytes, np.ndarray]]:
        """Whole lines, and where each ends."""
        rest, number, skipping = b"", 1, False
        for piece in self._unfolded() if self.nested else self._pieces():
            block = rest + piece if rest else piece
            ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10) + 1
            if skipping and len(ends):
                block, skipping = block[ends[0] :], False
                ends, number = ends[1:] - ends[0], number + 1
            elif skipping:
                block = b""
            if len(ends):
                rest = block[ends[-1] :]
                number += len(ends)
                yield block, ends
            else:
                rest = block
            if len(rest) > LONGEST:
                self.faults[number] = Fault("line_too_long", f"a line of more than {LONGEST:,} bytes is no record")
                rest, skipping = b"", True
        if rest and not skipping:
            yield rest, np.array([len(rest)])

    def _pieces(self) -> Iterator[bytes]:
        size, first = 0, True
        try:
            for piece in compression.pieces(self.path.open("rb"), BLOCK):
                yield piece.removeprefix(_BOM) if first else piece
                size, first = size + len(piece), False
        except BrokenOffError as error:
            if first:
                raise InputError(f"{self.name}: {error}; get it again or leave it out") from None
            self.faults[self.lines + 1] = Fault(
                "breaks_off", f"{error}; what follows the first {size:,} bytes is not read"
            )

    def _unfolded(self) -> Iterator[bytes]:
        content = b"".join(self._limited())
        try:
            values = [orjson.loads(content)]
        except orjson.JSONDecodeError:
            lines = [line for line in content.split(b"\n") if line.strip()]
            values = [_parsed(line) for line in lines]
            if values[:1] in ([], [None]):
                raise InputError(
                    f"{self.name}: is neither one JSON value nor one a line; mend it or leave it out"
                ) from None
            for line, value in zip(lines, values, strict=True):
                yield from self._records(value) if value is not None else (line + b"\n",)
            return
        yield from self._records(values[0])

    def _limited(self) -> Iterator[bytes]:
        size = 0
        for piece in self._pieces():
            size += len(piece)
            if size > WHOLE:
                raise InputError(
                    f"{self.name}: is one JSON value of more than {WHOLE:,} bytes; write one object a line"
                )
            yield piece

    def _records(self, value: Any) -> Iterator[bytes]:
        """The records in an API's answer as lines, each comment before what was said to it."""
        waiting = [value]
        while waiting:
            found = waiting.pop()
            if isinstance(found, list):
                waiting.extend(reversed(found))
                continue
            if isinstance(found, dict) and isinstance(found.get("data"), dict) and isinstance(found.get("kind"), str):
                kind, found = found["kind"], found["data"]
                if kind == "Listing":
                    waiting.append(found.get("children") or [])
                    continue
                if kind == "more":
                    self.more += 1
                    self.unlisted += int(found.get("count") or 0)
                    continue
            if isinstance(found, dict) and "replies" in found:
                waiting.append(found["replies"] or [])
                found = {key: item for key, item in found.items() if key != "replies"}
            yield orjson.dumps(found) + b"\n"


def until_refused(dump: Dump, refused: list[InputError]) -> Iterator[pa.RecordBatch]:
    """A dump's lines; what refuses it is set aside, as the database would make an error of its own of it."""
    try:
        yield from dump.batches()
    except InputError as error:
        refused.append(error)


def fault(line: str) -> Fault:
    """What is wrong with a line that is no JSON, or neither a post nor a comment."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Fault("broken_json", f"{error.msg} at column {error.colno} of {line.rstrip()[:200]!r}")
    if not isinstance(value, dict):
        return Fault("not_an_object", f"a record is a JSON object, not {type(value).__name__}")
    keys = ", ".join(map(repr, list(value)[:12])) or "none"
    return Fault("neither_post_nor_comment", f"has no id with a 'title' or a 'link_id'; its keys are {keys}")


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _is_nested(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict) for item in value)
    return isinstance(value, dict) and (all(key in value for key in _LISTED) or isinstance(value.get("replies"), dict))
