"""The straight line that every record goes down: read, convert, steps, weigh, gate, render, tokenize; what falls is
counted.

It is cut where a step needs to see more than one record: what lies between two cuts is a segment. Here stands what
happens to the records of one part; `tasks` keeps what comes out, and `schedule` says what has to be done.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dataforge import components, kinds, readers, seeds
from dataforge.bases import load_tokenizer
from dataforge.chat_format import ChatFormat
from dataforge.components import Made
from dataforge.context import Context, Depends
from dataforge.errors import InputError, TemplateError
from dataforge.kinds import Kind
from dataforge.readers import Part
from dataforge.recipe import Recipe, SourceSpec, StepSpec
from dataforge.records import (
    Chat,
    Example,
    Preference,
    Prompt,
    Ranking,
    Record,
    Reject,
    Row,
    Text,
    Trainable,
    group_of,
    task_of,
)
from dataforge.shards import Split
from dataforge.tally import Tally
from dataforge.text import fill
from dataforge.tokenize import Encoded
from dataforge.validate import Gate

_WANTED: Mapping[type[Record], str] = {Chat: "conversations", Preference: "pairs", Prompt: "prompts"}
_IS: Mapping[type[Record], str] = {
    Chat: "is a conversation",
    Example: "is an example of a task, and no step has put it into words",
    Text: "is plain text, and no step has made a conversation of it",
    Ranking: "is a ranking, and no step has chosen among its replies",
    Prompt: "is a prompt",
    Preference: "is a preference",
}
_WAY_OUT: Mapping[tuple[type[Record], type[Record]], str] = {
    (Example, Chat): "add `- use: instruct` to its steps",
    (Ranking, Chat): "add `- use: best` to its steps, or `- use: pairs` and `kind: pairs` to the recipe",
    (Preference, Chat): "add `- use: best` to its steps, or `kind: pairs` to the recipe",
    (Prompt, Chat): "say `kind: prompts` in the recipe",
    (Chat, Prompt): "add `- use: to_prompts` to its steps",
    (Ranking, Prompt): "add `- use: to_prompts` to its steps",
    (Preference, Prompt): "add `- use: to_prompts` to its steps",
    (Ranking, Preference): "add `- use: pairs` to its steps",
}
"""From what a record is to what the build is of."""
Decisions = Mapping[int, Mapping[str, Any]]
"""What a gather decided of some of a part's records, by their position in it."""


class Line:
    """The stations of one recipe, with what they need at hand once they are asked for it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._gathers: dict[str, components.Gather] = {}
        self._askers: dict[str, components.Asker] = {}

    @cached_property
    def format(self) -> ChatFormat:
        """The tokenizer and the chat template.

        Raises `BaseModelError` where the tokenizer does not serve, `ConfigError` where the chat template does not.
        """
        data, document = self.recipe.data, self.recipe.document
        try:
            return ChatFormat(
                load_tokenizer(self.recipe.tokenizer, document.folder),
                data.chat,
                document.folder,
                date=data.date,
                kwargs=data.template_kwargs,
                reasoning=data.reasoning,
                special_tokens=data.special_tokens,
                missing_tokens=data.missing_tokens,
            )
        except TemplateError as error:
            raise document.error(("chat",), str(error)) from None

    def ready(self) -> ChatFormat:
        """Have everything at hand before the first record comes; raises what is wrong with it, and returns the format.

        Steps that read something raise `ConfigError`.
        """
        format_, steps = self.format, self._steps
        for spec in self.recipe.every_step:
            if components.asks(spec.use):
                self.asker(spec)
            elif spec.name not in steps:
                self.gather(spec)
        return format_

    @cached_property
    def _steps(self) -> dict[str, components.Step]:
        return {
            spec.name: self._start(spec)
            for spec in self.recipe.every_step
            if not components.asks(spec.use) and not components.gathers(spec.use, spec.settings)
        }

    @property
    def _context(self) -> Context:
        return Context(
            folder=self.recipe.document.folder,
            seed=self.recipe.data.seed,
            is_eval=lambda record: split_of(record, self.recipe) == "eval",
            token_counts=lambda texts: self.format.encoder.flat(texts)[1].tolist(),
        )

    def depends(self, spec: StepSpec) -> dict[str, Any]:
        """What a step's work depends on beside its settings and files."""
        data = self.recipe.data
        found: dict[Depends, Callable[[], Any]] = {
            "seed": lambda: data.seed,
            "tokenizer": lambda: [self.format.tokenizer.sha256, self.format.new_tokens],
            "split": lambda: [data.seed, data.split.model_dump(mode="json")],
        }
        return {name: found[name]() for name in components.depends(spec.use, spec.settings)}

    def gather(self, spec: StepSpec) -> components.Gather:
        """A step that needs more than one record at a time; raises `ConfigError` where what it reads does not serve."""
        if spec.name not in self._gathers:
            with self.faults(spec):
                self._gathers[spec.name] = components.gather(spec.use).start(spec.name, spec.settings, self._context)
        return self._gathers[spec.name]

    def asker(self, spec: StepSpec) -> components.Asker:
        """A step that asks models; raises `ConfigError` where what it reads does not serve."""
        if spec.name not in self._askers:
            with self.faults(spec):
                self._askers[spec.name] = components.asker(spec.use).start(spec.name, spec.settings, self._context)
        return self._askers[spec.name]

    def _start(self, spec: StepSpec) -> components.Step:
        with self.faults(spec):
            return components.step(spec.use).start(spec.name, spec.settings, self._context)

    @contextmanager
    def faults(self, spec: StepSpec) -> Iterator[None]:
        """Lay what is wrong with a step at its line in the recipe, and at the key that names the file it reads.

        Raises `ConfigError`.
        """
        try:
            yield
        except (InputError, TemplateError) as error:
            key = [name for name, value in spec.settings if isinstance(value, Path)][:1]
            raise self.recipe.document.error((*spec.at, *key), str(error)) from None

    def check_steps(self, noted: Mapping[str, Mapping[str, int]]) -> None:
        """Raise `ConfigError` where what a step reads does not belong to the records."""
        for spec in self.recipe.every_step:
            step = self._steps.get(spec.name)
            if isinstance(step, components.Checking):
                with self.faults(spec):
                    step.check(noted.get(spec.name, {}))

    def read(self, part: Part, tally: Tally, unpacked: bytes | None = None) -> Iterator[Record]:
        """The records of a part, which are given where it is one of a file that was unpacked."""
        (spec,) = (spec for spec in self.recipe.sources if spec.name == part.source)
        rows = tally.station("read", readers.read(part) if unpacked is None else readers.unpacked(part, unpacked))
        return tally.unfolding("convert", _convert(rows, spec, tally))

    def decided(
        self, records: Iterable[Record], spec: StepSpec, decisions: Decisions, tally: Tally
    ) -> Iterator[Record]:
        """The records of a part, each as a gather decided."""
        gather = self.gather(spec)
        results: Iterator[Made] = (
            gather.take(record, decisions[position]) if position in decisions else record
            for position, record in enumerate(records)
        )
        return _counted(tally.unfolding(spec.name, results), spec.name, gather, tally)

    def segment(self, records: Iterable[Record], number: int, tally: Tally) -> Iterator[Record]:
        """Records through the steps of a segment."""
        for spec in self.recipe.segments[number].steps:
            step = self._steps[spec.name]
            passed: Iterator[Record] = tally.unfolding(spec.name, _step(records, step, spec.source))
            records = _counted(passed, spec.name, step, tally)
        return iter(records)

    @property
    def kind(self) -> Kind:
        """What the build is of."""
        return kinds.of(self.recipe.data.kind)

    def weighed(self, records: Iterable[Record], tally: Tally) -> Iterator[Trainable]:
        """Records at the end of all steps by their weights, which must be of the build's kind by now."""
        return tally.station("weigh", (self._weigh(record) for record in records))

    def encode(self, records: Iterable[Trainable], tally: Tally) -> Iterator[Encoded]:
        """Records as certified rows."""
        data, format_, kind = self.recipe.data, self.format, self.kind
        gate = Gate(format_.typed, format_.typed_in_answers) if data.special_tokens == "reject" else Gate()
        passed = tally.station("gate", (kind.check(record, gate) or record for record in records))
        rendered = tally.station("render", (kind.render(record, format_.renderer) for record in passed))
        encoded = tally.station("tokenize", kind.encode(rendered, format_.encoder, data.train_on))
        return tally.station("length", (_fits(item, kind.longest(item), data.max_tokens) for item in encoded))

    def _weigh(self, record: Record) -> Trainable | Reject:
        """Leave out or repeat a record by its source's weight; the eval side is never repeated."""
        wanted = self.kind.RECORD
        if not isinstance(record, Chat | Preference | Prompt) or not isinstance(record, wanted):
            way_out = _WAY_OUT.get((type(record), wanted))
            detail = f"{_IS[type(record)]}, and the build is of {_WANTED[wanted]}{f'; {way_out}' if way_out else ''}"
            return Reject(record.id, record.origin, "weigh", f"no_{wanted.__name__.lower()}", detail)
        (weight,) = (spec.entry.weight for spec in self.recipe.sources if spec.name == record.origin.source)
        if weight == 1:
            return record
        whole = int(weight)
        copies = record.copies * (whole + (seeds.share(self.recipe.data.seed, "weight", record.id) < weight - whole))
        if not copies:
            return Reject(record.id, record.origin, "weigh", "weight", f"left out by the source's weight of {weight}")
        return replace(record, copies=copies) if split_of(record, self.recipe) == "train" else record


def split_of(record: Record, recipe: Recipe) -> Split:
    """The side of the split, by a hash of the record's group, or of its task; without one, its source is its task."""
    split, seed = recipe.data.split, recipe.data.seed
    if not split.eval:
        return "train"
    names = ("split", group_of(record))
    if split.by == "task":
        names = ("split by task", task_of(record) or record.origin.source)
    return "eval" if seeds.share(seed, *names) < split.eval else "train"


def _convert(rows: Iterable[Row], spec: SourceSpec, tally: Tally) -> Iterator[Made]:
    convert: Callable[[Row, Any], Made] = components.source(spec.entry.use).convert
    used = Counter[str]()
    for row in rows:
        if spec.entry.columns:
            named = {ours: row.columns[name] for ours, name in spec.entry.columns.items() if name in row.columns}
            row = replace(row, columns=named)
        if spec.entry.vars:
            columns, keys = fill(row.columns, spec.entry.vars)
            used.update(keys)
            row = replace(row, columns=columns)
        yield convert(row, spec.settings)
    tally.noted[f"source {spec.name}"] = dict(used)


def _step(records: Iterable[Record], step: components.Step, source: str | None = None) -> Iterator[Made]:
    """Records through a step; those of other sources pass it by."""
    return (step.take(record) if source in (None, record.origin.source) else record for record in records)


def _counted(records: Iterator[Record], name: str, step: object, tally: Tally) -> Iterator[Record]:
    """Records that have gone through a step; what it counted is noted once all have."""
    yield from records
    if isinstance(step, components.Counting):
        tally.noted[name] = dict(step.noted())


def _fits(encoded: Encoded, longest: int, max_tokens: int) -> Encoded | Reject:
    if longest <= max_tokens:
        return encoded
    detail = f"{longest} tokens, and max_tokens is {max_tokens}"
    return Reject(encoded.record.id, encoded.record.origin, "length", "too_long", detail)
