"""The straight line from a recipe to rows: read, convert, weigh, gate, render, tokenize; every loss is counted.

`prepare(plan)` runs it in memory. `build` writes what comes out, `preview` shows it.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from typing import TypeVar

from dataforge import components, readers, seeds
from dataforge.bases import BaseTokenizer, load_tokenizer
from dataforge.errors import BaseModelError
from dataforge.recipe import Recipe
from dataforge.records import Chat, Reject, Row, canonical_json
from dataforge.render import render
from dataforge.shards import FORMAT, Split, Stage, sha256_of
from dataforge.templates import ChatTemplate
from dataforge.text import fill
from dataforge.tokenize import Encoded, encode, stop_tokens
from dataforge.validate import Gate

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A recipe with everything it names at hand."""

    recipe: Recipe
    tokenizer: BaseTokenizer
    template: ChatTemplate
    stop_tokens: dict[str, int]
    inputs: dict[str, str]
    """SHA-256 of each source's file, by source name."""

    @cached_property
    def key(self) -> str:
        """A hash of all that decides the bytes of the build."""
        decides = [
            self.recipe.normalised(),
            self.inputs,
            self.template.text,
            self.tokenizer.sha256,
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
    """Find the tokenizer, its template and the stop token, and hash the inputs.

    Raises `BaseModelError` or `TemplateError` where they do not serve.
    """
    tokenizer = load_tokenizer(recipe.tokenizer, recipe.document.folder)
    if tokenizer.template is None:
        raise BaseModelError(f"{tokenizer.name}: its tokenizer carries no chat template; name an instruction model")
    template = ChatTemplate(tokenizer.template, tokenizer.variables, recipe.data.date)
    stops = stop_tokens(template, tokenizer.encoder, tokenizer.control_tokens)
    inputs = {spec.name: sha256_of(spec.path) for spec in recipe.sources}
    return Plan(recipe, tokenizer, template, stops, inputs)


def split_of(chat: Chat, recipe: Recipe) -> Split:
    """The side of the split, by a hash of the record's group."""
    return "eval" if seeds.share(recipe.data.seed, "split", chat.group) < recipe.data.split.eval else "train"


def prepare(plan: Plan, limit: int | None = None) -> Prepared:
    """Run the line; `limit` takes only so many records of each source."""
    done, data = Prepared(), plan.recipe.data
    rows = _station(done, "read", _read(plan.recipe, limit))
    chats = _station(done, "convert", _convert(rows, plan.recipe, done))
    weighed = _weigh(chats, plan.recipe, done)
    gate = Gate(plan.tokenizer.control_tokens)
    passed = _station(done, "gate", (gate.check(chat) or chat for chat in weighed))
    rendered = _station(done, "render", (render(chat, plan.template) for chat in passed))
    stop_ids = set(plan.stop_tokens.values())
    encoded = _station(done, "tokenize", encode(rendered, plan.tokenizer.encoder, stop_ids, data.train_on))
    done.encoded = _station(done, "length", (_fits(item, data.max_tokens) for item in encoded))
    return done


def _station(done: Prepared, stage: str, results: Iterable[T | Reject]) -> list[T]:
    """Divert the rejects of a station and write its line of the funnel."""
    passed: list[T] = []
    rejected: Counter[str] = Counter()
    for result in results:
        if isinstance(result, Reject):
            done.rejects.append(result)
            rejected[result.reason] += 1
        else:
            passed.append(result)
    read = len(passed) + rejected.total()
    done.funnel.append(Stage(stage=stage, read=read, passed=len(passed), rejected=dict(sorted(rejected.items()))))
    return passed


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


def _weigh(chats: Iterable[Chat], recipe: Recipe, done: Prepared) -> list[Chat]:
    """Leave out or repeat records by their source's weight; the eval side is never repeated."""
    weights = {spec.name: spec.entry.weight for spec in recipe.sources}
    seed = recipe.data.seed

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

    again: list[Chat] = []
    passed = _station(done, "weigh", results())
    done.funnel[-1] = done.funnel[-1].model_copy(update={"added": len(again)})
    return passed + again


def _copies(chat: Chat, weight: float, seed: int) -> int:
    whole = int(weight)
    return whole + (seeds.share(seed, "weight", chat.id) < weight - whole)


def _fits(encoded: Encoded, max_tokens: int) -> Encoded | Reject:
    longest = max(len(row.input_ids) for row in encoded.rows)
    if longest <= max_tokens:
        return encoded
    detail = f"{longest} tokens, and max_tokens is {max_tokens}"
    return Reject(encoded.chat.id, encoded.chat.origin, "length", "too_long", detail)
