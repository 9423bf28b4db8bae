"""The first records of each source, without more being read or unpacked than they take."""

import io
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataforge import components, compression, frames, intake, readers, remote, unpack, unpack_tasks
from dataforge.content import BrokenOffError
from dataforge.errors import InputError
from dataforge.frames import Frames
from dataforge.places import File, Listing
from dataforge.readers import Part
from dataforge.recipe import SourceSpec
from dataforge.unpack import Found, Notes

BEGINNING = 2**26
"""Decompressed bytes of each file that are joined to show the first rows of a source that joins files."""
SHRINKS = 16
"""How much smaller a compressed file may be than what is in it."""


@dataclass(frozen=True)
class Head:
    """The first records of a file."""

    part: Part
    unpacked: bytes | None = None
    """The records as unpacking would write them, where they are not read where they lie."""


def of(spec: SourceSpec, limit: int, given: Frames) -> list[Head]:
    """At most so many first records of a source, from as many of its files as it takes.

    Raises `InputError` where there is none.
    """
    found: list[Head] = []
    left, number = limit, 0
    if spec.entry.frame is not None:
        items = itertools.islice(frames.records(frames.of(spec, given)), limit)
        return list(_unpacked(spec, File(spec.entry.frame, spec.entry.frame), items))
    spec, listing = intake.listed(spec)
    if components.assembler(spec.entry.use) is not None:
        return _joined(spec, listing, limit)
    for file in listing.files:
        for head in _of_file(spec, file, left):
            part = Part(spec.name, head.part.path, head.part.span, head.part.name, number)
            found.append(Head(part, head.unpacked))
            number, left = number + 1, left - head.part.span.records
        if left <= 0:
            break
    if not found:
        raise InputError(f"source {spec.name}: holds no records")
    return found


def _joined(spec: SourceSpec, listing: Listing, limit: int) -> list[Head]:
    """The first rows that come of joining the beginnings of all files, or of the files themselves where none does."""
    name = intake.name_of_joined(spec, listing)
    shown = File(name, spec.name)
    with tempfile.TemporaryDirectory(prefix="forge-") as place:
        folder = Path(place)
        for most in (BEGINNING, None):
            files, cut = [], False
            for number, file in enumerate(intake.joined(spec, listing)):
                path, shorter = _beginning(file, folder / str(number), most)
                files.append((file.name, path))
                cut = cut or shorter
            scratch = folder / f"scratch {most}"
            scratch.mkdir()
            rows = unpack_tasks.assembled(spec.entry.use, files, spec.settings, scratch, Notes())
            try:
                found = list(_unpacked(spec, shown, itertools.islice(rows, limit)))
            except InputError:
                # Beginnings may be refused for what follows in the files.
                if not cut:
                    raise
                found = []
            if found or not cut:
                break
    return found


def _beginning(file: File, copy: Path, most: int | None) -> tuple[Path, bool]:
    """A file's first whole lines, decompressed, and whether there are more; itself where it is small, or without limit.

    A file of another machine is copied from there.
    """
    here = Path(file.place)
    if file.inner is None and (most is None or here.stat().st_size < most // SHRINKS):
        return here, False
    try:
        with copy.open("wb") as target, compression.opened(_raw(file)) as opened:
            if most is None:
                shutil.copyfileobj(opened, target, 2**20)
                return copy, False
            head = opened.read(most)
            cut = len(head) == most
            target.write(head[: head.rfind(b"\n") + 1] if cut and b"\n" in head else head)
    except BrokenOffError as error:
        raise InputError(f"{file.shown}: {error}") from None
    return copy, cut


def _raw(file: File) -> io.BufferedReader:
    return Path(file.place).open("rb") if file.inner is None else remote.opened(file)


def _of_file(spec: SourceSpec, file: File, limit: int) -> Iterator[Head]:
    path = Path(file.place)
    if file.inner is None and intake.in_place(spec, file, path):
        for span in readers.scan(path, limit).spans:
            yield Head(Part(spec.name, path, span, file.name))
        return
    with tempfile.TemporaryDirectory(prefix="forge-") as scratch:
        yield from _unpacked(spec, file, itertools.islice(_items(spec, file, Path(scratch)), limit))


def _items(spec: SourceSpec, file: File, scratch: Path) -> Iterator[Found]:
    if file.inner is None:
        return unpack.records(file, Path(file.place), spec.reading, scratch, Notes())
    return unpack.streamed(file, lambda: remote.opened(file), spec.reading, scratch, Notes())


def _unpacked(spec: SourceSpec, file: File, items: Iterator[Found]) -> Iterator[Head]:
    facts: list[dict[str, Any]] = []
    for _, content in unpack.parts(items, facts):
        inner = facts[-1]["file"]
        name = f"{file.name}/{inner}" if inner else file.name
        yield Head(Part(spec.name, Path(file.place), intake.span(facts[-1]), name), content)
