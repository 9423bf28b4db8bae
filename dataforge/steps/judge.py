"""Have a language model judge answers in place of people: two at a time in both orders, or each from 1 to 5.

`mode: pairwise` shows every two replies of a ranking to the judge twice, each once as the first. A verdict counts only
where both orders agree: a win is two wins, a tie two ties. The replies are ranked by Bradley and Terry's model, with a
tie as half a win for each; where somebody never lost or never won, so that the model has no solution, by wins less
losses (Copeland); `ranked_by` says which. Replies with the same text are a tie that nobody is asked about. A ranking
without any consistent verdict is a reject (`undecided`).

`mode: score` has each reply of a ranking, or the last answer of a conversation, scored on each of `aspects` by a rubric
of its own; the score is their mean, and `scores` says each. Any rank or score from before is replaced.

Where a record has tools, the judge sees them before the conversation, and calls of them as JSON. With `reference` the
judge also sees an answer known to be right: the record's fact of that name.

`judgements` in the facts of a record keeps every raw verdict with its request's hash, `judge` the model, and
`judge_prompts` the hash of the rubrics. Counted are consistent verdicts, ties and flips, how often the first won of the
raw verdicts that named a winner (position bias), and how often the longer won of consistent wins (length bias).

A judge does not judge what it wrote, rewrote or translated itself (`judge_is_author`), told by what the other steps
leave in the facts (`llm`, `model`, `written_by`, `rewritten_by`, `translated_by`), unless `judge_may_be_author: true`.
Records of other kinds pass, and in pairwise mode conversations too.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dataforge import comparisons, config, request_templates, standings, verdicts
from dataforge.context import Context
from dataforge.llm.requests import Ask, NoReply, Request
from dataforge.llm.requests import Reply as Said
from dataforge.prompt_set import (
    LANGUAGES,
    PromptSet,
    Tally,
    Wanted,
    language_for,
    own_folder,
    refused,
    shown,
    shown_tools,
)
from dataforge.records import Chat, Message, Ranking, Record, Reject

_DIGITS = 6
_NAMED = "llm"
_AUTHORS = ("model", "model_name", "written_by", "rewritten_by", "translated_by")


class Settings(config.Settings):
    """Who judges what, and how."""

    llm: Annotated[str, Field(min_length=1)]
    mode: Literal["pairwise", "score"] = "pairwise"
    aspects: Annotated[tuple[Annotated[str, Field(pattern=r"^\w+$")], ...], Field(min_length=1)] = (
        "helpful",
        "honest",
        "harmless",
    )
    """What answers are scored on; each is the name of a rubric."""
    reference: str | None = None
    """The fact of a record that holds an answer known to be right."""
    judge_may_be_author: bool = False
    """Whether a model may judge what it wrote itself."""
    language: Wanted = "auto"
    """Of the requests; `auto` is that of the record."""
    prompts: Path | None = None
    """A folder of your own with rubrics, `pairwise.en.jinja` or `<aspect>.zh.jinja`, relative to the recipe."""

    @model_validator(mode="after")
    def _aspects_once(self) -> "Settings":
        if len(set(self.aspects)) < len(self.aspects):
            raise ValueError("`aspects` lists the same twice")
        if self.mode == "pairwise" and "aspects" in self.model_fields_set:
            raise ValueError("`aspects` belongs to `mode: score`")
        return self


class UnjudgedError(Exception):
    """A record without a judgement, and why."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass
class Asker:
    """Records one at a time."""

    name: str
    settings: Settings
    prompts: PromptSet
    hashes: Mapping[str, str]
    """Of the rubrics, by language."""
    tally: Tally = field(default_factory=Tally)

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Record | Reject:
        """A ranking or a conversation with its judgements, or why there are none; other records as they are."""
        scores = self.settings.mode == "score"
        if not isinstance(record, Ranking) and not (scores and isinstance(record, Chat)):
            return record
        try:
            if isinstance(record, Chat):
                return await self._scored_chat(record, ask)
            if "fragment" in record.facts:
                raise UnjudgedError("fragment", "is one message of a tree; put `- use: trees` before this step")
            if any(reply.message.role != "assistant" or reply.replies for reply in record.replies):
                raise UnjudgedError("tree", "is a tree of messages; the judge compares answers to one prompt")
            return await (self._scored(record, ask) if scores else self._compared(record, ask))
        except UnjudgedError as why:
            self.tally.add(why.reason)
            return refused(record, self.name, why.reason, why.detail)

    def noted(self) -> Mapping[str, int]:
        """Verdicts and what they agree on, and why records were rejected."""
        return self.tally.taken()

    async def _compared(self, record: Ranking, ask: Mapping[str, Ask]) -> Ranking:
        # In the order of their texts, nothing depends on the order in which they stand.
        texts = [shown(reply.message) for reply in record.replies]
        order = sorted(range(len(texts)), key=lambda at: (texts[at], at))
        if len(order) < 2:
            raise UnjudgedError("one_reply", "there are no two replies to compare")
        pairs = list(combinations(order, 2))
        differing = [pair for pair in pairs if texts[pair[0]] != texts[pair[1]]]
        wanted = [way for one, other in differing for way in ((one, other), (other, one))]
        context = self._context(record, record.prompt)
        self._check_authors([reply.facts for reply in record.replies])
        requests = [
            self._request(
                record, "pairwise", verdicts.PAIRWISE_SCHEMA, **context, first=texts[one], second=texts[other]
            )
            for one, other in wanted
        ]
        replies = await self._ask_all(requests, ask, [reply.facts for reply in record.replies])
        raw = dict(zip(wanted, map(self._verdict, replies), strict=True))
        points = comparisons.points(texts, pairs, raw, self.tally)
        if not points:
            detail = f"no verdict of {len(pairs)} was the same in both orders"
            raise UnjudgedError("undecided", detail)
        place = {at: number for number, at in enumerate(order)}
        by_text = {(place[one], place[other]): taken for (one, other), taken in points.items()}
        method, found = standings.standings(len(order), by_text)
        scores = [found[place[at]] for at in range(len(texts))]
        judged = tuple(
            replace(reply, rank=rank, score=score, label=None)
            for reply, rank, score in zip(record.replies, standings.ranks(scores), scores, strict=True)
        )
        told = [
            {"first": one, "second": other, "verdict": raw[one, other], "reply": reply.text, "request": reply.key}
            for (one, other), reply in zip(wanted, replies, strict=True)
        ]
        facts = {**record.facts, **self._facts(record, replies, told), "ranked_by": method}
        return replace(record, replies=judged, facts=facts)

    async def _scored(self, record: Ranking, ask: Mapping[str, Ask]) -> Ranking:
        if not record.replies:
            raise UnjudgedError("no_reply", "nobody answered the prompt")
        answers = [reply.message for reply in record.replies]
        authors = [reply.facts for reply in record.replies]
        found, facts = await self._scores(record, record.prompt, answers, authors, ask)
        judged = tuple(
            replace(reply, rank=None, label=None, score=_mean(scores), facts={**reply.facts, "scores": scores})
            for reply, scores in zip(record.replies, found, strict=True)
        )
        return replace(record, replies=judged, facts={**record.facts, **facts})

    async def _scored_chat(self, record: Chat, ask: Mapping[str, Ask]) -> Chat:
        if not record.messages or record.messages[-1].role != "assistant":
            raise UnjudgedError("no_reply", "the conversation does not end with an answer")
        prompt, answer = record.messages[:-1], record.messages[-1]
        (scores,), facts = await self._scores(record, prompt, [answer], [record.facts], ask)
        return replace(record, facts={**record.facts, **facts, "score": _mean(scores), "scores": scores})

    async def _scores(
        self,
        record: Chat | Ranking,
        prompt: Sequence[Message],
        answers: Sequence[Message],
        authors: Sequence[Mapping[str, Any]],
        ask: Mapping[str, Ask],
    ) -> tuple[list[dict[str, int]], dict[str, Any]]:
        """The scores of each answer by aspect, and what a record keeps of how they came to be."""
        self._check_authors(authors)
        context, aspects = self._context(record, prompt), self.settings.aspects
        requests = [
            self._request(record, aspect, verdicts.SCORE_SCHEMA, **context, answer=shown(answer))
            for answer in answers
            for aspect in aspects
        ]
        replies = await self._ask_all(requests, ask, authors)
        found: list[dict[str, int]] = [{} for _ in answers]
        told = []
        for number, reply in enumerate(replies):
            at, aspect = number // len(aspects), aspects[number % len(aspects)]
            score = verdicts.score(reply)
            if score is None:
                raise UnjudgedError("unparsable", f"the judge gives no score from 1 to 5: {reply.text[:80]!r}")
            found[at][aspect] = score
            told.append({"answer": at, "aspect": aspect, "score": score, "reply": reply.text, "request": reply.key})
            self.tally.add("scores")
        return found, self._facts(record, replies, told)

    def _verdict(self, reply: Said) -> verdicts.Verdict:
        found = verdicts.verdict(reply)
        if found is None:
            raise UnjudgedError("unparsable", f"the judge names no winner and no tie: {reply.text[:80]!r}")
        return found

    def _context(self, record: Chat | Ranking, prompt: Sequence[Message]) -> dict[str, Any]:
        reference = ""
        if self.settings.reference is not None:
            reference = str(record.facts.get(self.settings.reference) or "")
            if not reference.strip():
                raise UnjudgedError("no_reference", f"has no fact {self.settings.reference!r} to judge by")
        said = [*shown_tools(record.tools), *({"role": message.role, "content": shown(message)} for message in prompt)]
        return {"conversation": said, "reference": reference}

    def _request(self, record: Record, name: str, schema: Mapping[str, Any], **fields: Any) -> Request:
        language = language_for(record, self.settings.language)
        return Request(self.prompts.messages(name, language, **fields), schema=schema)

    async def _ask_all(
        self, requests: Sequence[Request], ask: Mapping[str, Ask], authors: Sequence[Mapping[str, Any]]
    ) -> list[Said]:
        judge = ask[self.settings.llm]
        found: list[Said] = []
        for reply in await asyncio.gather(*map(judge, requests)):
            if isinstance(reply, NoReply):
                raise UnjudgedError(reply.reason, reply.detail)
            found.append(reply)
        for model in sorted({reply.model for reply in found if reply.model}):
            self._check_authors(authors, model)
        return found

    def _check_authors(self, authors: Sequence[Mapping[str, Any]], model: str = "") -> None:
        """Raise where the judge, or the model that it turned out to be, wrote something itself."""
        judge = model or self.settings.llm
        keys = _AUTHORS if model else (_NAMED,)
        wrote = {name for facts in authors for key in keys for name in str(facts.get(key) or "").split(", ")}
        if not self.settings.judge_may_be_author and judge in wrote:
            detail = f"{judge} wrote one of the answers; let another judge, or say `judge_may_be_author: true`"
            raise UnjudgedError("judge_is_author", detail)

    def _facts(self, record: Record, replies: Sequence[Said], told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "judge": ", ".join(sorted({reply.model for reply in replies if reply.model})) or self.settings.llm,
            "judge_prompts": self.hashes[language_for(record, self.settings.language)],
            "judgements": list(told),
        }


def reads(settings: Settings, folder: Path) -> list[Path]:
    """Every rubric."""
    return request_templates.files("judge", "judge", own_folder(settings.prompts, folder))


def start(name: str, settings: Settings, context: Context) -> Asker:
    """The step; its rejects carry `name`. Raises `TemplateError` where a rubric is missing or does not serve."""
    own = own_folder(settings.prompts, context.folder)
    names = settings.aspects if settings.mode == "score" else ["pairwise"]
    prompts = PromptSet("judge", names, own, "judge")
    hashes: dict[str, str] = {
        language: hashlib.blake2b(
            b"\0".join(request_templates.find("judge", "judge", each, language, own).read_bytes() for each in names),
            digest_size=16,
        ).hexdigest()
        for language in LANGUAGES
    }
    return Asker(name, settings, prompts, hashes)


def _mean(scores: Mapping[str, int]) -> float:
    return round(sum(scores.values()) / len(scores), _DIGITS)
