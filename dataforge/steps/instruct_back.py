"""Have a language model write the instruction that a text answers, and keep those that it rates well.

Of each text (a `Text`) comes a conversation: the instruction asks, the text answers, unchanged. This is instruction
backtranslation. A second request shows both to a model (the same one, or `rater`) with a scale of five points, from
"does not answer" to "an expert would answer so"; the rating is the last line of its reply and nothing else, `Score: 4`
or `评分：4`. What is rated lower than `min_rating`, or not in that form, is rejected.

Cheap filters come before the rating, in this order: the instruction says nothing (`no_instruction`), is a refusal
(`refused`), is in another language than the text (`wrong_language`), speaks of a text that its reader does not see
(`refers_to_text`), or quotes the answer (`gives_answer_away`).

The paper trains the model that writes instructions and the one that rates on data of people, and repeats that; here
both are asked as they are. Its ratings of 5, and of 4 and more, are `min_rating: 5` and `4`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from dataforge import config, made_texts, request_templates
from dataforge.context import Context
from dataforge.llm.requests import Ask, NoReply, Request
from dataforge.prompt_set import Language, PromptSet, Tally, Wanted, language_for, own_folder, refused
from dataforge.records import Chat, Message, Record, Reject, Text, derived_id, group_of
from dataforge.refusals import refusal
from dataforge.text import pieces

_LABELS = ("instruction", "the instruction", "prompt", "question", "指令", "问题", "提问", "用户指令")
_UNSEEN = re.compile(
    r"\b(?:the|this) (?:above|following|given|provided|preceding) (?:text|passage|article|document|paragraph|answer)\b"
    r"|\b(?:text|passage|article|document|paragraph|answer) (?:above|below|provided|given)\b"
    r"|\baccording to (?:the|this) (?:text|passage|article|document|paragraph)\b"
    r"|(?:上文|下文|上述(?:文本|文章|内容|段落|回答)|(?:以上|以下|给定的?|所给的?)(?:文本|文章|段落|短文|回答)"
    r"|根据(?:本文|这篇|该(?:文|段)|这段|文章|文本|短文))",
    re.IGNORECASE,
)
_SCORE = re.compile(
    r"(?:score|rating|评分|得分|分数)[*_\s]*[:：][*_\s]*([1-5])(?:\s*/\s*5|\s*分)?[。.]?", re.IGNORECASE
)
_RUN = 12
"""So many words (or Chinese characters) in a row of the answer give it away."""


class Settings(config.Settings):
    """Who writes and rates, and what is good enough."""

    llm: str
    """The model that writes the instructions, and rates them."""
    rater: str | None = None
    """Another model that rates in its place."""
    min_rating: Annotated[int, Field(ge=1, le=5)] = 5
    """A pair that is rated lower is rejected."""
    language: Wanted = "auto"
    """Of the requests; `auto` is that of the text."""
    prompts: Path | None = None
    """A folder of your own with `write.en.jinja`, `rate.zh.jinja` and so on, relative to the recipe."""


@dataclass
class Asker:
    """Texts one at a time."""

    name: str
    settings: Settings
    prompts: PromptSet
    tally: Tally = field(default_factory=Tally)

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Record | Reject:
        """A text as the answer of a conversation, or why it became none; other records as they are."""
        if not isinstance(record, Text):
            return record
        language = language_for(record, self.settings.language)
        fields = {"text": record.text, "title": record.title}
        reply = await ask[self.settings.llm](Request(self.prompts.messages("write", language, **fields)))
        if isinstance(reply, NoReply):
            return self._reject(record, reply.reason, reply.detail)
        instruction = made_texts.bare(reply.text, _LABELS)
        fault = _fault(instruction, record)
        if fault:
            return self._reject(record, *fault)
        rating = await self._rating(record, instruction, language, ask)
        if isinstance(rating, Reject):
            return rating
        facts = {**record.facts, "written_by": reply.model, "rating": rating}
        messages = (Message("user", instruction), Message("assistant", record.text))
        return Chat(derived_id(record.id, self.name), record.origin, messages, family=group_of(record), facts=facts)

    async def _rating(self, record: Text, instruction: str, language: Language, ask: Mapping[str, Ask]) -> int | Reject:
        asked = self.prompts.messages("rate", language, instruction=instruction, answer=record.text)
        reply = await ask[self.settings.rater or self.settings.llm](Request(asked))
        if isinstance(reply, NoReply):
            return self._reject(record, reply.reason, f"of the rating: {reply.detail}")
        found = rating(reply.text)
        if found is None:
            said = made_texts.last_line(reply.text)[:80]
            return self._reject(
                record, "no_rating", f"the last line of the rating must be `Score: 1` to 5, not {said!r}"
            )
        self.tally.add(f"rated {found}")
        if found < self.settings.min_rating:
            detail = f"rated {found} of 5, with min_rating {self.settings.min_rating}: {instruction[:120]!r}"
            return self._reject(record, "low_rating", detail)
        return found

    def _reject(self, record: Text, reason: str, detail: str) -> Reject:
        self.tally.add(reason)
        return refused(record, self.name, reason, detail)

    def noted(self) -> Mapping[str, int]:
        """How many pairs got each rating, and what each filter removed."""
        return self.tally.taken()


def rating(reply: str) -> int | None:
    """The rating that a reply ends with, 1 to 5; None where its last line is anything else."""
    found = _SCORE.fullmatch(made_texts.last_line(reply))
    return int(found.group(1)) if found else None


def _fault(instruction: str, record: Text) -> tuple[str, str] | None:
    begins = repr(instruction[:120])
    if made_texts.says_nothing(instruction):
        return "no_instruction", f"the model wrote no instruction: {begins}"
    if refusal(instruction):
        return "refused", f"the model refused to write one: {begins}"
    if made_texts.another_language(instruction, record.text):
        return "wrong_language", f"the instruction is in another language than the text: {begins}"
    unseen = _UNSEEN.search(instruction)
    if unseen and not _UNSEEN.search(record.text):
        return "refers_to_text", f"speaks of {unseen.group()!r}, which who is asked does not see: {begins}"
    if _quotes(instruction, record.text):
        return "gives_answer_away", f"holds {_RUN} words in a row of the answer: {begins}"
    return None


def _quotes(instruction: str, answer: str) -> bool:
    asked, said = pieces(instruction), pieces(answer)
    runs = {tuple(said[at : at + _RUN]) for at in range(len(said) - _RUN + 1)}
    return any(tuple(asked[at : at + _RUN]) in runs for at in range(len(asked) - _RUN + 1))


def models(settings: Settings) -> tuple[str, ...]:
    """Who writes, and who rates where that is another."""
    return tuple(dict.fromkeys((settings.llm, settings.rater or settings.llm)))


def later(settings: Settings) -> Mapping[str, float]:
    """Each instruction is rated."""
    return {settings.rater or settings.llm: 1}


def reads(settings: Settings, folder: Path) -> list[Path]:
    """Every request."""
    return request_templates.files("ask", "instruct_back", own_folder(settings.prompts, folder))


def start(name: str, settings: Settings, context: Context) -> Asker:
    """The step; its rejects carry `name`. Raises `TemplateError` where a request does not serve."""
    own = own_folder(settings.prompts, context.folder)
    return Asker(name, settings, PromptSet("instruct_back", ("write", "rate"), own))
