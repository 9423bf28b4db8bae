"""The straight line from a recipe to rows: read, convert, steps, weigh, gate, render, tokenize; what falls is counted.

`prepare(plan)` runs it in memory. `build` writes what comes out, `preview` shows it.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from typing import TypeVar

from dataforge import components, readers, seeds
from dataforge.answers import UNPROVEN
from dataforge.bases import load_tokenizer
from dataforge.chat_format import ChatFormat
from dataforge.errors import InputError, TemplateError
from dataforge.recipe import Recipe, StepSpec
from dataforge.records import Chat, Reject, Row, canonical_json
from dataforge.shards import FORMAT, Split, Stage, Turns, sha256_of
from dataforge.text import fill
from dataforge.tokenize import Encoded, encode
from dataforge.validate import Gate

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A recipe with everything it names at hand."""

    recipe: Recipe
    format: ChatFormat
    inputs: dict[str, str]
    """SHA-256 of each file that is read, by the name of its source, or `step NAME`."""
    steps: Mapping[str, components.Step] = field(default_factory=dict)
    """The recipe's steps, by name, with what they read."""

    @cached_property
    def key(self) -> str:
        """A hash of all that decides the bytes of the build."""
        decides = [
            self.recipe.normalised(),
            self.inputs,
            self.format.template.text,
            self.format.tokenizer.sha256,
            FORMAT,
            metadata.version("dataforge"),
        ]
        return hashlib.sha256(canonical_json(decides)).hexdigest()


@dataclass
class Prepared:
    """What came down the line."""

    encoded: list[Encoded] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    funnel: list[Stage] = field(default_factory=list)
    unused_vars: list[str] = field(default_factory=list)
    """`source: KEY` of words to fill in that occur in no record of their source."""


def plan(recipe: Recipe) -> Plan:
    """Find the tokenizer, its template and the stop token, hash the inputs, and let steps read theirs.

    Raises `BaseModelError` where the tokenizer does not serve, `ConfigError` where the chat template or a step's file
    does not.
    """
    data = recipe.data
    tokenizer = load_tokenizer(recipe.tokenizer, recipe.document.folder)
    try:
        format_ = ChatFormat(
            tokenizer,
            data.chat,
            recipe.document.folder,
            date=data.date,
            kwargs=data.template_kwargs,
            reasoning=data.reasoning,
            special_tokens=data.special_tokens,
            missing_tokens=data.missing_tokens,
        )
    except TemplateError as error:
        raise recipe.document.error(("chat",), str(error)) from None
    inputs = {spec.name: sha256_of(spec.path) for spec in recipe.sources}
    # A source's name holds no blank, so the two kinds do not meet.
    inputs |= {f"step {spec.name}": sha256_of(spec.path) for spec in recipe.every_step if spec.path is not None}
    return Plan(recipe, format_, inputs, {spec.name: _start(recipe, spec) for spec in recipe.every_step})


def _start(recipe: Recipe, spec: StepSpec) -> components.Step:
    try:
        return components.step(spec.use).start(spec.name, spec.settings)
    except InputError as error:
        raise recipe.document.error((*spec.at, "path"), str(error)) from None


def split_of(chat: Chat, recipe: Recipe) -> Split:
    """The side of the split, by a hash of the record's group."""
    return "eval" if seeds.share(recipe.data.seed, "split", chat.group) < recipe.data.split.eval else "train"


def prepare(plan: Plan, limit: int | None = None) -> Prepared:
    """Run the line; `limit` takes only so many records of each source.

    Records flow through it one by one, so that conversations are rendered while earlier ones are encoded. Raises
    `ConfigError` where what a step reads does not belong to the records.
    """
    done, data, format_ = Prepared(), plan.recipe.data, plan.format
    rows = _station(done, "read", _read(plan.recipe, limit))
    chats = _station(done, "convert", _convert(rows, plan.recipe, done))
    for source in plan.recipe.sources:
        for step in source.steps:
            chats = _station(done, step.name, _step(chats, plan.steps[step.name], source.name))
    for step in plan.recipe.steps:
        chats = _station(done, step.name, _step(chats, plan.steps[step.name]))
    weighed = _weigh(chats, plan.recipe, done)
    gate = Gate(format_.typed, format_.typed_in_answers) if data.special_tokens == "reject" else Gate()
    passed = _station(done, "gate", (gate.check(chat) or chat for chat in weighed))
    rendered = _station(done, "render", (format_.renderer.render(chat) for chat in passed))
    encoded = _station(done, "tokenize", encode(rendered, format_.encoder, data.train_on))
    done.encoded.extend(_station(done, "length", (_fits(item, data.max_tokens) for item in encoded)))
    if limit is None:
        _finish_steps(plan)
    order = {spec.name: position for position, spec in enumerate(plan.recipe.sources)}
    done.rejects.sort(key=lambda reject: (order[reject.origin.source], reject.origin.ordinal))
    return done


def turns(prepared: Prepared) -> Turns:
    """What became of the turns to train."""
    return Turns(
        certified=sum(encoded.certified for encoded in prepared.encoded),
        forked=sum(encoded.forked for encoded in prepared.encoded),
        refused=sum(reject.reason in UNPROVEN for reject in prepared.rejects),
        fork_tokens=sum(encoded.fork_tokens for encoded in prepared.encoded),
    )


def _station(done: Prepared, name: str, results: Iterable[T | Reject]) -> Iterator[T]:
    """Divert the rejects of a station; its line of the funnel is whole once everything has gone through."""
    at = len(done.funnel)
    done.funnel.append(Stage(stage=name, read=0, passed=0, rejected={}))

    def flow() -> Iterator[T]:
        passed, rejected = 0, Counter[str]()
        for result in results:
            if isinstance(result, Reject):
                done.rejects.append(result)
                rejected[result.reason] += 1
            else:
                passed += 1
                yield result
        counts = {"read": passed + rejected.total(), "passed": passed, "rejected": dict(sorted(rejected.items()))}
        done.funnel[at] = done.funnel[at].model_copy(update=counts)

    return flow()


def _read(recipe: Recipe, limit: int | None) -> Iterator[Row | Reject]:
    for spec in recipe.sources:
        yield from itertools.islice(readers.read_rows(spec.path, spec.name), limit)


def _convert(rows: Iterable[Row], recipe: Recipe, done: Prepared) -> Iterator[Chat | Reject]:
    specs = {spec.name: spec for spec in recipe.sources}
    unused = {(spec.name, key) for spec in recipe.sources for key in spec.entry.vars}
    for row in rows:
        spec = specs[row.origin.source]
        columns, used = fill(row.columns, spec.entry.vars)
        unused -= {(spec.name, key) for key in used}
        yield components.source(spec.entry.use).convert(replace(row, columns=columns), spec.settings)
    done.unused_vars = sorted(f"{source}: {key}" for source, key in unused)


def _step(chats: Iterable[Chat], step: components.Step, source: str | None = None) -> Iterator[Chat | Reject]:
    """Records through a step; those of other sources pass it by."""
    return (step.take(chat) if source in (None, chat.origin.source) else chat for chat in chats)


def _finish_steps(plan: Plan) -> None:
    for spec in plan.recipe.every_step:
        try:
            plan.steps[spec.name].finish()
        except InputError as error:
            raise plan.recipe.document.error((*spec.at, "path"), str(error)) from None


def _weigh(chats: Iterable[Chat], recipe: Recipe, done: Prepared) -> Iterator[Chat]:
    """Leave out or repeat records by their source's weight; the eval side is never repeated."""
    weights = {spec.name: spec.entry.weight for spec in recipe.sources}
    seed, at = recipe.data.seed, len(done.funnel)
    again: list[Chat] = []

    def results() -> Iterator[Chat | Reject]:
        for chat in chats:
            copies = _copies(chat, weights[chat.origin.source], seed)
            if copies:
                yield chat
                repeated = copies if split_of(chat, recipe) == "train" else 1
                again.extend(replace(chat, copy=number) for number in range(2, repeated + 1))
            else:
                detail = f"left out by the source's weight of {weights[chat.origin.source]}"
                yield Reject(chat.id, chat.origin, "weigh", "weight", detail)

    def repeated_last(first: Iterator[Chat]) -> Iterator[Chat]:
        yield from first
        done.funnel[at] = done.funnel[at].model_copy(update={"added": len(again)})
        yield from again

    return repeated_last(_station(done, "weigh", results()))


def _copies(chat: Chat, weight: float, seed: int) -> int:
    whole = int(weight)
    return whole + (seeds.share(seed, "weight", chat.id) < weight - whole)


def _fits(encoded: Encoded, max_tokens: int) -> Encoded | Reject:
    longest = max(len(row.input_ids) for row in encoded.rows)
    if longest <= max_tokens:
        return encoded
    detail = f"{longest} tokens, and max_tokens is {max_tokens}"
    return Reject(encoded.chat.id, encoded.chat.origin, "length", "too_long", detail)
