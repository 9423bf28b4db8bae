"""Stanford Alpaca: `instruction`, `input`, `output`, and where present `system` and `history`.

    {"instruction": "Translate into French.", "input": "Good morning", "output": "Bonjour"}

`input` follows the instruction on a new line, or stands where the chat template puts it; a missing one may also be
written `<noinput>`, `<无输入>` or `nan`.
`history` holds earlier rounds, `[[question, answer], ...]`, and its answers are trained like the last one.
"""

from typing import Any

from dataforge import config
from dataforge.records import Chat, Message, Reject, Row

_NO_INPUT = {"", "<noinput>", "<无输入>", "nan"}


class Settings(config.Settings):
    """This shape has nothing to set."""


def convert(row: Row, settings: config.Settings) -> Chat | Reject:
    """One record as a conversation."""
    for key in ("instruction", "output"):
        if key not in row.columns:
            return _reject(row, f"missing_{key}", f"the key {key!r} is missing; there are {_keys(row)}")
        if not isinstance(row.columns[key], str):
            return _reject(row, f"bad_{key}", f"{key!r} must be text, not {type(row.columns[key]).__name__}")
    for key in ("input", "system"):
        if not isinstance(row.columns.get(key), str | None):
            return _reject(row, f"bad_{key}", f"{key!r} must be text, not {type(row.columns[key]).__name__}")
    rounds = _history(row.columns.get("history"))
    if rounds is None:
        return _reject(row, "bad_history", "'history' must be a list of [question, answer] pairs of text")
    system, extra = row.columns.get("system"), row.columns.get("input") or ""
    messages = [Message("system", system)] if system else []
    for asked, answered in rounds:
        messages += [Message("user", asked), Message("assistant", answered)]
    question = Message("user", row.columns["instruction"], input=extra if extra.strip() not in _NO_INPUT else None)
    messages += [question, Message("assistant", row.columns["output"])]
    return Chat(row.id, row.origin, tuple(messages))


def _history(value: Any) -> list[tuple[str, str]] | None:
    if value is None:
        return []
    if not isinstance(value, list):
        return None
    rounds = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2 or not all(isinstance(text, str) for text in item):
            return None
        rounds.append((item[0], item[1]))
    return rounds


def _keys(row: Row) -> str:
    return ", ".join(repr(key) for key in row.columns) or "none"


def _reject(row: Row, reason: str, detail: str) -> Reject:
    return Reject(row.id, row.origin, "convert", reason, detail)
