"""Components are modules: a file in a growing folder is a component, and its name is the file's name.

A source module holds `Settings` (what a recipe may say to it) and `convert(row, settings) -> Chat | Reject`.
"""

import importlib
import pkgutil
from typing import Literal, Protocol, cast

from dataforge import config
from dataforge.records import Chat, Reject, Row

Kind = Literal["sources"]
KINDS: tuple[Kind, ...] = ("sources",)


class Source(Protocol):
    """What a module in `sources/` holds."""

    Settings: type[config.Settings]
    """What a recipe may say to it."""

    def convert(self, row: Row, settings: config.Settings) -> Chat | Reject:
        """One record as read becomes what it means."""


def names(kind: Kind) -> list[str]:
    """The components there are, by their file names."""
    package = importlib.import_module(f"dataforge.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def source(name: str) -> Source:
    """The source of that name, which must be one of `names("sources")`."""
    return cast(Source, importlib.import_module(f"dataforge.sources.{name}"))


def summary(kind: Kind, name: str) -> str:
    """The first line of a component's docstring."""
    doc = importlib.import_module(f"dataforge.{kind}.{name}").__doc__ or ""
    return doc.strip().splitlines()[0]
