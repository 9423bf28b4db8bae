"""What a chat template does, found out by rendering small conversations and looking at what comes out.

Nothing is known of a template by its name. What ends an answer, whether tool calls want their arguments as JSON text,
and what a served prompt says beyond what a rendered answer shows (an opened or an empty, closed thought): each is
read off renderings of words that no template writes by itself.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from dataforge.errors import TemplateError
from dataforge.records import Message, Role, ToolCall
from dataforge.templates import ChatTemplate, Tools

REFUSALS = (jinja2.TemplateError, TypeError)
"""What rendering raises where a template refuses a conversation."""

_ASKED, _ANSWERED, _THOUGHT, _ARGUMENT = "forgequestion", "forgeanswer", "forgethought", "forgeargument"
_USER = Message("user", _ASKED)
_ANSWER = Message("assistant", _ANSWERED)
_CALL = Message("assistant", None, tool_calls=(ToolCall("forgetool", {"key": _ARGUMENT}, "forgecall"),))
_SAID_CALL = Message("assistant", "", tool_calls=_CALL.tool_calls)
_RESULT = Message("tool", "forgeresult", tool_call_id="forgecall", name="forgetool")
_TOOL = {
    "type": "function",
    "function": {
        "name": "forgetool",
        "description": "Does something.",
        "parameters": {
            "type": "object",
            "properties": {"key": {"type": "string", "description": "A text."}},
            "required": ["key"],
        },
    },
}
PROBES: tuple[tuple[tuple[Message, ...], Tools], ...] = (
    ((Message("system", "forgesystem"), _USER, _ANSWER), ()),
    ((_USER, _ANSWER, _USER, _ANSWER), ()),
    ((_USER, _CALL), (_TOOL,)),
    ((_USER, _CALL, _RESULT, _ANSWER), (_TOOL,)),
)
"""Conversations, with the tools they have, in which a template shows what it writes."""
_MARKUP = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Thought:
    """What a served prompt ends with beyond the header that a rendered answer begins with."""

    extra: str
    closed: bool
    """Whether the answer proper comes next; else the prompt has opened a thought."""
    closing: str | None
    """What stands between a thought and the answer, where the template lets that be known."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a template does under given keyword arguments."""

    stops: tuple[str, ...]
    """The texts that end an answer, as a rule one token."""
    late_stop: str | None
    """What ends an answer where nothing is written until the next message begins."""
    late_call_stop: str | None
    """The same after tool calls."""
    json_arguments: bool
    """Whether tool calls must bring their arguments as JSON text."""
    thoughts: tuple[Thought, ...]
    thought_end: str | None
    """The marker that ends a thought, such as `</think>`."""
    thought_markup: str
    """What is written around a thought."""
    unwritten: frozenset[Role]
    """The roles whose messages the template leaves out without a word."""
    stop_texts: tuple[str, ...]
    """All that may end an answer, without what precedes the token itself."""


def find(template: ChatTemplate, added_tokens: Collection[str], kwargs: Mapping[str, Any]) -> Traits:
    """Probe a template; `added_tokens` are what the tokenizer reads as one token whatever stands around it.

    Raises `TemplateError` where the template refuses the simplest conversation, or ends no answer.
    """
    return _Probe(template, added_tokens, kwargs).traits()


class _Probe:
    def __init__(self, template: ChatTemplate, added_tokens: Collection[str], kwargs: Mapping[str, Any]) -> None:
        self._template, self._kwargs = template, kwargs
        tokens = sorted(
            (token for token in added_tokens if not token.isspace()), key=lambda token: (-len(token), token)
        )
        self._token = re.compile("|".join(map(re.escape, tokens)) or "(?!)")
        self._call, self._json_arguments = _CALL, False
        self._takes_calls = any(self._takes(call, as_json) for call in (_CALL, _SAID_CALL) for as_json in (False, True))

    def _takes(self, call: Message, json_arguments: bool) -> bool:
        """Whether the template writes a tool call; the form that it takes is kept for all that follows."""
        self._call, self._json_arguments = call, json_arguments
        return _ARGUMENT in (self._render([_USER, call]) or "")

    def traits(self) -> Traits:
        """What was found."""
        stops, late = self._stops()
        contexts = [[_USER], *([[_USER, self._call, _RESULT]] if self._takes_calls else [])]
        around, end = self._around_thought()
        found = [self._thought(context, end) for context in contexts]
        every = dict.fromkeys(stop.lstrip() for stop in (*stops, *late) if stop)
        return Traits(
            stops=tuple(dict.fromkeys(stop for stop in stops if stop)),
            late_stop=late[0],
            late_call_stop=late[1],
            json_arguments=self._json_arguments and self._takes_calls,
            thoughts=tuple(dict.fromkeys(thought for thought in found if thought is not None)),
            thought_end=end.strip() if end else None,
            thought_markup=around,
            unwritten=frozenset(self._unwritten()),
            stop_texts=tuple(every),
        )

    def _render(self, messages: Sequence[Message], *, generation_prompt: bool = False) -> str | None:
        seen = [self._template.sees(message, json_arguments=self._json_arguments) for message in messages]
        tools = [_TOOL] if any(message.tool_calls for message in messages) else []
        try:
            return self._template.render(seen, tools=tools, kwargs=self._kwargs, generation_prompt=generation_prompt)
        except REFUSALS:
            return None

    def _unwritten(self) -> Iterator[Role]:
        roles: tuple[Role, ...] = ("system", "developer", "tool")
        for role in roles:
            message = _RESULT if role == "tool" else Message(role, "forgeresult")
            context = [_USER, self._call, message] if role == "tool" else [message, _USER]
            text = self._render([*context, _ANSWER])
            if text is not None and "forgeresult" not in text:
                yield role

    def _stops(self) -> tuple[list[str | None], tuple[str | None, str | None]]:
        try:
            text = self._template.render([self._template.sees(m) for m in (_USER, _ANSWER)], kwargs=self._kwargs)
        except REFUSALS as error:
            raise TemplateError(f"the chat template refuses a question and its answer: {error}") from None
        tail = text.rpartition(_ANSWERED)[2] if _ANSWERED in text else ""
        stop = self._stop(tail, [_USER, _ANSWER, _USER], _ANSWERED)
        if stop:
            called = (self._render([_USER, self._call]) or "").rpartition(_ARGUMENT)[2] if self._takes_calls else ""
            return [stop, self._stop(called, [_USER, self._call, _RESULT], _ARGUMENT)], (None, None)
        late = self._late([_USER, _ANSWER], _USER), self._late([_USER, self._call], _RESULT)
        if late[0] is None:
            raise TemplateError(
                f"the chat template ends an answer with {tail!r}, in which there is no control token of the tokenizer; "
                "a model trained on it would never stop"
            )
        return [], late

    def _stop(self, tail: str, longer: Sequence[Message], last_word: str) -> str | None:
        """The last token of what follows an answer's last word both at the end and further up, else the first.

        At the end of a conversation a template may write more than what ends the answer.
        """
        followed = (self._render(longer) or "").partition(last_word)[2]
        both = tail[: _common_prefix(tail, followed)]
        return next(iter([*self._token.findall(both)[::-1], *self._token.findall(tail)]), None)

    def _late(self, messages: Sequence[Message], following: Message) -> str | None:
        """What the next message writes through its first token, where that is all that ends an answer."""
        text, longer = self._render(messages), self._render([*messages, following])
        if text is None or longer is None or not longer.startswith(text):
            return None
        stop = self._token.search(longer, len(text))
        return longer[len(text) : stop.end()] if stop else None

    def _around_thought(self) -> tuple[str, str | None]:
        """What is written around a thought, and between it and its answer.

        The latter as rendered, or else by the marker up to which the template drops what an answer says.
        """
        prompt = self._render([_USER], generation_prompt=True) or ""
        text = self._render([_USER, Message("assistant", _ANSWERED, reasoning=_THOUGHT)]) or ""
        at, answer = text.find(_THOUGHT), text.rfind(_ANSWERED)
        if 0 <= at < answer:
            end = text[at + len(_THOUGHT) : answer]
            return text[_common_prefix(prompt.rstrip(), text) : at] + prompt[-len(end) :] + end, end
        for literal in sorted(self._template.literals):
            if literal.strip() and len(literal) < 40 and not literal.isalnum():
                text = self._render([_USER, Message("assistant", f"{_THOUGHT}{literal}{_ANSWERED}")]) or ""
                if _ANSWERED in text and _THOUGHT not in text:
                    end = f"\n{literal.strip()}\n\n"
                    return prompt[-len(end) :] + end, end
        return "", None

    def _thought(self, context: Sequence[Message], end: str | None) -> Thought | None:
        prompt, answered = self._render(context, generation_prompt=True), self._render([*context, _ANSWER])
        if prompt is None or answered is None or _ANSWERED not in answered or answered.startswith(prompt):
            return None
        common = _common_prefix(prompt, answered)
        extra, lead = prompt[common:], answered[common : answered.rfind(_ANSWERED)]
        closed = not extra.strip() if end is None else end.strip() in extra + lead
        return Thought(extra, closed or not extra.strip(), end)


def _common_prefix(first: str, second: str) -> int:
    """The length of what two texts begin with, not ending inside a marker such as `<think>`."""
    length = 0
    for one, other in zip(_MARKUP.finditer(first), _MARKUP.finditer(second), strict=False):
        if one.group() != other.group():
            break
        length = one.end()
    return length
