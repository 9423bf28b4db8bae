"""Have a language model translate what records say: conversations, prompts, preferences, rankings and texts.

All that the system, users and answers say is translated, thoughts (`reasoning`) too; calls of tools and their results
stay. Code, formulas, URLs, chat markup, tags and placeholders are replaced by marks before and put back after. Long
texts go paragraph by paragraph, each with the end of the one before it. `terms` is a glossary: a term that occurs is
told to the model, and looked for in the translation.

Where a translation does not pass, it is asked for once more; if that does not pass either, the record is a reject:

    empty, refused    it says nothing; it refuses, and the original did not
    marks             a part that was replaced is lost or stands there twice
    untranslated      something is left as it was, or is in another language
    numbers           a number is lost; up to 12 they may be written in words, or as months
    markdown          there are other headings, points, quotes or tables
    term              a term of the glossary is called something else
    length            it has fewer words and characters than a quarter of the original, or more than four times as many

A record that is in the language already (Chinese in simplified characters is as good as in traditional) passes, and so
do labelled examples, whose fields may be places in a text. What is translated has an id of its own, and the facts
`language`, `translated_from` and `translated_by`.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from dataforge import config, made_texts, masks, request_templates, translations
from dataforge.context import Context
from dataforge.llm.requests import Ask, NoReply, Request
from dataforge.prompt_set import Fault, Language, PromptSet, Tally, Wanted, own_folder, refused
from dataforge.records import (
    Chat,
    Message,
    Preference,
    Prompt,
    Ranking,
    Record,
    Reject,
    Reply,
    Text,
    derived_id,
    group_of,
    language_of,
)

_LABELS = ("translation", "译文", "翻译")
_TRIES = 2
_SPOKEN = ("system", "developer", "user", "assistant")
_BEFORE = 200
"""Characters of the part before that are shown beside one."""


class Settings(config.Settings):
    """Into what, and how."""

    llm: str
    """The model that translates."""
    to: Annotated[str, Field(min_length=2)]
    """The language, as in BCP 47 (`zh`, `en`, `de`), or by its English name where it has no code here."""
    terms: dict[str, str] = Field(default_factory=dict)
    """How terms are to be called: `{learning rate: 学习率}`."""
    longest: Annotated[int, Field(ge=200)] = 2000
    """Characters in one request; a longer text goes in parts."""
    keep: bool = False
    """The original stays, before its translation."""
    language: Wanted = "auto"
    """Of the requests; `auto` is that of the record."""
    prompts: Path | None = None
    """A folder of your own with `translate.en.jinja` and `translate.zh.jinja`, relative to the recipe."""


@dataclass
class Asker:
    """Records one at a time."""

    name: str
    settings: Settings
    prompts: PromptSet
    tally: Tally = field(default_factory=Tally)

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Record | Reject | Sequence[Record | Reject]:
        """A record in the other language, or why it is not; one that is in it already, and examples, as they are."""
        texts = list(dict.fromkeys(text for text in spoken(record) if text.strip()))
        source = language_of(record) or translations.said_in(texts)
        code = translations.code(self.settings.to)
        if not texts or source is None or translations.code(source) == code:
            self.tally.add("passed")
            return record
        wanted = self.settings.language
        # Whoever writes Chinese is best asked in Chinese.
        told: Language = wanted if wanted != "auto" else "zh" if "zh" in (translations.code(source), code) else "en"
        answer = ask[self.settings.llm]
        found = await asyncio.gather(*(self._text(text, source, told, answer) for text in texts))
        models: set[str] = set()
        translated: dict[str, str] = {}
        for text, one in zip(texts, found, strict=True):
            if isinstance(one, Fault):
                self.tally.add(one.reason)
                reject = refused(
                    record, self.name, one.reason, one.detail, *(["translation"] if self.settings.keep else [])
                )
                return [record, reject] if self.settings.keep else reject
            translated[text], authors = one
            models |= authors
        self.tally.add("translated")
        facts = {
            **record.facts,
            **{"language": self.settings.to, "translated_from": source, "translated_by": ", ".join(sorted(models))},
        }
        made = _with(record, translated, derived_id(record.id, self.name, self.settings.to), facts)
        return [record, made] if self.settings.keep else made

    async def _text(self, text: str, source: str, told: Language, ask: Ask) -> tuple[str, set[str]] | Fault:
        """The translation of a text, with who made it."""
        masked = masks.masked(text)
        parts = translations.parts(masked.text, self.settings.longest)
        before = ["", *(part[-_BEFORE:] for part in parts)]
        found = await asyncio.gather(
            *(self._part(masked.part(part), before[at], source, told, ask) for at, part in enumerate(parts))
        )
        whole = ""
        models: set[str] = set()
        for one in found:
            if isinstance(one, Fault):
                return one
            whole, models = whole + one[0], models | one[1]
        return whole, models

    async def _part(
        self, part: masks.Masked, before: str, source: str, told: Language, ask: Ask
    ) -> tuple[str, set[str]] | Fault:
        """The translation of a part of a text, whole again and with the blanks around it, and who made it."""
        text = part.text.strip()
        if not translations.says_words(text):
            return str(part.put_back(part.text)), set()
        terms = translations.occurring(masks.unmarked(text), self.settings.terms)
        asked = self.prompts.messages(
            "translate",
            told,
            source=translations.name(source, told),
            target=translations.name(self.settings.to, told),
            terms=terms,
            before=masks.unmarked(before).strip(),
            text=text,
        )
        wrong = "empty", "was not asked for"
        for number in range(_TRIES):
            reply = await ask(Request(asked, sample=number))
            if isinstance(reply, NoReply):
                return Fault(reply.reason, reply.detail)
            said = made_texts.bare(reply.text, _LABELS, quotes=text == made_texts.bare(text, ()))
            fault = translations.fault(text, said, part, self.settings.to, terms)
            if fault is None:
                begin, end = len(part.text) - len(part.text.lstrip()), len(part.text.rstrip())
                return part.text[:begin] + str(part.put_back(said)) + part.text[end:], {reply.model}
            self.tally.add("tries that did not pass")
            wrong = fault
        return Fault(*wrong)

    def noted(self) -> Mapping[str, int]:
        """How many records were translated or passed, how often was asked again, and why records were rejected."""
        return self.tally.taken()


def spoken(record: Record) -> Iterator[str]:
    """All that is translated of a record, each text as often as it stands there."""
    if isinstance(record, Text):
        yield from (record.title, record.text)
    elif isinstance(record, Chat | Prompt):
        yield from _said(record.messages)
    elif isinstance(record, Preference):
        yield from _said((*record.prompt, *record.chosen, *record.rejected))
    elif isinstance(record, Ranking):
        yield from _said(record.prompt)
        yield from (text for reply in record.replies for text in _below(reply))


def _said(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        if message.role in _SPOKEN:
            yield from (text for text in (message.content, message.input, message.reasoning) if text)


def _below(reply: Reply) -> Iterator[str]:
    yield from _said((reply.message,))
    for following in reply.replies:
        yield from _below(following)


def _with(record: Record, new: Mapping[str, str], identity: str, facts: Mapping[str, Any]) -> Record:
    """A record with other texts in place of its own."""

    def message(one: Message) -> Message:
        if one.role not in _SPOKEN:
            return one
        content, given, thought = (text and new.get(text, text) for text in (one.content, one.input, one.reasoning))
        return replace(one, content=content, input=given, reasoning=thought)

    def reply(one: Reply) -> Reply:
        return replace(one, message=message(one.message), replies=tuple(map(reply, one.replies)))

    family = group_of(record)
    match record:
        case Text():
            title, text = new.get(record.title, record.title), new.get(record.text, record.text)
            return replace(record, id=identity, family=family, facts=facts, title=title, text=text)
        case Chat() | Prompt():
            said = tuple(map(message, record.messages))
            return replace(record, id=identity, family=family, facts=facts, messages=said)
        case Ranking():
            prompt, replies = tuple(map(message, record.prompt)), tuple(map(reply, record.replies))
            return replace(record, id=identity, family=family, facts=facts, prompt=prompt, replies=replies)
        case Preference():
            sides = (tuple(map(message, side)) for side in (record.prompt, record.chosen, record.rejected))
            prompt, chosen, rejected = sides
            changed = replace(record, id=identity, family=family, facts=facts, prompt=prompt)
            return replace(changed, chosen=chosen, rejected=rejected)
        case _:
            return record


def later(settings: Settings) -> Mapping[str, float]:
    """What does not pass is asked for once more."""
    return {settings.llm: _TRIES - 1}


def reads(settings: Settings, folder: Path) -> list[Path]:
    """Every request."""
    return request_templates.files("ask", "translate", own_folder(settings.prompts, folder))


def start(name: str, settings: Settings, context: Context) -> Asker:
    """The step; its rejects carry `name`. Raises `TemplateError` where a request does not serve."""
    return Asker(name, settings, PromptSet("translate", ("translate",), own_folder(settings.prompts, context.folder)))
