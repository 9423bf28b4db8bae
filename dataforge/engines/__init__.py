"""Where the tasks of a build are run: one file an engine.

An engine module holds `start(site, workers) -> Engine`.
"""

import importlib
import os
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def opened(name: str, site: Site, workers: int) -> Iterator[Engine]:
    """An engine at work for one site."""
    engine: Engine = importlib.import_module(f"{__name__}.{name}").start(site, workers)
    try:
        yield engine
    finally:
        engine.close()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
