"""The gate that no recipe can leave out: what a conversation must be before it is rendered.

Each rule is one function that says what is wrong or nothing; the first that speaks rejects the record.
"""

import re
from collections.abc import Callable, Collection

from dataforge.records import Chat, Reject

Rule = Callable[[Chat], str | None]


class Gate:
    """The rules for conversations under one tokenizer."""

    def __init__(self, control_tokens: Collection[str]) -> None:
        longest_first = sorted(control_tokens, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if control_tokens else None
        self._rules: tuple[tuple[str, Rule], ...] = (
            ("no_messages", _no_messages),
            ("no_question", _no_question),
            ("no_answer", _no_answer),
            ("empty_message", _empty_message),
            ("control_token", self._control_token),
        )

    def check(self, chat: Chat) -> Reject | None:
        """The reject that a conversation earns, or None for one that may pass."""
        for reason, rule in self._rules:
            detail = rule(chat)
            if detail:
                return Reject(chat.id, chat.origin, "gate", reason, detail)
        return None

    def _control_token(self, chat: Chat) -> str | None:
        """- nothing typed is a control token."""
        for number, message in enumerate(chat.messages, start=1):
            found = self._control.search(message.content) if self._control else None
            if found:
                token = found.group()
                return f"message {number} ({message.role}) holds the control token {token!r}; take it out of the text"
        return None


def _no_messages(chat: Chat) -> str | None:
    """- there is something to say."""
    return None if chat.messages else "the conversation has no messages"


def _no_question(chat: Chat) -> str | None:
    """- an answer answers somebody: it never comes first."""
    first = next((message.role for message in chat.messages if message.role != "system"), "assistant")
    return "the conversation begins with an answer" if first == "assistant" else None


def _no_answer(chat: Chat) -> str | None:
    """- a conversation ends with the answer to train."""
    return None if chat.messages[-1].role == "assistant" else "the conversation does not end with an answer"


def _empty_message(chat: Chat) -> str | None:
    """- every message says something."""
    for number, message in enumerate(chat.messages, start=1):
        if not message.content.strip():
            return f"message {number} ({message.role}) is empty"
    return None
