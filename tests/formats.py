"""Conversations through one chat template, from a test's line to rows."""

import datetime
from pathlib import Path
from typing import Any

from dataforge.bases import BaseTokenizer
from dataforge.chat_format import ChatFormat
from dataforge.records import Chat, Message, Origin, Reject, Row
from dataforge.sources import openai
from dataforge.tokenize import Encoded, TrainOn, encode

DATE = datetime.date(2026, 1, 1)


def chat_format(template: str, tokenizer: BaseTokenizer, folder: Path | None = None, **options: Any) -> ChatFormat:
    """A format by the name of a template, or by its text, which is written into the folder."""
    if folder is not None:
        (folder / "test.jinja").write_text(template, encoding="utf-8")
        template = "test.jinja"
    return ChatFormat(tokenizer, template, folder or Path(), date=DATE, **options)


def chat_of(*messages: dict[str, Any], **columns: Any) -> Chat:
    """A conversation in OpenAI's form."""
    row = Row("r", Origin("s", "f", 0, 1), {"messages": list(messages), **columns})
    chat = openai.convert(row, openai.Settings())
    assert isinstance(chat, Chat), chat
    return chat


def turns(*texts: str, system: str | None = None) -> Chat:
    """User and assistant by turns."""
    said = [Message("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(texts)]
    return Chat("r", Origin("s", "f", 0, 1), (*([Message("system", system)] if system is not None else []), *said))


def encoded(
    chat: Chat,
    template: str,
    tokenizer: BaseTokenizer,
    folder: Path | None = None,
    train_on: TrainOn = "all_turns",
    **options: Any,
) -> Encoded | Reject:
    """What becomes of one conversation."""
    found = chat_format(template, tokenizer, folder, **options)
    rendering = found.renderer.render(chat)
    if isinstance(rendering, Reject):
        return rendering
    (result,) = encode([rendering], found.encoder, train_on)
    return result


def rows_of(
    chat: Chat,
    template: str,
    tokenizer: BaseTokenizer,
    folder: Path | None = None,
    train_on: TrainOn = "all_turns",
    **options: Any,
) -> Encoded:
    """The rows of a conversation that becomes some."""
    result = encoded(chat, template, tokenizer, folder, train_on, **options)
    assert isinstance(result, Encoded), result
    return result
