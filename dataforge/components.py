"""Components are modules: a file in a growing folder is a component, and its name is the file's name.

A source module holds `Settings` (what a recipe may say to it) and `convert(row, settings)`. Where its files' names do
not say how they are read, it may hold `FORMAT = "blocks"`, or with settings `FORMAT = {"use": "csv", "header": False}`;
and `RECORDS_AT = "data"`, the key of the list that holds the records where a file is one JSON object, or `"*"` where
each of its values is one. One that only points at another source holds in place of `convert` a `Resolver` named
`resolve`.

A step module holds `Settings` and `start(name, settings, context) -> Step`, or a class `Gather` and the same `start ->
Gather` where the step needs to see more than one record at a time; one that needs it only under some settings says
when: `gathers(settings)`. What a step's settings have as `path` is a file that it reads; one that reads others holds
`reads(settings, folder)`, which lists them, and one whose work depends on the seed, the tokenizer or the split
`depends(settings)`, which names these. Steps and gathers may be `Counting` and `Checking`, and gathers `Linking`.

What a format module holds is told in `content`. An export module holds `columns(chat)`, `pair(preference)` or
`prompt(prompt)`, whichever it has a shape for, and what of a record they say.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args, runtime_checkable

import pyarrow as pa

from dataforge import config
from dataforge.assembly import Assembler
from dataforge.content import Content, Item
from dataforge.context import Context, Depends
from dataforge.llm.requests import Ask
from dataforge.records import Joined, Record, Reject, Row
from dataforge.shapes import Feature, Said

if TYPE_CHECKING:
    import duckdb

Kind = Literal["sources", "steps", "formats", "exports"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Made = Record | Reject | Joined | Sequence[Record | Reject]
"""What becomes of one record: at least one, why there is none, or that it is part of another."""


class Source(Protocol):
    """What a module in `sources/` holds."""

    Settings: type[config.Settings]
    """What a recipe may say to it."""

    def convert(self, row: Row, settings: config.Settings) -> Made:
        """One record as read becomes what it means; where it holds several, each is of a `piece` of the row.

        A module may list in `FILTERS` the reasons for which it leaves out what it can read, as its settings say: they
        do not count towards `max_reject_share`.
        """


Resolver = Callable[[Path, str | None], dict[str, Any]]
"""From a source's `path` and `name`, the keys of the source that it stands for. Raises `ValueError` for a fault."""


class Format(Protocol):
    """What a module in `formats/` holds."""

    SUFFIXES: tuple[str, ...]
    """The endings of file names that mean it."""
    Settings: type[config.Settings]
    """What a recipe may say to it."""

    def read(self, content: Content, settings: config.Settings) -> Iterator[Item]:
        """The records of a file with their lines. Raises `BrokenOffError` where nothing more can be read."""


class Step(Protocol):
    """A step at work on records that come one at a time."""

    def take(self, record: Record) -> Made:
        """What becomes of a record; those that are made of one have ids of their own."""


@runtime_checkable
class Counting(Protocol):
    """A step or gather that counts something for itself."""

    def noted(self) -> Mapping[str, int]:
        """What was counted since it was last asked; the counts of all parts are added up."""


@runtime_checkable
class Checking(Protocol):
    """A step that reads something which may not belong to the records."""

    def check(self, noted: Mapping[str, int]) -> None:
        """Called once all records have come, with all that it noted; raises `InputError` where it does not."""


class StepModule(Protocol):
    """What a module in `steps/` holds."""

    Settings: type[config.Settings]
    """What a recipe may say to it."""

    def start(self, name: str, settings: config.Settings, context: Context) -> Step:
        """Read what the step needs; its rejects carry `name`. Raises `InputError` where a file does not serve."""


class Gather(Protocol):
    """A step that needs to see more than one record at a time, through thin tables.

    All that it makes of them is integers and ids in a settled order, so that it does not depend on how the records
    were cut into parts, nor on threads.
    """

    def thin(self, records: Sequence[Record]) -> pa.Table:
        """What is needed of the records of one part: a column `position` int32, their number in it, and others."""

    def decide(self, connection: "duckdb.DuckDBPyConnection") -> pa.Table | pa.RecordBatchReader:
        """A line for each record that does not simply pass: `part`, `position` and more, sorted by both.

        Sees the view `thin`: the thin tables of all parts with a column `part` int32, their order. Where it is
        `Linking`, also `links`, the links of all cuts.
        """

    def take(self, record: Record, decision: Mapping[str, Any]) -> Made:
        """What becomes of a record that has a line."""


@runtime_checkable
class Linking(Protocol):
    """A gather that first finds what belongs together, which is done in several cuts where thin tables are large."""

    def link(self, connection: "duckdb.DuckDBPyConnection", cut: int, cuts: int) -> pa.Table | pa.RecordBatchReader:
        """What belongs together, of the keys whose hash falls into one of so many cuts; sees the view `thin`."""


class GatherModule(Protocol):
    """What a module in `steps/` holds whose step needs to see more than one record at a time."""

    Settings: type[config.Settings]
    """What a recipe may say to it."""

    def start(self, name: str, settings: config.Settings, context: Context) -> Gather:
        """The step; its rejects carry `name`."""


class Asker(Protocol):
    """A step that asks language models, whose module's class of this name says that it does."""

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Made:
        """What becomes of a record, once the models that are asked by their names have replied.

        It may ask as often as it needs, also at once. All that it makes follows from the record, its settings and the
        replies.
        """


class AskerModule(Protocol):
    """What a module in `steps/` holds whose step asks language models; `llm` in its settings names the model.

    One that asks several lists their names: `models(settings)`. One whose replies lead to further requests says to how
    many of each model one may lead at most: `later(settings)`. Where `reads` lists its prompts, they are part of what
    its work depends on.
    """

    Settings: type[config.Settings]
    """What a recipe may say to it."""

    def start(self, name: str, settings: config.Settings, context: Context) -> Asker:
        """The step; its rejects carry `name`."""


@dataclass(frozen=True)
class Layout:
    """How a module in `exports/` lays out the records of one kind of build."""

    suffix: str
    """Of the file: `.jsonl` or `.csv`."""
    holds: frozenset[str]
    """What the shape can say, of `shapes.CARRIED`; with `copies` among it, how often a record is trained on too."""
    features: Mapping[str, Feature]
    """The columns with their types, as the `datasets` library names them."""
    says: Callable[[Any], Said]
    """One record in this shape."""
    about: str
    """What it looks like, for a reader."""


_LAYOUTS = {"chat": ("columns", "FEATURES"), "pairs": ("pair", "PAIRS"), "prompts": ("prompt", "PROMPTS")}
"""By the kind of build: the names of the function and of its columns in an export module."""


def names(kind: Kind) -> list[str]:
    """The components there are, by their file names."""
    package = importlib.import_module(f"dataforge.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def source(name: str) -> Source:
    """The source of that name, which must be one of `names("sources")`."""
    return cast(Source, importlib.import_module(f"dataforge.sources.{name}"))


def format_of(name: str) -> tuple[str | dict[str, Any] | None, str | None]:
    """What the source of that name says of its files: its `FORMAT` and `RECORDS_AT`, None where it says nothing."""
    module = importlib.import_module(f"dataforge.sources.{name}")
    return getattr(module, "FORMAT", None), getattr(module, "RECORDS_AT", None)


def format_(name: str) -> Format:
    """The format of that name, which must be one of `names("formats")`."""
    return cast(Format, importlib.import_module(f"dataforge.formats.{name}"))


def binary(name: str) -> bool:
    """Whether files of that format are no text, so that they have no encoding: its module says `BINARY = True`."""
    return bool(getattr(importlib.import_module(f"dataforge.formats.{name}"), "BINARY", False))


def resolver(name: str) -> Resolver | None:
    """How the source of that name finds the source that it stands for; None for one that reads records itself."""
    return getattr(importlib.import_module(f"dataforge.sources.{name}"), "resolve", None)


def assembler(name: str) -> Assembler | None:
    """What makes the rows of the source of that name from all its files at once; None where they are its files'."""
    return getattr(importlib.import_module(f"dataforge.sources.{name}"), "assemble", None)


def step(name: str) -> StepModule:
    """The step of that name, which must be one of `names("steps")`."""
    return cast(StepModule, importlib.import_module(f"dataforge.steps.{name}"))


def layout(name: str, kind: str) -> Layout | None:
    """How the export shape of that name lays out builds of that kind; None where it has no place for them."""
    module = importlib.import_module(f"dataforge.exports.{name}")
    says, features = (getattr(module, each, None) for each in _LAYOUTS[kind])
    if says is None or features is None:
        return None
    about = module.__doc__ if kind == "chat" else inspect.getdoc(says)
    return Layout(module.SUFFIX, module.HOLDS, features, says, (about or "").strip())


def layouts(kind: str) -> dict[str, Layout]:
    """The export shapes for builds of that kind, by their names."""
    found = {name: layout(name, kind) for name in names("exports")}
    return {name: each for name, each in found.items() if each is not None}


def reads(name: str, settings: config.Settings, folder: Path) -> list[Path]:
    """The files that a step of that name reads under its settings."""
    listed = getattr(importlib.import_module(f"dataforge.steps.{name}"), "reads", None)
    if listed is not None:
        return list(listed(settings, folder))
    path = getattr(settings, "path", None)
    return [] if path is None else [path]


def depends(name: str, settings: config.Settings) -> tuple[Depends, ...]:
    """What the work of a step of that name depends on beside its settings and files."""
    asked = getattr(importlib.import_module(f"dataforge.steps.{name}"), "depends", None)
    return () if asked is None else cast(tuple[Depends, ...], asked(settings))


def gathers(name: str, settings: config.Settings) -> bool:
    """Whether a step of that name needs to see more than one record at a time under its settings."""
    module = importlib.import_module(f"dataforge.steps.{name}")
    asked = getattr(module, "gathers", None)
    return bool(asked(settings)) if asked is not None else hasattr(module, "Gather")


def asks(name: str) -> bool:
    """Whether a step of that name asks language models."""
    return hasattr(importlib.import_module(f"dataforge.steps.{name}"), "Asker")


def asker(name: str) -> AskerModule:
    """The step of that name, for which `asks` must hold."""
    return cast(AskerModule, importlib.import_module(f"dataforge.steps.{name}"))


def models(name: str, settings: Any) -> tuple[str, ...]:
    """The names of the models that a step of that name asks under its settings."""
    listed = getattr(importlib.import_module(f"dataforge.steps.{name}"), "models", None)
    return cast(tuple[str, ...], tuple(listed(settings)) if listed else (settings.llm,))


def later(name: str, settings: Any) -> Mapping[str, float]:
    """How many further requests of each model the reply to a first one of that step may lead to, at most."""
    listed = getattr(importlib.import_module(f"dataforge.steps.{name}"), "later", None)
    return cast(Mapping[str, float], listed(settings)) if listed else {}


def gather(name: str) -> GatherModule:
    """The step of that name, for which `gathers` must hold."""
    return cast(GatherModule, importlib.import_module(f"dataforge.steps.{name}"))


def filters(name: str) -> tuple[str, ...]:
    """The reasons for which the source of that name leaves out records that it can read."""
    found: tuple[str, ...] = getattr(importlib.import_module(f"dataforge.sources.{name}"), "FILTERS", ())
    return found


def summary(kind: Kind, name: str) -> str:
    """The first line of a component's docstring."""
    doc = importlib.import_module(f"dataforge.{kind}.{name}").__doc__ or ""
    return doc.strip().splitlines()[0]
