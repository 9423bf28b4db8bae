"""The gate that no recipe can leave out: what a conversation must be before it is rendered.

Each rule is one function that says what is wrong or nothing; the first that speaks rejects the record.
"""

from collections.abc import Callable, Iterator, Mapping

from dataforge.control import ControlTokens
from dataforge.records import Chat, Message, Reject

Rule = Callable[[Chat], str | None]


class Gate:
    """The rules for conversations. `typed` is what only a chat template may write, `in_answers` the same for answers.

    Where they are None, control tokens in a message pass.
    """

    def __init__(self, typed: ControlTokens | None = None, in_answers: ControlTokens | None = None) -> None:
        self._typed, self._in_answers = typed, in_answers
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
            tokens = self._in_answers if message.role == "assistant" else self._typed
            if tokens is None:
                continue
            for text in _texts(message):
                token = tokens.find(text)
                if token:
                    return (
                        f"message {number} ({message.role}) holds the control token {token!r}; take it out of the "
                        "text, or let `special_tokens: as_text` write it as ordinary text"
                    )
        return None


def _texts(message: Message) -> Iterator[str]:
    """All that somebody wrote in a message."""
    yield message.text
    if message.reasoning:
        yield message.reasoning
    for call in message.tool_calls:
        yield call.name
        yield from _strings(call.arguments)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _no_messages(chat: Chat) -> str | None:
    """- there is something to say."""
    return None if chat.messages else "the conversation has no messages"


def _no_question(chat: Chat) -> str | None:
    """- an answer answers somebody: it never comes first."""
    first = next(
        (message.role for message in chat.messages if message.role not in ("system", "developer")), "assistant"
    )
    return "the conversation begins with an answer" if first == "assistant" else None


def _no_answer(chat: Chat) -> str | None:
    """- a conversation ends with the answer to train."""
    return None if chat.messages[-1].role == "assistant" else "the conversation does not end with an answer"


def _empty_message(chat: Chat) -> str | None:
    """- every question and answer says something; a system message or a tool may say nothing, a call need not."""
    for number, message in enumerate(chat.messages, start=1):
        if message.role in ("user", "assistant") and not message.text.strip() and not message.tool_calls:
            return f"message {number} ({message.role}) is empty"
    return None
