"""What a build takes in: the files of each source, each read where it lies or to be unpacked."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataforge import components, compression, frames, hub, places, readers, reading
from dataforge.errors import InputError
from dataforge.frames import Frames
from dataforge.inputs import Files
from dataforge.places import File, Listing
from dataforge.readers import Part, Scan, Span
from dataforge.recipe import SourceSpec
from dataforge.records import canonical_json
from dataforge.stages import Facts, Work
from dataforge.unpack_tasks import AssemblyOrder, FileOrder, Input, Order


@dataclass(frozen=True)
class Taken:
    """One file of a source."""

    name: str
    sha256: str
    """Of all that decides what its records are."""
    path: Path
    scan: Scan | None = None
    """Where it is read where it lies."""
    order: Order | None = None
    """Where it is to be unpacked."""


@dataclass(frozen=True)
class Intake:
    """All files of a source in their order."""

    taken: tuple[Taken, ...]
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of a single file its own; of several, a hash of their names and hashes."""
        if len(self.taken) == 1:
            return self.taken[0].sha256
        return hashlib.sha256(canonical_json([[each.name, each.sha256] for each in self.taken])).hexdigest()


def of(spec: SourceSpec, files: Files, work: Work, given: Frames) -> Intake:
    """Look at all files of a source, or its frame.

    Raises `InputError` where there is none, or one cannot be read.
    """
    if spec.entry.frame is not None:
        order = frames.unpacked(spec, given, work)
        return Intake((Taken(order.name, order.sha256, Path(order.name), order=order),))
    spec, listing = listed(spec)
    if components.assembler(spec.entry.use) is not None:
        return Intake((_joined(spec, listing, files, work),))
    notes = [f"source {spec.name}: {name} is not read, as its name says no known format" for name in listing.skipped]
    taken = []
    for file in listing.files:
        if len(listing.files) > 1 and _is_blank(file):
            notes.append(f"source {spec.name}: {file.name} holds no records")
            continue
        taken.append(_taken(spec, file, files, work))
    if not taken:
        raise InputError(f"source {spec.name}: its {len(listing.files)} files hold no records")
    return Intake(tuple(taken), tuple(notes))


def listed(spec: SourceSpec) -> tuple[SourceSpec, Listing]:
    """The files of a source, with how they are read where a hub says it.

    Raises `InputError` where there is none.
    """
    if not spec.places:
        found = hub.files(spec.entry)
        known = spec.reading
        if known.format is None and found.delimiter is not None:
            known = replace(known, format="csv", settings={"delimiter": found.delimiter})
        known = replace(known, records_at=found.records_at or known.records_at)
        return replace(spec, reading=known), Listing(found.files)
    return spec, places.listed(spec.places, spec.reading.stated)


def _joined(spec: SourceSpec, listing: Listing, files: Files, work: Work) -> Taken:
    """All files of a source as one."""
    inputs = []
    for file in joined(spec, listing):
        if file.inner is None:
            inputs.append(Input(file, files.sha256(Path(file.place))))
        else:
            inputs.append(Input(file, *files.fetched(file, work)))
    order = AssemblyOrder(spec.name, spec.entry.use, spec.settings, tuple(inputs))
    sha256 = hashlib.sha256(canonical_json([[each.file.name, each.sha256] for each in inputs])).hexdigest()
    return Taken(name_of_joined(spec, listing), sha256, Path(inputs[0].file.place), order=order)


def joined(spec: SourceSpec, listing: Listing) -> list[File]:
    """The files of a source that joins them, sorted by name.

    Raises `InputError` for an archive, and where the recipe says of its files what no such source can heed.
    """
    for key in ("encoding", "columns"):
        if getattr(spec.entry, key):
            raise InputError(
                f"source {spec.name}: `use: {spec.entry.use}` reads its files by itself; leave out `{key}`"
            )
    for file in listing.files:
        if compression.archive(file.name) is not None:
            raise InputError(f"{file.shown}: is an archive; unpack it first, so that its files can be read together")
    return sorted(listing.files, key=lambda file: file.name)


def name_of_joined(spec: SourceSpec, listing: Listing) -> str:
    """What the rows of joined files say that they are from: the file where it is one, else the source."""
    return listing.files[0].name if len(listing.files) == 1 else spec.name


def _taken(spec: SourceSpec, file: File, files: Files, work: Work) -> Taken:
    path = Path(file.place)
    if file.inner is not None:
        committed = hub.commit(file)
        if committed is not None:
            sha256 = hashlib.sha256(committed.encode()).hexdigest()
            return Taken(file.name, sha256, path, order=FileOrder(file, sha256, spec.reading))
        sha256, key = files.fetched(file, work)
        return Taken(file.name, sha256, path, order=FileOrder(file, sha256, spec.reading, key))
    with readers.readable(path):
        if in_place(spec, file, path):
            scan = files.scan(path)
            return Taken(file.name, scan.sha256, path, scan)
    sha256 = files.sha256(path)
    return Taken(file.name, sha256, path, order=FileOrder(file, sha256, spec.reading))


def in_place(spec: SourceSpec, file: File, path: Path) -> bool:
    """Whether a file of this machine is read where it lies, and not unpacked.

    Raises `InputError` where it cannot be read.
    """
    with readers.readable(path):
        try:
            return reading.in_place(spec.reading, file.name, path)
        except InputError as error:
            raise InputError(f"{file.shown}: {error}") from None


def parts(
    spec: SourceSpec, taken: Sequence[Taken], unpacked: Mapping[tuple[str, int], tuple[str, Facts]]
) -> list[Part]:
    """The parts of a source's files in their order, once they are unpacked, as told by source and number.

    Raises `InputError` where there is none.
    """
    found: list[Part] = []
    number = 0
    for at, each in enumerate(taken):
        if each.scan is not None:
            found += [Part(spec.name, each.path, span, each.name, number) for span in each.scan.spans]
        if each.order is not None:
            key, facts = unpacked[spec.name, at]
            of_file = sorted(enumerate(facts["parts"]), key=lambda item: (item[1]["file"], item[1]["ordinal"]))
            last = None
            for output, part in of_file:
                number += last is not None and part["file"] != last
                last = part["file"]
                name = f"{each.name}/{last}" if last else each.name
                found.append(Part(spec.name, each.path, span(part), name, number, (key, f"{output}.jsonl")))
        number += 1
    if not found:
        named = taken[0].name if len(taken) == 1 else f"its {len(taken)} files"
        raise InputError(f"source {spec.name}: {named}: holds no records")
    return found


def span(part: Mapping[str, Any]) -> Span:
    """What `unpack.parts` tells of a part."""
    told = {name: part[name] for name in ("ordinal", "line", "records", "hash")}
    return Span(0, part["size"], array=False, **told)


def _is_blank(file: File) -> bool:
    if file.inner is not None:
        return False
    path = Path(file.place)
    with readers.readable(path), path.open("rb") as opened:
        return not opened.read(4096).removeprefix(b"\xef\xbb\xbf").strip()
