"""JSON Lines, a JSON array, or a JSON object that holds its records, told apart by how the file begins.

    {"instruction": "Hi", "output": "Hello!"}
    [{"instruction": "Hi", "output": "Hello!"}]
    {"version": "1.1", "data": [{"title": "Rain", "paragraphs": []}]}
    {"Q_1": {"question": "Who?", "evidences": {}}, "Q_2": {"question": "Where?", "evidences": {}}}

The third is read where `records_at` names the list's key, which shapes such as SQuAD's do of themselves. In the fourth
every value is a record: `records_at: "*"`, and a record without a column `key` gets what it stands under as one. A
file of lines whose objects hold no records in that way is read as lines all the same: for `*`, where one of the first
object's first two values is no object.
"""

from collections.abc import Generator, Iterator
from typing import Any

from dataforge import config
from dataforge.content import BrokenOffError, Content, Item
from dataforge.json_lines import lines
from dataforge.json_stream import Stream

SUFFIXES = (".json", ".jsonl", ".ndjson")
_EACH = "*"


class Settings(config.Settings):
    """How the records stand in the file."""

    records_at: str | None = None
    """The key of the list that holds the records, or `*` where every value is one."""


def read(content: Content, settings: Settings) -> Iterator[Item]:
    """The records, each with its line."""
    stream = Stream(content.pieces())
    begins = stream.peek()
    if begins == "[":
        yield from stream.items()
        return
    if begins == "{" and settings.records_at is not None:
        wanted = settings.records_at
        found = yield from (_values(stream) if wanted == _EACH else _listed(stream, wanted))
        if found:
            return
    yield from lines(content)


def _listed(stream: Stream, wanted: str) -> Generator[Item, None, bool]:
    """The records under a key of the object that begins here; returns whether there was such a list."""
    found = False
    try:
        for key in stream.members():
            if key == wanted and stream.peek() == "[":
                found = True
                yield from stream.items()
            else:
                stream.value()
    except BrokenOffError:
        if found:
            raise
    return found


def _values(stream: Stream) -> Generator[Item, None, bool]:
    """The values of the object that begins here, and of those behind it; returns whether they are records."""
    found = False
    held: list[Item] = []
    try:
        for line, key, value in _members(stream):
            if not found and not isinstance(value, dict):
                return False
            held.append((line, {"key": key, **value} if isinstance(value, dict) else value))
            found = found or len(held) == 2
            if found:
                yield from held
                held = []
    except BrokenOffError:
        if found:
            raise
        return False
    yield from held
    return found or bool(held)


def _members(stream: Stream) -> Iterator[tuple[int, str, Any]]:
    """Each value of all objects to the end of the file, with the line it starts on and its key."""
    while stream.peek():
        for key in stream.members():
            stream.peek()
            line = stream.line
            yield line, key, stream.value()
