"""How much room a build will take, told beforehand from its first records."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dataforge import arrow_bytes, compression, record_table, row_table
from dataforge.content import BrokenOffError
from dataforge.folders import LocalFolder
from dataforge.frames import Frames
from dataforge.intake import Intake, Taken
from dataforge.line import Line
from dataforge.records import Chat
from dataforge.sample import first_records
from dataforge.unpack_tasks import AssemblyOrder

RECORDS = 200
"""Of each source."""
_LOOKED_AT = 2**22
WORTH_SAYING = 2**26
"""Bytes of input below which nobody asks."""


@dataclass(frozen=True)
class Need:
    """Bytes on disk."""

    build: int
    work: int
    """In `.work`, beside the build: shards and Parquet files stand in both under two names, and count once."""


def room(line: Line, intakes: Mapping[str, Intake], folder: LocalFolder, frames: Frames) -> str | None:
    """What a large build will need on disk and what is free, in a sentence; None for a small build.

    Files that are not on this machine are not counted.
    """
    sizes = input_sizes(intakes)
    if sum(size for _, size in sizes) < WORTH_SAYING:
        return None
    need, free = estimate(line, sizes, frames), shutil.disk_usage(folder.path).free
    whole = need.build + need.work
    said = f"about {_gigabytes(whole)} of disk, {_gigabytes(need.build)} of it for the build and the rest for .work"
    enough = "" if whole < free else ": perhaps not enough; what is done is kept where it ends"
    return f"needs {said}; {_gigabytes(free)} are free{enough}"


def estimate(line: Line, sizes: Sequence[tuple[bool, int]], frames: Frames) -> Need:
    """What a build of files of these sizes will need, from its first records."""
    sample = first_records(line, RECORDS, frames)
    table = record_table.to_table(sample.weighed)
    rows = row_table.in_order(
        ((row, item.record.copies) for item in sample.encoded for row in item.rows), line.recipe.data.seed
    )
    flags = np.zeros(sum(len(each.messages) for each in sample.weighed if isinstance(each, Chat)), dtype=np.uint8)
    shown = line.kind.to_records(table, flags)
    build = len(arrow_bytes.parquet(shown)) + 5 * int(rows.lengths.sum())
    work = len(arrow_bytes.stream(table, "lz4")) * len(line.recipe.segments) + len(row_table.write(rows))
    scale = sum(size for _, size in sizes) / sample.bytes
    return Need(round(build * scale), round(work * scale) + sum(size for unpacked, size in sizes if unpacked))


def input_sizes(intakes: Mapping[str, Intake]) -> list[tuple[bool, int]]:
    """Of each file, whether it is unpacked first, and its bytes; files that are joined are not told."""
    taken = [each for found in intakes.values() for each in found.taken]
    return [(each.scan is None, _size(each)) for each in taken if not isinstance(each.order, AssemblyOrder)]


def _size(taken: Taken) -> int:
    """The bytes of a file once it is decompressed, judged by its beginning; 0 where it is not on this machine."""
    if taken.scan is not None:
        return sum(span.end - span.start for span in taken.scan.spans)
    if not taken.path.is_file():
        return 0
    whole = taken.path.stat().st_size
    with taken.path.open("rb") as raw:
        packed = compression.compressed(raw.read(6))
        raw.seek(0)
        if not packed:
            return whole
        try:
            with compression.opened(raw) as file:
                found = len(file.read(_LOOKED_AT))
                return whole * found // max(1, raw.tell())
        except BrokenOffError:
            return whole


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
