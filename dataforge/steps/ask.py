"""Have a language model write questions and answers about passages, each answer with the words that it rests on.

    - use: ask
      llm: writer
      n: 3
      styles: [fact, why, multi_turn]

Every passage is asked about once in each style, for `n` questions at a time: `plain` is a reasonable question and no
more said, `fact`, `why`, `how_to`, `comparison` and `summary` say which, and `multi_turn` makes conversations of
`turns` questions, of which each later one leans on what was said before. The prompts are
`templates/ask/ask/<style>.<zh|en>.jinja`, and a folder of the recipe's own wins over them by name.

What does not pass is a reject with the name of what it failed, in this order: `malformed`, `length`, `language`,
`not_self_contained` (it speaks of the passage, or begins with `it`), `answer_in_question`, `no_evidence` (the quoted
words do not stand in the passage), `round_trip` (a model that is given passage and question answers otherwise), and
`repeat` (of another question about the same passage). A conversation fails with any of its turns. All that is made of
a passage is one family, so that it stays on one side of the split.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from dataforge import config, request_templates
from dataforge.context import Context
from dataforge.llm.requests import Ask, NoReply, Reply, Request
from dataforge.prompt_set import Wanted
from dataforge.question_replies import ANSWER, FailedError, Turn, holds, schema, turns_of, values_of, written_in
from dataforge.quotes import stands_in
from dataforge.records import Chat, Message, Record, Reject, Text, derived_id, language_of
from dataforge.request_templates import RequestTemplate
from dataforge.rouge import rouge_l, token_f1
from dataforge.self_contained import leans_on_passage, leans_on_talk
from dataforge.text import pieces

Style = Literal["plain", "fact", "why", "how_to", "comparison", "summary", "multi_turn"]
STYLES: tuple[Style, ...] = get_args(Style)
Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_ROUND_TRIP = "round_trip"


class Settings(config.Settings):
    """What is asked for, and what of it is kept."""

    llm: str
    """The model that writes, of the recipe's `llm:`."""
    n: Annotated[int, Field(ge=1, le=20)] = 3
    """Questions, or conversations, for a passage in each style."""
    styles: Annotated[tuple[Style, ...], Field(min_length=1)] = ("fact",)
    """In which ways is asked."""
    turns: Annotated[int, Field(ge=2, le=10)] = 3
    """Questions of a conversation in the style `multi_turn`."""
    language: Wanted = "auto"
    """In which is asked; `auto` is that of the passage."""
    prompts: Path | None = None
    """A folder with prompts that win over the project's, relative to the recipe."""
    with_passage: bool = True
    """Whether the trained conversation begins with the passage; else the model learns to answer without it."""
    question_chars: tuple[Annotated[int, Field(ge=1)], int] = (4, 400)
    """The shortest and the longest question, in characters."""
    answer_chars: tuple[Annotated[int, Field(ge=1)], int] = (1, 4000)
    """The shortest and the longest answer."""
    same_language: bool = True
    """Whether questions and answers must be in the language that was asked for."""
    self_contained: bool = True
    """Whether they must not speak of the passage, nor a first question begin with a pronoun."""
    leaks: bool = True
    """Whether a question that holds its answer is rejected."""
    evidence: bool = True
    """Whether the words that an answer is said to rest on must stand in the passage."""
    round_trip: str | None = None
    """The model, of the recipe's `llm:`, that answers each question again from the passage."""
    agree: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The F1 of words, or characters in Chinese, that both answers must have in common; 1 is the same words."""
    near: Annotated[float, Field(gt=0, le=1)] | None = 0.7
    """The ROUGE-L from which a question repeats another about the same passage."""

    @model_validator(mode="after")
    def _sound(self) -> "Settings":
        for name, (least, most) in (("question_chars", self.question_chars), ("answer_chars", self.answer_chars)):
            if least > most:
                raise ValueError(f"{name}: the shortest, {least}, is longer than the longest, {most}")
        if len(set(self.styles)) < len(self.styles):
            raise ValueError("styles: names one twice")
        return self


def models(settings: Settings) -> tuple[str, ...]:
    """The model that writes and the one that answers again."""
    return tuple(dict.fromkeys([settings.llm, *([settings.round_trip] if settings.round_trip else [])]))


def later(settings: Settings) -> Mapping[str, float]:
    """Each question that is written is answered again."""
    each = [settings.n * (settings.turns if style == "multi_turn" else 1) for style in settings.styles]
    return {settings.round_trip: sum(each) / len(each)} if settings.round_trip else {}


def reads(settings: Settings, folder: Path) -> list[Path]:
    """The prompts."""
    return request_templates.files("ask", "ask", _own(settings, folder))


@dataclass(frozen=True)
class _Item:
    """What is to become one record."""

    id: str
    style: Style
    turns: tuple[Turn, ...]
    model: str


@dataclass
class Asker:
    """The writer of questions; its rejects carry `name`."""

    name: str
    settings: Settings
    templates: Mapping[tuple[str, str], RequestTemplate]
    """By style, or `round_trip`, and language."""
    _counts: Counter[str] = field(default_factory=Counter)

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Record | Sequence[Record | Reject]:
        """The conversations about a passage, and a reject for each that did not become one."""
        if not isinstance(record, Text):
            return record
        language = self._language(record)
        found = await asyncio.gather(*(self._style(record, style, language, ask) for style in self.settings.styles))
        made: list[Record | Reject] = []
        asked: list[str] = []
        for result in (result for results in found for result in results):
            refused = result if isinstance(result, Reject) else self._repeats(record, result, asked)
            if refused is not None:
                self._counts[refused.reason] += 1
                made.append(refused)
            elif isinstance(result, _Item):
                self._counts["kept"] += 1
                asked.append(_questions(result))
                made.append(self._chat(record, result, language))
        return made

    def noted(self) -> Mapping[str, int]:
        """What became of the questions: `written`, `beyond_n` (more than asked for), `kept`, and each reason."""
        counts, self._counts = dict(self._counts), Counter()
        return counts

    async def _style(
        self, record: Text, style: Style, language: Language, ask: Mapping[str, Ask]
    ) -> Sequence[_Item | Reject]:
        settings = self.settings
        messages = self.templates[style, language].messages(
            passage=record.text, title=record.title, n=settings.n, turns=settings.turns
        )
        reply = await ask[settings.llm](
            Request(messages, schema=schema(settings.n, settings.turns if style == "multi_turn" else 0))
        )
        if isinstance(reply, NoReply):
            return [self._reject(record, derived_id(record.id, "ask", style), reply.reason, reply.detail, style)]
        values = values_of(reply.data)
        if not values:
            detail = f"the reply is no list of questions: {reply.text[:200]!r}" if values is None else "it wrote none"
            return [self._reject(record, derived_id(record.id, "ask", style), "malformed", detail, style)]
        self._counts["written"] += len(values)
        if len(values) > settings.n:
            self._counts["beyond_n"] += len(values) - settings.n
            values = values[: settings.n]
        return await asyncio.gather(
            *(self._item(record, style, language, number, value, reply, ask) for number, value in enumerate(values))
        )

    async def _item(
        self,
        record: Text,
        style: Style,
        language: Language,
        number: int,
        value: Any,
        reply: Reply,
        ask: Mapping[str, Ask],
    ) -> _Item | Reject:
        identity = derived_id(record.id, "ask", style, str(number))
        try:
            item = _Item(identity, style, turns_of(value, style == "multi_turn"), reply.model)
            for place, turn in enumerate(item.turns):
                self._check(record, turn, place, language)
            if self.settings.round_trip:
                await asyncio.gather(
                    *(
                        self._again(record, item.turns[: place + 1], language, ask[self.settings.round_trip])
                        for place in range(len(item.turns))
                    )
                )
        except FailedError as failed:
            return self._reject(record, identity, failed.reason, str(failed), style, value)
        return item

    def _check(self, record: Text, turn: Turn, place: int, language: Language) -> None:
        """Raise `FailedError` for the first filter that a turn does not pass."""
        settings = self.settings
        for what, text, (least, most) in (
            ("question", turn.question, settings.question_chars),
            ("answer", turn.answer, settings.answer_chars),
        ):
            if not least <= len(text) <= most:
                raise FailedError(
                    "length", f"the {what} has {len(text)} characters, not {least} to {most}: {text[:200]!r}"
                )
        for what, text in (("question", turn.question), ("answer", turn.answer)):
            if settings.same_language and not written_in(text, language):
                raise FailedError("language", f"the {what} is not in {language!r}: {text[:200]!r}")
        for what, text in (("question", turn.question), ("answer", turn.answer)):
            words = leans_on_passage(text) if settings.self_contained else None
            if words is None and settings.self_contained and what == "question" and not place:
                words = leans_on_talk(text)
            if words is not None:
                raise FailedError("not_self_contained", f"the {what} says {words!r}: {text[:200]!r}")
        if settings.leaks and holds(turn.question, turn.answer):
            raise FailedError("answer_in_question", f"{turn.question[:200]!r} holds the answer {turn.answer[:200]!r}")
        if settings.evidence and not (len(pieces(turn.evidence)) > 1 and stands_in(turn.evidence, record.text)):
            raise FailedError("no_evidence", f"the passage does not hold {turn.evidence[:200]!r}")

    async def _again(self, record: Text, turns: Sequence[Turn], language: Language, ask: Ask) -> None:
        """Raise `FailedError` where the last question is answered otherwise from the passage."""
        messages = self.templates[_ROUND_TRIP, language].messages(
            passage=record.text, title=record.title, before=turns[:-1], question=turns[-1].question
        )
        reply = await ask(Request(messages, temperature=0.0, schema=ANSWER))
        if isinstance(reply, NoReply):
            raise FailedError(reply.reason, f"answering {turns[-1].question[:200]!r} again: {reply.detail}")
        answer = reply.data.get("answer") if isinstance(reply.data, dict) else None
        if not isinstance(answer, str):
            raise FailedError("malformed", f"answering again, the reply is no answer: {reply.text[:200]!r}")
        agree = token_f1(answer, turns[-1].answer)
        if agree < self.settings.agree:
            told = f"{turns[-1].question[:200]!r} was answered {turns[-1].answer[:200]!r}, and again {answer[:200]!r}"
            raise FailedError("round_trip", f"{told}: F1 {agree:.2f}")

    def _repeats(self, record: Text, item: _Item, asked: Sequence[str]) -> Reject | None:
        for other in asked if self.settings.near is not None else ():
            alike = rouge_l(_questions(item), other)
            if self.settings.near is not None and alike >= self.settings.near:
                detail = f"{_questions(item)[:200]!r} is {alike:.0%} like {other[:200]!r} about the same passage"
                return self._reject(record, item.id, "repeat", detail, item.style)
        return None

    def _chat(self, record: Text, item: _Item, language: Language) -> Chat:
        passage = f"{record.title}\n{record.text}" if record.title else record.text
        messages: list[Message] = []
        for place, turn in enumerate(item.turns):
            given = passage if self.settings.with_passage and not place else None
            messages += [Message("user", turn.question, input=given), Message("assistant", turn.answer)]
        facts = {
            **record.facts,
            "task": "ask",
            "style": item.style,
            "language": language,
            "evidence": [turn.evidence for turn in item.turns],
            **({"model": item.model} if item.model else {}),
        }
        return Chat(item.id, record.origin, tuple(messages), family=record.family or record.id, facts=facts)

    def _reject(self, record: Text, identity: str, reason: str, detail: str, style: Style, value: Any = None) -> Reject:
        facts = {"passage": record.id, "style": style, **({} if value is None else {"written": value})}
        return Reject(identity, record.origin, self.name, reason, detail, facts)

    def _language(self, record: Text) -> Language:
        said = self.settings.language if self.settings.language != "auto" else language_of(record)[:2].lower()
        for language in LANGUAGES:
            if said == language:
                return language
        return "zh" if written_in(record.text, "zh") else "en"


def start(name: str, settings: Settings, context: Context) -> Asker:
    """Read the prompts. Raises `TemplateError` where one is missing or is not one."""
    own = _own(settings, context.folder)
    languages = LANGUAGES if settings.language == "auto" else (settings.language,)
    wanted = [*settings.styles, *([_ROUND_TRIP] if settings.round_trip else [])]
    return Asker(
        name,
        settings,
        {
            (prompt, language): RequestTemplate(request_templates.find("ask", "ask", prompt, language, own))
            for prompt in wanted
            for language in languages
        },
    )


def _own(settings: Settings, folder: Path) -> Path | None:
    return folder / settings.prompts if settings.prompts else None


def _questions(item: _Item) -> str:
    return "\n".join(turn.question for turn in item.turns)
