"""Have one or several language models answer prompts: one answer makes a conversation, several a ranking.

A prompt is asked as it stands, with its system message; of a conversation what is said before its last answer, which
is then replaced, or with `old_answer: keep` stands as one more reply. Each model of `llm` answers at each of the
`temperatures` as often as `samples` says, and all of it that serves becomes the replies of one ranking, with `llm`,
`model`, `temperature` and `sample` in their facts. Where one answer is asked for, and none kept, out comes a
conversation, in which only that answer is trained: with the base model as `llm`, replay against forgetting.

With `ranked: true` the models are listed from the strongest to the weakest, and their replies are ranked so, unread; an
answer that was kept stands above them.

Left out and counted: answers that were cut off or failed, refusals (unless `keep_refusals`), empty ones, and those that
say what another said (`same_text`; the first stays). A record for which no answer is left is a reject. A request
carries no tools, so that records with tools are rejected too. Rankings, preferences, examples and texts pass.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dataforge import config
from dataforge.context import Context
from dataforge.llm.requests import Ask, NoReply, Reply, Request
from dataforge.opinions import said, unlearnt
from dataforge.prompt_set import Tally, refused
from dataforge.records import Chat, Message, Prompt, Ranking, Record, Reject, derived_id, group_of
from dataforge.records import Reply as RankedReply
from dataforge.refusals import refusal

Name = Annotated[str, Field(min_length=1)]


class Settings(config.Settings):
    """Who answers, and how often."""

    llm: Annotated[list[Name], Field(min_length=1)]
    """Names of models under the recipe's `llm:`; with `ranked: true` the strongest first."""
    temperatures: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """At each of which every model answers; its own in the recipe where none is given."""
    samples: Annotated[int, Field(ge=1)] = 1
    """How often each model answers at each temperature."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Of an answer; the model's own in the recipe if not given."""
    ranked: bool = False
    """Whether the order of the models ranks their replies."""
    old_answer: Literal["replace", "keep"] = "replace"
    """What becomes of the answer that a conversation ends with."""
    keep_refusals: bool = False
    """Whether answers that begin like a refusal stay."""

    @model_validator(mode="after")
    def _different(self) -> "Settings":
        for key, values in (("llm", self.llm), ("temperatures", self.temperatures)):
            if len(set(values)) < len(values):
                raise ValueError(f"`{key}` lists the same twice; `samples` asks for more than one answer")
        if self.ranked and len(self.llm) < 2 and self.old_answer == "replace":
            raise ValueError("`ranked: true` needs two models to rank; list both under `llm`, the stronger first")
        return self


@dataclass(frozen=True)
class _Wanted:
    """One answer that is asked for."""

    llm: str
    level: int
    """Of its model among all, 0 for the first."""
    temperature: float | None
    sample: int


@dataclass
class Asker:
    """Prompts one at a time."""

    name: str
    settings: Settings
    tally: Tally = field(default_factory=Tally)

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Record | Reject:
        """The prompt of a record with its answers, or why it has none; other records as they are."""
        if not isinstance(record, Chat | Prompt):
            return record
        prompt, old = _parted(record.messages) if isinstance(record, Chat) else (record.messages, None)
        if record.tools or any(message.role == "tool" or message.tool_calls for message in prompt):
            return refused(record, self.name, "tools", "a request carries no tools, so its answer would call none")
        if not prompt or prompt[-1].role != "user" or not prompt[-1].text.strip():
            return refused(record, self.name, "no_question", "no question stands at its end or before its answer")
        messages = tuple({"role": message.role, "content": message.text} for message in prompt)
        wanted = self._wanted()
        found = await asyncio.gather(*(self._asked(messages, each, ask) for each in wanted))
        kept = old is not None and said(old) and self.settings.old_answer == "keep"
        replies = [self._old(old, record)] if old is not None and kept else []
        seen = {reply.message.text.strip() for reply in replies}
        why: NoReply | None = None
        for each, reply in zip(wanted, found, strict=True):
            reply = self._checked(reply)
            if isinstance(reply, NoReply):
                self.tally.add(reply.reason)
                why = why or reply
            elif reply.text.strip() in seen:
                self.tally.add("same_text")
            else:
                seen.add(reply.text.strip())
                self.tally.add("answers")
                replies.append(self._reply(each, reply, 1 if kept else 0))
        if len(replies) == (1 if kept else 0) and why is not None:
            return refused(record, self.name, why.reason, why.detail)
        return self._made(record, prompt, replies, alone=len(wanted) == 1 and not kept)

    def noted(self) -> Mapping[str, int]:
        """How many answers there are, and why others were left out."""
        return self.tally.taken()

    def _wanted(self) -> list[_Wanted]:
        return [
            _Wanted(llm, level, temperature, sample)
            for level, llm in enumerate(self.settings.llm)
            for temperature in (self.settings.temperatures or (None,))
            for sample in range(self.settings.samples)
        ]

    async def _asked(
        self, messages: tuple[Mapping[str, str], ...], wanted: _Wanted, ask: Mapping[str, Ask]
    ) -> Reply | NoReply:
        request = Request(messages, wanted.temperature, self.settings.max_tokens, sample=wanted.sample)
        return await ask[wanted.llm](request)

    def _checked(self, reply: Reply | NoReply) -> Reply | NoReply:
        if isinstance(reply, NoReply):
            return reply
        if not reply.text.strip():
            return NoReply("empty", "the model said nothing")
        if not self.settings.keep_refusals and refusal(reply.text):
            return NoReply("refused", f"the answer is a refusal: {reply.text[:80]!r}")
        return reply

    def _reply(self, wanted: _Wanted, reply: Reply, above: int) -> RankedReply:
        facts: dict[str, Any] = {"llm": wanted.llm, "model": reply.model, "sample": wanted.sample}
        if wanted.temperature is not None:
            facts["temperature"] = wanted.temperature
        message = Message("assistant", reply.text.strip(), reasoning=reply.reasoning or None)
        return RankedReply(message, rank=above + wanted.level if self.settings.ranked else None, facts=facts)

    def _old(self, old: Message, record: Chat | Prompt) -> RankedReply:
        facts = {key: record.facts[key] for key in ("llm", "model", "model_name") if key in record.facts}
        return RankedReply(old, rank=0 if self.settings.ranked else None, facts={**facts, "kept": True})

    def _made(
        self, record: Chat | Prompt, prompt: Sequence[Message], replies: Sequence[RankedReply], *, alone: bool
    ) -> Chat | Ranking:
        identity, family = derived_id(record.id, self.name), group_of(record)
        if not alone:
            return Ranking(identity, record.origin, tuple(prompt), tuple(replies), (), family, record.facts)
        (reply,) = replies
        return Chat(
            identity,
            record.origin,
            (*unlearnt(tuple(prompt)), reply.message),
            record.copies,
            template_kwargs=record.template_kwargs,
            family=family,
            facts={**record.facts, **reply.facts},
        )


def models(settings: Settings) -> tuple[str, ...]:
    """All models that answer."""
    return tuple(settings.llm)


def start(name: str, settings: Settings, context: Context) -> Asker:
    """The step; its rejects carry `name`."""
    return Asker(name, settings)


def _parted(messages: Sequence[Message]) -> tuple[tuple[Message, ...], Message | None]:
    """What is said before the last answer of a conversation, and the answer; all of it, if it ends with a question."""
    last = max((number for number, message in enumerate(messages) if message.role == "assistant"), default=None)
    if last is None or any(message.role == "user" for message in messages[last + 1 :]):
        return tuple(messages), None
    return tuple(messages[:last]), messages[last]
