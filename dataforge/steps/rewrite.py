"""Have a language model rewrite the answers of conversations in a style or as a persona; the questions stay.

Each answer that is trained is shown with all that was said before it, as it was before any rewriting, and rewritten
without a change of what it says. Code, formulas, URLs, tags and placeholders are replaced by marks before, and put back
after. Where a reply does not pass, it is asked for once more; if that does not pass either, the conversation is a
reject, for the first of these reasons:

    empty, refused         it says nothing; it refuses, and the answer did not
    marks                  a part that was replaced is lost or stands there twice
    wrong_language         it is in another language than the answer
    too_short, too_long    it has fewer or more words than `shortest` and `longest` times the answer
    numbers                a number is lost or new; numbers up to 12 may be written in words (unless `numbers: false`)

Answers that call tools or say nothing, and those of weight 0, stay. Other records pass.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dataforge import config, made_texts, masks, request_templates
from dataforge.context import Context
from dataforge.llm.requests import Ask, NoReply, Reply, Request
from dataforge.prompt_set import Fault, Language, PromptSet, Tally, Wanted, language_for, own_folder, refused, shown
from dataforge.records import Chat, Message, Record, Reject
from dataforge.refusals import refusal
from dataforge.text import normalised

_LABELS = ("rewritten answer", "answer", "改写后的回答", "回答")
_TRIES = 2
_FEW = 20
"""An answer with fewer words may become as long as one of so many."""


class Settings(config.Settings):
    """How answers are to sound, and how far they may be changed."""

    llm: str
    """The model that rewrites."""
    style: str | None = None
    """How they are to be written, in a few words: `short and plain`, `像给小学生讲课一样`."""
    persona: str | None = None
    """Who is to speak, in a few words: `a ship's doctor of few words`."""
    shortest: Annotated[float, Field(gt=0, le=1)] = 0.3
    """An answer must keep so many of its words, as a share."""
    longest: Annotated[float, Field(ge=1)] = 2.5
    """It may have so many times its words."""
    numbers: bool = True
    """Whether numbers must stay."""
    language: Wanted = "auto"
    """Of the requests; `auto` is that of the record."""
    prompts: Path | None = None
    """A folder of your own with `rewrite.en.jinja` and `rewrite.zh.jinja`, relative to the recipe."""

    @model_validator(mode="after")
    def _something(self) -> "Settings":
        if not (self.style or self.persona):
            raise ValueError("changes nothing; give `style:`, `persona:` or both")
        return self


@dataclass
class Asker:
    """Conversations one at a time."""

    name: str
    settings: Settings
    prompts: PromptSet
    tally: Tally = field(default_factory=Tally)

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Record | Reject:
        """A conversation with its answers rewritten, or why it has none; other records as they are."""
        if not isinstance(record, Chat):
            return record
        places = [at for at, message in enumerate(record.messages) if _rewritable(message)]
        language = language_for(record, self.settings.language)
        found = await asyncio.gather(*(self._rewritten(record.messages[: at + 1], language, ask) for at in places))
        messages, authors = list(record.messages), set()
        for at, answer in zip(places, found, strict=True):
            if isinstance(answer, Fault):
                self.tally.add(answer.reason)
                return refused(record, self.name, answer.reason, f"message {at + 1}: {answer.detail}")
            same = normalised(answer.text) == normalised(messages[at].text)
            self.tally.add("unchanged" if same else "rewritten")
            messages[at] = replace(messages[at], content=answer.text, input=None)
            authors.add(answer.model)
        if not places:
            return record
        facts = {**record.facts, "rewritten_by": ", ".join(sorted(authors))}
        for key in ("style", "persona"):
            if getattr(self.settings, key):
                facts[key] = getattr(self.settings, key)
        return replace(record, messages=tuple(messages), facts=facts)

    async def _rewritten(
        self, messages: Sequence[Message], language: Language, ask: Mapping[str, Ask]
    ) -> Reply | Fault:
        answer = messages[-1].text
        masked = masks.masked(answer)
        fields = {"style": self.settings.style or "", "persona": self.settings.persona or ""}
        said = [{"role": message.role, "content": shown(message)} for message in messages[:-1]]
        asked = self.prompts.messages("rewrite", language, before=said, answer=masked.text, **fields)
        found: Reply | Fault = Fault("empty", "was not asked for")
        for number in range(_TRIES):
            reply = await ask[self.settings.llm](Request(asked, sample=number))
            if isinstance(reply, NoReply):
                return Fault(reply.reason, reply.detail)
            checked = self._checked(made_texts.bare(reply.text, _LABELS), masked, answer)
            if isinstance(checked, str):
                return replace(reply, text=checked)
            found = checked
        return found

    def _checked(self, reply: str, masked: masks.Masked, answer: str) -> str | Fault:
        begins = repr(reply[:80])
        plain, old = masks.unmarked(reply), masks.unmarked(masked.text)
        if made_texts.says_nothing(plain) and not made_texts.says_nothing(old):
            return Fault("empty", f"the reply says nothing: {begins}")
        if refusal(reply) and not refusal(answer):
            return Fault("refused", f"the reply is a refusal: {begins}")
        whole = masked.put_back(reply)
        if whole is None:
            return Fault("marks", f"{masked.marks(reply)}: {begins}")
        if made_texts.another_language(plain, old):
            return Fault("wrong_language", f"is in another language than the answer: {begins}")
        count, before = made_texts.words(plain), made_texts.words(old)
        if count < self.settings.shortest * before:
            return Fault("too_short", f"has {count} words of {before}: {begins}")
        if count > self.settings.longest * max(before, _FEW):
            return Fault("too_long", f"has {count} words in place of {before}: {begins}")
        if self.settings.numbers:
            lost, new = masks.lost_numbers(old, plain), masks.new_numbers(old, plain)
            if lost or new:
                return Fault("numbers", f"lost {', '.join(lost) or 'none'}, new {', '.join(new) or 'none'}: {begins}")
        return whole

    def noted(self) -> Mapping[str, int]:
        """How many answers were rewritten, how many came back as they were, and why conversations were rejected."""
        return self.tally.taken()


def _rewritable(message: Message) -> bool:
    trained = message.role == "assistant" and message.weight != 0
    return trained and not message.tool_calls and bool(message.text.strip())


def later(settings: Settings) -> Mapping[str, float]:
    """What does not pass is asked for once more."""
    return {settings.llm: _TRIES - 1}


def reads(settings: Settings, folder: Path) -> list[Path]:
    """Every request."""
    return request_templates.files("ask", "rewrite", own_folder(settings.prompts, folder))


def start(name: str, settings: Settings, context: Context) -> Asker:
    """The step; its rejects carry `name`. Raises `TemplateError` where a request does not serve."""
    return Asker(name, settings, PromptSet("rewrite", ("rewrite",), own_folder(settings.prompts, context.folder)))
