"""Where the tasks of a build are run: one file an engine.

An engine module holds `start(site, workers) -> Engine`.
"""

import importlib
import os
import pkgutil
from collections.abc import Iterator, Sequence
from typing import Protocol

from dataforge.stages import Facts
from dataforge.tasks import Site, Task


class Engine(Protocol):
    """Runs tasks that know nothing of each other."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, list[Facts]]]:
        """What each task reports, with its number, as they end. Raises what a task raises."""

    def close(self) -> None:
        """Stop at once whatever is being done."""


def names() -> list[str]:
    """The engines there are, by their file names."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


class Opened:
    """An engine for one site, which starts when it is first asked for something, or before."""

    def __init__(self, name: str, site: Site, workers: int) -> None:
        self._name, self._site, self._workers = name, site, workers
        self._engine: Engine | None = None

    def start(self) -> Engine:
        """The engine at work."""
        if self._engine is None:
            self._engine = importlib.import_module(f"{__name__}.{self._name}").start(self._site, self._workers)
        return self._engine

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, list[Facts]]]:
        """What each task reports, with its number, as they end."""
        return self.start().run(tasks)

    def close(self) -> None:
        """Stop at once whatever is being done."""
        if self._engine is not None:
            self._engine.close()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
