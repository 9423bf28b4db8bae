"""Components are modules: a file in a growing folder is a component, and its name is the file's name.

A source module holds `Settings` (what a recipe may say to it) and `convert(row, settings) -> Chat | Reject`; a step
module `Settings` and `start(name, settings) -> Step`. What a step's settings have as `path` is a file that it reads.
"""

import importlib
import pkgutil
from typing import Literal, Protocol, cast, get_args

from dataforge import config
from dataforge.records import Chat, Reject, Row

Kind = Literal["sources", "steps"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Source(Protocol):
    """What a module in `sources/` holds."""

    Settings: type[config.Settings]
    """What a recipe may say to it."""

    def convert(self, row: Row, settings: config.Settings) -> Chat | Reject:
        """One record as read becomes what it means."""


class Step(Protocol):
    """A step at work on the records of one build, which come one at a time."""

    def take(self, chat: Chat) -> Chat | Reject:
        """What becomes of a record."""

    def finish(self) -> None:
        """Called once all records have come; raises `InputError` where what the step reads does not belong to them."""


class StepModule(Protocol):
    """What a module in `steps/` holds."""

    Settings: type[config.Settings]
    """What a recipe may say to it."""

    def start(self, name: str, settings: config.Settings) -> Step:
        """Read what the step needs; its rejects carry `name`. Raises `InputError` where a file does not serve."""


def names(kind: Kind) -> list[str]:
    """The components there are, by their file names."""
    package = importlib.import_module(f"dataforge.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def source(name: str) -> Source:
    """The source of that name, which must be one of `names("sources")`."""
    return cast(Source, importlib.import_module(f"dataforge.sources.{name}"))


def step(name: str) -> StepModule:
    """The step of that name, which must be one of `names("steps")`."""
    return cast(StepModule, importlib.import_module(f"dataforge.steps.{name}"))


def summary(kind: Kind, name: str) -> str:
    """The first line of a component's docstring."""
    doc = importlib.import_module(f"dataforge.{kind}.{name}").__doc__ or ""
    return doc.strip().splitlines()[0]
