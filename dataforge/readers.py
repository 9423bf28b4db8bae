"""Where bytes come from: the records of a file with their places, whatever is broken among them.

A broken record is a `Reject` and reading goes on; where nothing after the fault can be told apart, it is an
`InputError`.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from dataforge.errors import InputError
from dataforge.records import Origin, Reject, Row, record_id

_BOM = b"\xef\xbb\xbf"


def read_rows(path: Path, source: str) -> Iterator[Row | Reject]:
    """The records of a JSON array or JSON Lines file, told apart by the first character.

    Raises `InputError` for an empty file and for a JSON array that breaks off.
    """
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(_BOM).lstrip()
    if not start:
        raise InputError(f"{path}: holds no records; one JSON object a line is what is read")
    return _json_array(path, source) if start.startswith(b"[") else _json_lines(path, source)


def _json_lines(path: Path, source: str) -> Iterator[Row | Reject]:
    ordinal = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            content = (line.removeprefix(_BOM) if number == 1 else line).strip()
            if content:
                yield _line(content, Origin(source, path.name, ordinal, number))
                ordinal += 1


def _line(content: bytes, origin: Origin) -> Row | Reject:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        shown = content[:200].decode(errors="replace")
        detail = f"{error.msg} at column {error.colno} of {shown!r}"
        return Reject(record_id(origin.source, shown), origin, "read", "broken_json", detail)
    return _row(value, origin)


def _json_array(path: Path, source: str) -> Iterator[Row | Reject]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    decoder = json.JSONDecoder()
    position, line, counted = _past_blanks(text, text.index("[") + 1), 1, 0
    for ordinal in itertools.count():
        if text[position : position + 1] == "]":
            return
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
            position = _past_separator(text, position)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}:{error.lineno}: the JSON array breaks off in record {ordinal + 1} ({error.msg}, column "
                f"{error.colno}); mend it there, or write one object a line so that the rest can be read"
            ) from None
        yield _row(value, Origin(source, path.name, ordinal, line))


def _past_separator(text: str, position: int) -> int:
    position = _past_blanks(text, position)
    if text[position : position + 1] == ",":
        return _past_blanks(text, position + 1)
    if text[position : position + 1] == "]":
        return position
    raise json.JSONDecodeError("Expecting ',' or ']' behind a record", text, position)


def _past_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _row(value: Any, origin: Origin) -> Row | Reject:
    identity = record_id(origin.source, value)
    if not isinstance(value, dict):
        detail = f"a record is a JSON object, not {type(value).__name__}"
        return Reject(identity, origin, "read", "not_an_object", detail)
    return Row(identity, origin, value)
