"""What a source does that joins the rows of several files: it counts what becomes of them, and may ask a database.

A source module that holds `assemble(files, settings, scratch, tally)` is given all files of a source at once, and what
it makes of them are the rows that its `convert` reads. The station `threads` of the funnel counts what it reads.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dataforge import config
from dataforge.content import Fault
from dataforge.errors import BuildError, first_line

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")
STATION = "threads"
"""Of the funnel, before all others; what it rejects is counted and not listed."""
MEMORY = "768MB"
"""That a database may take before it spills to disk."""
Files = Sequence[tuple[str, Path]]
"""Names of files, sorted, and where they lie on this machine."""
Rows = Iterator[tuple[int, dict[str, Any] | Fault]]
"""Rows with their numbers, from 1; a fault says in its sentence which file and line it is in."""


@dataclass
class Assembly:
    """What became of the records of files that were joined, and what is to be said of them."""

    read: int = 0
    passed: int = 0
    """Rows that were made, those that are faults among them."""
    joined: int = 0
    """Records that became part of a row that another one stands for."""
    rejected: Counter[str] = field(default_factory=Counter)
    """By reason."""
    notes: list[str] = field(default_factory=list)

    def count(
        self, *, read: int = 0, passed: int = 0, joined: int = 0, rejected: Mapping[str, int] | None = None
    ) -> None:
        """Add to the counts; in the end all that was read has passed, was joined or was rejected."""
        self.read += read
        self.passed += passed
        self.joined += joined
        self.rejected.update({reason: count for reason, count in (rejected or {}).items() if count})

    def note(self, sentence: str) -> None:
        """Say something to the user."""
        self.notes.append(sentence)

    def check(self, rows: int) -> None:
        """Raise `RuntimeError` where the counts do not add up, or are not those of the rows that were made."""
        if self.passed != rows or self.read != self.passed + self.joined + self.rejected.total():
            raise RuntimeError(
                f"{self.read} records read, {self.passed} passed, {self.joined} joined and {self.rejected.total()} "
                f"rejected do not add up, or are not those of {rows} rows"
            )

    def counts(self) -> dict[str, Any]:
        """The counts as a station of the funnel has them."""
        return {
            "read": self.read,
            "passed": self.passed,
            "joined": self.joined,
            "rejected": dict(sorted(self.rejected.items())),
        }


Assembler = Callable[[Files, Any, Path, Assembly], Rows]
"""`assemble(files, settings, scratch, tally)`; `scratch` is a folder to itself. Raises `InputError` for a file that
does not serve."""


@contextmanager
def database(scratch: Path, name: str = "", memory: str = MEMORY) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A database of its own that spills to `scratch`; it keeps no order that a query does not say.

    With a name its tables are a file there, which takes less memory where they are large.

    Raises `BuildError` where there is no room.
    """
    import duckdb  # takes a fifth of a second

    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(scratch),
        "preserve_insertion_order": "false",
    }
    try:
        with duckdb.connect(str(scratch / name) if name else ":memory:", config=settings) as opened:
            opened.execute("SET enable_progress_bar = false")
            yield opened
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise BuildError(f"{first_line(error)}; make room and run the same command again") from None


def asked(opened: "duckdb.DuckDBPyConnection", ask: "Callable[[duckdb.DuckDBPyConnection], T]") -> T:
    """What is asked of a database.

    A query does not hear an interrupt from the keyboard, so it runs in a thread, and whoever waits for it tells it.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(ask, opened).result()
        except KeyboardInterrupt:
            opened.interrupt()
            raise


def settled(settings: config.Settings) -> dict[str, Any]:
    """The settings of a source as JSON values: what its rows depend on beside its files."""
    return settings.model_dump(mode="json")
