"""A conversation as text: the whole of it, and for each answer what a server renders before the model writes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from dataforge import control
from dataforge.answers import Answers, RefusedError
from dataforge.control import ControlTokens
from dataforge.errors import TemplateError
from dataforge.records import Chat, Message, Prompt, Reject, canonical_json
from dataforge.templates import ChatTemplate
from dataforge.traits import REFUSALS, Traits, find

Reasoning = Literal["keep", "drop", "write_empty"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of a conversation."""

    message: int
    """Its number among the messages, from 0."""
    prompt: str
    """The messages before it, rendered with the generation prompt: what a server feeds the model."""
    through: str
    """The messages up to and with it, cut after the answer's stop."""
    rest: str
    """What the model writes after the prompt, through its stop; mostly, but not always, the end of `through`."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A conversation rendered whole, and up to each of its answers."""

    chat: Chat
    text: str
    turns: tuple[Turn, ...]
    header: str | None = None
    """Where every answer, and nothing else, begins with the generation prompt and ends in its one stop: that prompt."""

    def texts(self) -> Iterator[str]:
        """Every text whose ids are needed to certify the conversation."""
        yield self.text
        for turn in self.turns:
            yield turn.prompt
            yield turn.through


class Renderer:
    """Renders conversations through one chat template.

    `added_tokens` are what the tokenizer reads as one token whatever stands around it; `typed` are those that only
    the template may write, to be marked in what people wrote, or None where they are not.
    """

    def __init__(
        self,
        template: ChatTemplate,
        added_tokens: Collection[str],
        kwargs: Mapping[str, Any] | None = None,
        reasoning: Reasoning = "keep",
        typed: ControlTokens | None = None,
    ) -> None:
        self.template = template
        self._added_tokens, self._reasoning, self._typed = added_tokens, reasoning, typed
        self._kwargs = dict(kwargs or {})
        self._answers: dict[bytes, Answers] = {}
        self._ends: dict[bytes, tuple[str, str] | None] = {}

    def traits(self, kwargs: Mapping[str, Any] | None = None) -> Traits:
        """What the template does under the recipe's keyword arguments and a record's own.

        Raises `TemplateError` where it serves no conversation.
        """
        return self._answers_of(kwargs or {}).traits

    def text(self, seen: Sequence[Mapping[str, Any]], *, generation_prompt: bool = False) -> str:
        """Messages as the template sees them, under the recipe's keyword arguments."""
        return self.template.render(seen, kwargs=self._kwargs, generation_prompt=generation_prompt)

    def render(self, chat: Chat) -> Rendering | Reject:
        """Render a conversation; where the template refuses it, the reject carries the template's own message."""
        return self._refusing(chat, lambda chat, answers: self._ordered(chat, answers) or self._each(chat, answers))

    def _refusing(self, chat: Chat, render: Callable[[Chat, Answers], T]) -> T | Reject:
        if self._reasoning == "drop" and any(message.reasoning for message in chat.messages):
            chat = replace(chat, messages=tuple(replace(message, reasoning=None) for message in chat.messages))
        try:
            return render(chat, self._answers_of(chat.template_kwargs))
        except REFUSALS as error:
            reason, detail = "template_refuses", f"the chat template says: {error}"
        except RefusedError as refused:
            reason, detail = refused.args
        except TemplateError as error:
            if not chat.template_kwargs:
                raise
            reason, detail = "template_refuses", f"with {dict(chat.template_kwargs)}: {error}"
        return Reject(chat.id, chat.origin, "render", reason, detail)

    def prompt(self, prompt: Prompt) -> str | Reject:
        """What a server feeds the model that is to answer; else a reject as `render` makes it."""
        chat = Chat(
            prompt.id, prompt.origin, prompt.messages, tools=prompt.tools, template_kwargs=prompt.template_kwargs
        )
        return self._refusing(chat, self._prompt)

    def _prompt(self, chat: Chat, answers: Answers) -> str:
        text = self._render(chat, self._sees(chat, answers.traits), generation_prompt=True)
        _check_tools(chat, text)
        for number, message in enumerate(chat.messages):
            if message.role != "assistant":
                answers.check_written(number, message, message.text, text)
        return text

    def _answers_of(self, kwargs: Mapping[str, Any]) -> Answers:
        """How answers are read off what the template renders under a record's own keyword arguments."""
        key = canonical_json(kwargs) if kwargs else b""
        answers = self._answers.get(key)
        if answers is None:
            answers = self._answers[key] = Answers(
                traits=find(self.template, self._added_tokens, {**self._kwargs, **kwargs}),
                marked=self._typed.mark if self._typed else str,
                without_typed=self._typed.without if self._typed else str,
                write_empty=self._reasoning == "write_empty",
            )
        return answers

    def _ordered(self, chat: Chat, answers: Answers) -> Rendering | None:
        """The short way: one rendering, where the template is proven to write from left to right."""
        found = answers.traits
        ends = self._ends_of(chat)
        if ends is None or chat.tools or chat.messages[0].role == "assistant":
            return None
        if len(found.stops) != 1 or found.thoughts:
            return None
        pieces = self.template.pieces(self._sees(chat, found), kwargs={**self._kwargs, **chat.template_kwargs})
        if pieces is None:
            return None
        (stop,), (opening, closing) = found.stops, ends
        pieces[-1] = pieces[-1].removesuffix(closing)
        before, turns, plain, elsewhere = pieces[0], [], bool(opening), []
        for number, (message, piece) in enumerate(zip(chat.messages, pieces[1:], strict=True)):
            if message.text not in piece:
                elsewhere.append(number)
            if message.role == "assistant":
                if message.tool_calls or message.reasoning:
                    return None
                end = piece.rfind(stop) + len(stop)
                if not piece.startswith(opening) or end < len(stop) + len(opening):
                    return None
                rest = piece[len(opening) : end]
                answers.check_stops_once(number, rest)
                turns.append(Turn(number, before + opening, before + piece[:end], rest))
                plain = plain and piece.count(stop) == 1
            before += piece
        for number in elsewhere:
            answers.check_written(number, chat.messages[number], chat.messages[number].text, before)
        header = opening if plain and before.count(opening) == len(turns) and not control.is_marked(before) else None
        return Rendering(chat, before + closing, tuple(turns), header)

    def _ends_of(self, chat: Chat) -> tuple[str, str] | None:
        """What the template writes after the last message, with and without the generation prompt."""
        key = canonical_json(chat.template_kwargs) if chat.template_kwargs else b""
        if key not in self._ends:
            kwargs = {**self._kwargs, **chat.template_kwargs}
            question = self.template.sees(Message("user", "question"))
            answer = self.template.sees(Message("assistant", "answer"))
            alone, first = (self.template.pieces(each, kwargs=kwargs) for each in ([question], [question, answer]))
            self._ends[key] = None
            if alone is not None and first is not None and alone[1].startswith(first[1]):
                body = first[0] + first[1]
                prompt = self.template.render([question], kwargs=kwargs, generation_prompt=True)
                if prompt.startswith(body):
                    self._ends[key] = prompt[len(body) :], alone[1][len(first[1]) :]
        return self._ends[key]

    def _each(self, chat: Chat, answers: Answers) -> Rendering:
        """The long way: one rendering for the conversation, and two for each answer."""
        seen = self._sees(chat, answers.traits)
        text = self._render(chat, seen)
        _check_tools(chat, text)
        turns = []
        for number, message in enumerate(chat.messages):
            if message.role != "assistant":
                answers.check_written(number, message, message.text, text)
                continue
            if not number:
                raise RefusedError("no_question", "message 1 is an answer, and no server answers an empty conversation")
            prompt = self._render(chat, seen[:number], generation_prompt=True)
            upto = self._render(chat, seen[: number + 1]) if number + 1 < len(seen) else text
            through = answers.through(number, message, upto)
            rest = answers.rest(number, message, prompt, through)
            answers.check_stops_once(number, rest)
            turns.append(Turn(number, prompt, through, rest))
        if chat.messages[-1].role == "assistant":
            text += answers.late_stop(chat.messages[-1]) or ""
        return Rendering(chat, text, tuple(turns))

    def _sees(self, chat: Chat, found: Traits) -> list[dict[str, Any]]:
        seen = [self.template.sees(message, json_arguments=found.json_arguments) for message in chat.messages]
        return [self._typed.mark(message) for message in seen] if self._typed else seen

    def _render(self, chat: Chat, seen: Sequence[Mapping[str, Any]], *, generation_prompt: bool = False) -> str:
        kwargs = {**self._kwargs, **chat.template_kwargs}
        tools = self._typed.mark(chat.tools) if self._typed else chat.tools
        return self.template.render(seen, tools=tools, kwargs=kwargs, generation_prompt=generation_prompt)


def _check_tools(chat: Chat, text: str) -> None:
    """Raise `RefusedError` where the template leaves out a tool."""
    for tool in chat.tools:
        name = str(tool.get("function", tool).get("name", ""))
        if name not in text:
            raise RefusedError("template_drops", f"the chat template leaves out the tool {name!r}")
