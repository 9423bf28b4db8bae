"""Recorded replies in place of any server, one a line:

{"key": "4f0c...", "model": "m", "request": {...}, "reply": {"text": "...", ...}}

One that can become no record says why: `"reply": {"reason": "truncated", "detail": "...", "text": "...", ...}`.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from dataforge.errors import InputError
from dataforge.llm.cache import Stored
from dataforge.llm.requests import NoReply, Reply, restored


def line(stored: Stored) -> bytes:
    """A reply as a line."""
    said = {name: value for name, value in asdict(stored.reply).items() if name != "key" and value not in (None, "")}
    found = {"key": stored.key, "model": stored.model, "request": stored.request, "reply": said}
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS) + b"\n"


def read(path: Path) -> dict[str, Reply | NoReply]:
    """The replies of a file by the keys of their requests. Raises `InputError` for a line that is none."""
    return dict(_lines(path))


def _lines(path: Path) -> Iterator[tuple[str, Reply | NoReply]]:
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                try:
                    found = orjson.loads(text)
                    yield str(found["key"]), restored(found["reply"], str(found["key"]))
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(f"{path}:{number}: is no recorded reply ({error!r})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def miss(path: Path, key: str, request: Any) -> InputError:
    """What is said where a request has no recorded reply."""
    said = str(request["messages"][-1]["content"])
    shown = " ".join(said.split())[:120]
    return InputError(
        f"{path}: holds no reply to the request {key[:16]} ({request['model']}: {shown!r}); take `replay` out of the "
        "recipe to ask the model, and record it with `forge cache export`"
    )
