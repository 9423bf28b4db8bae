"""Control tokens that somebody typed: found in a conversation, and marked so that they are encoded as ordinary text.

A marked token stands between two private-use characters while a template renders it, as with
`sanitize_control_tokens` of transformers, whose encoding is followed; a server that sets it feeds its model the same.
"""

import re
from collections.abc import Collection
from typing import Any, TypeVar, cast

T = TypeVar("T")
START, END = "\ue000", "\ue001"


class ControlTokens:
    """The texts that only a chat template may write."""

    def __init__(self, tokens: Collection[str]) -> None:
        longest_first = sorted(tokens, key=lambda token: (-len(token), token))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._marked = re.compile(f"{START}({self._pattern.pattern}){END}|[{START}{END}]")

    def find(self, text: str) -> str | None:
        """The first control token in a text."""
        found = self._pattern.search(text)
        return found.group() if found else None

    def mark(self, value: T) -> T:
        """A text, or the texts in a list or mapping, with every control token between two marks."""
        return cast(T, self._mark(value))

    def _mark(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._pattern.sub(f"{START}\\g<0>{END}", value.replace(START, "").replace(END, ""))
        if isinstance(value, dict):
            return {key: self._mark(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._mark(item) for item in value]
        return value

    def without(self, text: str) -> str:
        """A rendered text without the tokens that somebody typed."""
        return self._marked.sub("", text)

    def split(self, text: str) -> list[str | None]:
        """A rendered text cut at its marks: ordinary text and marked tokens by turns, the former first.

        A mark that lost its fellow stands as None where a token would.
        """
        return self._marked.split(text)


def is_marked(text: str) -> bool:
    """Whether a text holds marks."""
    return START in text or END in text


def unmarked(text: str) -> str:
    """The text as typed."""
    return text.replace(START, "").replace(END, "")
