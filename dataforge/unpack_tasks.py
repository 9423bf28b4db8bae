"""Tasks that unpack what cannot be read where it lies: a file, a shard of a hub's data set, files that are joined."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dataforge import assembly, components, readers, remote, unpack
from dataforge.config import Settings
from dataforge.errors import InputError
from dataforge.places import File
from dataforge.remote import CONTENT
from dataforge.shards import sha256_of
from dataforge.source_entry import Reading
from dataforge.stages import Facts, Ingredients, Result, Work
from dataforge.tasks import Site
from dataforge.unpack import Found, Notes


class Order(Protocol):
    """Something to be unpacked."""

    @property
    def ingredients(self) -> Ingredients:
        """What decides the parts that come of it."""

    def records(self, work: Work, notes: Notes) -> Iterator[Found]:
        """Read all of it."""


@dataclass(frozen=True)
class FileOrder:
    """A file that lies on this machine, or was fetched into the stage cache."""

    file: File
    sha256: str
    """Of the file, or of the commit that it belongs to."""
    reading: Reading
    fetched: str | None = None
    """The key of the stage that holds it; a file behind a URL without one is read from there."""

    def __str__(self) -> str:
        return f"the file {self.file.shown}"

    @property
    def ingredients(self) -> Ingredients:
        """Its bytes, and how they are read; its name may say that as well."""
        reading = self.reading
        how = [reading.format, dict(reading.settings), reading.stated, reading.records_at, reading.encoding]
        return {"the file": self.sha256, "its name": self.file.name, "how it is read": how}

    def records(self, work: Work, notes: Notes) -> Iterator[Found]:
        """Read it. Raises `InputError` where it is no longer what it was, or cannot be read."""
        with ExitStack() as stack:
            scratch = stack.enter_context(work.folder.scratch())
            if self.file.inner is not None and self.fetched is None:
                yield from unpack.streamed(self.file, lambda: remote.opened(self.file), self.reading, scratch, notes)
                return
            path = _unchanged(self, work, stack)
            yield from unpack.records(self.file, path, self.reading, scratch, notes)


@dataclass(frozen=True)
class Input:
    """One of the files that are joined, on this machine or in the stage cache."""

    file: File
    sha256: str
    fetched: str | None = None
    """The key of the stage that holds it."""


@dataclass(frozen=True)
class AssemblyOrder:
    """All files of a source that joins them."""

    source: str
    """The source's name in the recipe."""
    use: str
    settings: Settings
    inputs: tuple[Input, ...]
    """Sorted by name."""

    def __str__(self) -> str:
        return f"the {len(self.inputs)} files of {self.source}"

    @property
    def ingredients(self) -> Ingredients:
        """Their bytes and names, and what the recipe says to the source."""
        named = [[each.file.name, each.sha256] for each in self.inputs]
        return {"the files": named, "the source's settings": [self.use, assembly.settled(self.settings)]}

    def records(self, work: Work, notes: Notes) -> Iterator[Found]:
        """Join them. Raises `InputError` where one is no longer what it was, or does not serve."""
        with ExitStack() as stack:
            scratch = stack.enter_context(work.folder.scratch())
            files = [(each.file.name, _unchanged(each, work, stack)) for each in self.inputs]
            yield from assembled(self.use, files, self.settings, scratch, notes)


def _unchanged(given: "FileOrder | Input", work: Work, stack: ExitStack) -> Path:
    """Where a file lies on this machine. Raises `InputError` where it is no longer what it was."""
    path = Path(given.file.place)
    if given.fetched is not None:
        (path,) = stack.enter_context(work.folder.local([work.name(given.fetched, CONTENT)]))
    with readers.readable(path):
        if sha256_of(path) != given.sha256:
            raise InputError(f"{given.file.shown}: has changed since the build began; run it again")
    return path


def assembled(use: str, files: assembly.Files, settings: Settings, scratch: Path, notes: Notes) -> Iterator[Found]:
    """The rows that a source makes of all its files at once. Raises `InputError` where there is none."""
    assemble = components.assembler(use)
    if assemble is None:
        raise RuntimeError(f"the source {use} does not join files")
    tally, rows = assembly.Assembly(), 0
    for number, value in assemble(files, settings, scratch, tally):
        rows += 1
        yield "", number, value
    tally.check(rows)
    if not rows:
        listed = ", ".join(name for name, _ in files[:3]) + (f" and {len(files) - 3:,} more" if len(files) > 3 else "")
        if not tally.read:
            raise InputError(f"{listed}: holds no records")
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in tally.rejected.most_common(5))
        raise InputError(
            f"{listed}: of the {tally.read:,} records in them no thread is left ({reasons}); let the settings of "
            f"`use: {use}` leave out less, or name other files"
        )
    notes.texts.extend(tally.notes)
    notes.assembled.update(tally.counts())


@dataclass(frozen=True)
class UnpackTask:
    """One order."""

    order: Order
    key: str

    def __str__(self) -> str:
        return str(self.order)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its parts."""
        return (self.key,)

    def run(self, site: Site) -> list[Facts]:
        """Read it and write its parts, saying of each what `readers.Span` wants to know."""
        return [site.work.once(self.key, lambda: made(self.order, site.work))]


def made(order: Order, work: Work) -> Result:
    """The parts of an order, which are made while they are taken."""
    notes = Notes()
    facts: Facts = {"parts": [], "notes": notes.texts, "assembled": notes.assembled}
    return unpack.parts(order.records(work, notes), facts["parts"]), facts
