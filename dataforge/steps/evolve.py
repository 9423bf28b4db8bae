"""Have a language model make instructions harder or make up neighbours of them, and answer: Evol-Instruct.

In each of `rounds` one of `operations` is drawn and the instruction is rewritten; what came of it is answered, becomes
a conversation, and is what the next round begins with. Into depth go `constraints` (one more requirement), `deepen`
(more is asked), `concretise` (the general becomes specific) and `reasoning` (several steps are needed); `broaden`
makes up a new and rarer instruction of the same field. What is drawn depends on the build's seed, the record and the
round alone.

A new instruction is dropped, and the round after it begins with the old one again, if it (in this order)

    says_nothing     is punctuation and words without meaning only
    leaked           holds words of the request, such as "rewritten prompt" or 改写后的指令
    unchanged        reads like the old one
    wrong_language   is in another language
    no_gain          has the same requirements, depth and breadth, as the model says when it is asked (`no_verdict`
                     where it says neither); what was broadened is not asked for
    refused          is refused by who answers, or answered with an apology in fewer than 80 words
    empty_answer     is answered with punctuation and words without meaning only

Each that is dropped is a reject. Records are conversations of one question and one answer, and prompts of one
question; others pass. What an instruction is about (`input`) becomes part of it. `llm` may be two models: the one that
rewrites and compares, and the one that answers.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dataforge import config, made_texts, request_templates, seeds
from dataforge.context import Context, Depends
from dataforge.llm.requests import Ask, NoReply, Reply, Request
from dataforge.prompt_set import Language, PromptSet, Tally, Wanted, language_for, own_folder, refused, single_round
from dataforge.records import Chat, Message, Prompt, Record, Reject, derived_id, group_of
from dataforge.refusals import refusal
from dataforge.text import normalised

Operation = Literal["constraints", "deepen", "concretise", "reasoning", "broaden"]
_OPERATIONS: tuple[Operation, ...] = ("constraints", "deepen", "concretise", "reasoning", "broaden")
_LABELS = (
    "new instruction",
    "rewritten instruction",
    "instruction",
    "new prompt",
    "prompt",
    "新指令",
    "改写后的指令",
    "指令",
)
_LEAKED = re.compile(
    r"\b(?:given|rewritten|created|original|new|old) (?:prompt|instruction)s?\b|#\s*(?:the )?\w+ prompt\s*#"
    r"|(?:给定|改写后|重写后|新|原|旧|创建)的?(?:指令|提示词?)|</?(?:instruction|指令)>",
    re.IGNORECASE,
)
_SORRY = re.compile(r"\bsorry\b|抱歉|对不起", re.IGNORECASE)
_SHORT = 80
"""Words; an answer with an apology that is shorter is a refusal."""
_VERDICTS = {"DIFFERENT": True, "不同": True, "EQUAL": False, "相同": False}


class Settings(config.Settings):
    """Who writes, how often, and what becomes harder."""

    llm: str
    """The model that rewrites and compares, and answers."""
    answerer: str | None = None
    """Another model that answers in its place."""
    rounds: Annotated[int, Field(ge=1, le=10)] = 1
    """How often what came of it is rewritten again."""
    operations: Annotated[tuple[Operation, ...], Field(min_length=1)] = _OPERATIONS
    """What may be drawn; one that stands here twice is drawn twice as often."""
    keep: bool = True
    """The record itself stays, before what became of it."""
    language: Wanted = "auto"
    """Of the requests; `auto` is that of the record."""
    prompts: Path | None = None
    """A folder of your own with `deepen.en.jinja`, `compare.zh.jinja` and so on, relative to the recipe."""


@dataclass
class Asker:
    """Instructions one at a time."""

    name: str
    settings: Settings
    prompts: PromptSet
    seed: int
    tally: Tally = field(default_factory=Tally)

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Record | Sequence[Record | Reject]:
        """A record and what it became, round by round; other records as they are."""
        found = single_round(record.messages) if isinstance(record, Chat | Prompt) and not record.tools else None
        if found is None:
            return record
        before, question, _ = found
        language, instruction = language_for(record, self.settings.language), question.text
        made: list[Record | Reject] = [record] if self.settings.keep else []
        for number in range(self.settings.rounds):
            operations = self.settings.operations
            operation = operations[seeds.draw(self.seed, self.name, record.id, str(number)) % len(operations)]
            evolved = await self._evolved(instruction, operation, language, number, before, ask)
            if isinstance(evolved, tuple):
                reason, detail = evolved
                self.tally.add(reason)
                made.append(refused(record, self.name, reason, f"{operation}: {detail}", str(number)))
                continue
            self.tally.add(operation)
            instruction, answer, author = evolved.instruction, evolved.answer, evolved.author
            made.append(
                Chat(
                    derived_id(record.id, self.name, str(number)),
                    record.origin,
                    (*before, Message("user", instruction), Message("assistant", answer)),
                    family=group_of(record),
                    facts={
                        **record.facts,
                        **{"evolved_from": record.id, "operation": operation, "round": number + 1},
                        "written_by": author,
                    },
                )
            )
        return made

    async def _evolved(
        self,
        old: str,
        operation: Operation,
        language: Language,
        number: int,
        before: Sequence[Message],
        ask: Mapping[str, Ask],
    ) -> "_Evolved | tuple[str, str]":
        writer, answerer = ask[self.settings.llm], ask[self.settings.answerer or self.settings.llm]
        # Where a round failed, the next may draw the same once more, which must not be given the same reply.
        rewritten = await writer(Request(self.prompts.messages(operation, language, instruction=old), sample=number))
        if isinstance(rewritten, NoReply):
            return rewritten.reason, rewritten.detail
        new = made_texts.bare(rewritten.text, _LABELS)
        fault = _fault(old, new)
        if fault:
            return fault
        if operation != "broaden":
            compared = await writer(Request(self.prompts.messages("compare", language, old=old, new=new)))
            if isinstance(compared, NoReply):
                return compared.reason, f"of the comparison: {compared.detail}"
            gained = verdict(compared.text)
            if gained is None:
                return "no_verdict", f"the comparison must end with EQUAL or DIFFERENT: {compared.text[:80]!r}"
            if not gained:
                return "no_gain", f"asks no more than before: {new[:120]!r}"
        system = [{"role": message.role, "content": message.text} for message in before]
        answer = await answerer(Request((*system, {"role": "user", "content": new})))
        return answered(new, answer)

    def noted(self) -> Mapping[str, int]:
        """How often each operation succeeded, and what each rule dropped."""
        return self.tally.taken()


@dataclass(frozen=True)
class _Evolved:
    instruction: str
    answer: str
    author: str


def _fault(old: str, new: str) -> tuple[str, str] | None:
    begins = repr(new[:120])
    if made_texts.says_nothing(new):
        return "says_nothing", f"the new instruction says nothing: {begins}"
    leaked = _LEAKED.search(new)
    if leaked and leaked.group().lower() not in old.lower():
        return "leaked", f"holds {leaked.group()!r}, which is of the request: {begins}"
    if normalised(new) == normalised(old):
        return "unchanged", f"is what it was before: {begins}"
    if made_texts.another_language(new, old):
        return "wrong_language", f"is in another language than before: {begins}"
    return None


def answered(instruction: str, answer: Reply | NoReply) -> _Evolved | tuple[str, str]:
    """An instruction with its answer, or by which rule it is dropped, and why."""
    if isinstance(answer, NoReply):
        return answer.reason, f"of the answer: {answer.detail}"
    text = answer.text.strip()
    if made_texts.says_nothing(text):
        return "empty_answer", f"the answer says nothing: {text[:80]!r}"
    if refusal(text) or (_SORRY.search(text) and made_texts.words(text) < _SHORT):
        return "refused", f"the answer to {instruction[:80]!r} is a refusal: {text[:80]!r}"
    return _Evolved(instruction, text, answer.model)


def verdict(reply: str) -> bool | None:
    """Whether a comparison says that something was gained; None where its last line is neither word."""
    return _VERDICTS.get(made_texts.last_line(reply).strip(" .。!！\"'[]【】").upper())


def models(settings: Settings) -> tuple[str, ...]:
    """Who rewrites, and who answers where that is another."""
    return tuple(dict.fromkeys((settings.llm, settings.answerer or settings.llm)))


def later(settings: Settings) -> Mapping[str, float]:
    """Each new instruction is compared with the old one, and answered."""
    found = Counter({settings.llm: 1})
    found[settings.answerer or settings.llm] += 1
    return found


def depends(settings: Settings) -> tuple[Depends, ...]:
    """Operations are drawn."""
    return ("seed",)


def reads(settings: Settings, folder: Path) -> list[Path]:
    """Every request."""
    return request_templates.files("ask", "evolve", own_folder(settings.prompts, folder))


def start(name: str, settings: Settings, context: Context) -> Asker:
    """The step; its rejects carry `name`. Raises `TemplateError` where a request does not serve."""
    own = own_folder(settings.prompts, context.folder)
    return Asker(name, settings, PromptSet("evolve", (*_OPERATIONS, "compare"), own), context.seed)
