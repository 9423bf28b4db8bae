"""The gate that no recipe can leave out: what a conversation must be before it is rendered.

Each rule is one function that says what is wrong or nothing; the first that speaks rejects the record. Rules about who
speaks when see a conversation's shape, its roles in order, and are asked once for each shape.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from dataforge.control import ControlTokens
from dataforge.records import ROLES, Chat, Message, Preference, Prompt, Reject

Shape = tuple[str, ...]
"""The role of each message; `call` for an answer that calls tools."""
Fault = tuple[str, str]
"""A reason and a sentence."""
CALL = "call"
_ANSWERS = ("assistant", CALL)
_SYSTEM = ("system", "developer")


class Gate:
    """The rules for conversations. `typed` is what only a chat template may write, `in_answers` the same for answers.

    Where they are None, control tokens in a message pass.
    """

    def __init__(self, typed: ControlTokens | None = None, in_answers: ControlTokens | None = None) -> None:
        self._typed, self._in_answers = typed, in_answers

    def check(self, chat: Chat) -> Reject | None:
        """The reject that a conversation earns, or None for one that may pass."""
        fault = self._fault(chat)
        return Reject(chat.id, chat.origin, "gate", *fault) if fault else None

    def check_preference(self, preference: Preference) -> Reject | None:
        """The same for a preference, both sides of which must be sound conversations."""
        fault = next((fault for rule in _PREFERENCE_RULES if (fault := rule(preference))), None)
        for side in ("chosen", "rejected"):
            if fault is None:
                answer: Sequence[Message] = getattr(preference, side)
                messages = (*preference.prompt, *answer)
                found = self._fault(Chat(preference.id, preference.origin, messages, tools=preference.tools))
                fault = found and (found[0], f"with the {side} answer, {found[1]}")
        return Reject(preference.id, preference.origin, "gate", *fault) if fault else None

    def check_prompt(self, prompt: Prompt) -> Reject | None:
        """The same for a prompt, which must be sound with any answer."""
        messages = (*prompt.messages, Message("assistant", "answer"))
        fault = _no_prompt(prompt.messages) or self._fault(Chat(prompt.id, prompt.origin, messages, tools=prompt.tools))
        return Reject(prompt.id, prompt.origin, "gate", *fault) if fault else None

    def _fault(self, chat: Chat) -> Fault | None:
        shape = tuple([CALL if message.tool_calls else message.role for message in chat.messages])
        fault = _shape_fault(shape)
        if fault:
            return fault
        for number, message in enumerate(chat.messages, start=1):
            detail = _empty_message(message)
            if detail:
                return "empty_message", f"message {number} ({message.role}) {detail}"
            tokens = self._in_answers if message.role == "assistant" else self._typed
            for text in _texts(message):
                detail = _bad_text(text)
                if detail:
                    return "bad_text", f"message {number} ({message.role}) {detail}"
                token = tokens.find(text) if tokens else None
                if token:
                    return "control_token", (
                        f"message {number} ({message.role}) holds the control token {token!r}; take it out of the "
                        "text, or let `special_tokens: as_text` write it as ordinary text"
                    )
        if CALL in shape:
            return next((fault for rule in _CALL_RULES if (fault := rule(chat))), None)
        return None


@functools.lru_cache(maxsize=4096)
def _shape_fault(shape: Shape) -> Fault | None:
    return next(((reason, detail) for reason, rule in _SHAPE_RULES if (detail := rule(shape))), None)


def _no_messages(shape: Shape) -> str | None:
    """- there is something to say."""
    return None if shape else "the conversation has no messages"


def _bad_role(shape: Shape) -> str | None:
    """- everybody who speaks is known."""
    unknown = next((role for role in shape if role != CALL and role not in ROLES), None)
    return f"there is no role {unknown!r}; known: {', '.join(ROLES)}" if unknown is not None else None


def _no_question(shape: Shape) -> str | None:
    """- an answer answers somebody: it never comes first."""
    first = next((role for role in shape if role not in _SYSTEM), CALL)
    return "the conversation begins with an answer" if first in _ANSWERS else None


def _no_answer(shape: Shape) -> str | None:
    """- a conversation ends with the answer to train."""
    return None if shape[-1] in _ANSWERS else "the conversation does not end with an answer"


def _same_role(shape: Shape) -> str | None:
    """- nobody speaks twice in a row, but tools, and an answer that goes on to call one."""
    for number, (before, role) in enumerate(pairwise(shape), start=1):
        if before == role and role not in ("tool", CALL):
            return f"messages {number} and {number + 1} are both from the {role}; join them, or mend the order"
    return None


def _tool_without_call(shape: Shape) -> str | None:
    """- a tool's result follows a call; where none is marked as such, an answer, which may hold one as text."""
    called = (CALL,) if CALL in shape else _ANSWERS
    before = ""
    for number, role in enumerate(shape, start=1):
        if role == "tool":
            if before not in called:
                return f"message {number} is the result of a tool, and no call comes before it"
        else:
            before = role
    return None


_SHAPE_RULES: tuple[tuple[str, Callable[[Shape], str | None]], ...] = (
    ("no_messages", _no_messages),
    ("bad_role", _bad_role),
    ("no_question", _no_question),
    ("no_answer", _no_answer),
    ("same_role", _same_role),
    ("tool_without_call", _tool_without_call),
)


def _empty_message(message: Message) -> str | None:
    """- every question and answer says something; a system message or a tool may say nothing, a call need not."""
    if message.content and not message.content.isspace():
        return None
    if message.role not in ("user", "assistant") or message.tool_calls or message.text.strip():
        return None
    return "is empty"


def _bad_text(text: str) -> str | None:
    """- every text is Unicode that can be written, without NUL."""
    if "\0" in text:
        return f"holds a NUL character, at {text.index(chr(0))}"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"holds half a character ({text[error.start]!r}, at {error.start}), which cannot be written"
    return None


def _unknown_tool(chat: Chat) -> Fault | None:
    """- where a conversation says which tools there are, only those are called, with what they must be given."""
    if not chat.tools:
        return None
    schemas = {str(schema.get("name")): schema for schema in map(_function, chat.tools)}
    for number, message in enumerate(chat.messages, start=1):
        for call in message.tool_calls:
            if call.name not in schemas:
                known = ", ".join(schemas)
                return "unknown_tool", f"message {number} calls {call.name!r}, and the tools are {known}"
            parameters = schemas[call.name].get("parameters")
            required = parameters.get("required") if isinstance(parameters, Mapping) else None
            missing = [name for name in required if name not in call.arguments] if isinstance(required, list) else []
            if missing:
                detail = f"message {number} calls {call.name!r} without {missing[0]!r}, which it must be given"
                return "missing_argument", detail
    return None


def _unknown_call_id(chat: Chat) -> Fault | None:
    """- a result that says which call it answers answers one that was made before."""
    made = set[str]()
    for number, message in enumerate(chat.messages, start=1):
        made.update(call.id for call in message.tool_calls if call.id)
        if message.role == "tool" and message.tool_call_id and made and message.tool_call_id not in made:
            detail = f"message {number} is the result of the call {message.tool_call_id!r}, which nobody made"
            return "unknown_call_id", detail
    return None


_CALL_RULES: tuple[Callable[[Chat], Fault | None], ...] = (_unknown_tool, _unknown_call_id)


def _unanswered(preference: Preference) -> Fault | None:
    """- a prompt ends with what is to be answered."""
    return _no_prompt(preference.prompt)


def _no_prompt(prompt: Sequence[Message]) -> Fault | None:
    if prompt and prompt[-1].role in ("user", "tool"):
        return None
    return "no_prompt", "the prompt does not end with a question or the result of a tool"


def _other_prompt(preference: Preference) -> Fault | None:
    """- both sides answer the same prompt: each begins with an answer."""
    for side, messages in (("chosen", preference.chosen), ("rejected", preference.rejected)):
        if not messages or messages[0].role != "assistant":
            return "other_prompt", f"the {side} side does not begin with an answer to the prompt"
    return None


def _several_messages(preference: Preference) -> Fault | None:
    """- each side is one answer, which the model writes in one go."""
    for side, messages in (("chosen", preference.chosen), ("rejected", preference.rejected)):
        if len(messages) > 1:
            return "several_messages", f"the {side} side has {len(messages)} messages, and an answer is one"
    return None


def _same_answers(preference: Preference) -> Fault | None:
    """- what is chosen differs from what is rejected, in more than white space."""
    if _comparable(preference.chosen) != _comparable(preference.rejected):
        return None
    return "same_answers", "the chosen answer is the rejected one"


_PREFERENCE_RULES: tuple[Callable[[Preference], Fault | None], ...] = (
    _unanswered,
    _other_prompt,
    _several_messages,
    _same_answers,
)


def _comparable(messages: Sequence[Message]) -> list[Message]:
    return [
        replace(
            message,
            content=" ".join(message.text.split()),
            input=None,
            weight=None,
            reasoning=" ".join((message.reasoning or "").split()),
            tool_calls=[replace(call, id=None) for call in message.tool_calls],
        )
        for message in messages
    ]


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


def _function(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    function = schema.get("function")
    return function if isinstance(function, Mapping) else schema
