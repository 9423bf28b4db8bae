"""The records of a build in the shape that another program takes: a file, or a folder with its dataset card.

Records come in the build's order, one at a time. A record that is trained on several times is written as often, where
the shape has no number for it. What a shape cannot say is counted, and where it cannot hold a record at all, nothing is
written unless such records may be left out.
"""

import csv
import io
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from dataforge import card, components, kinds, shapes, shards
from dataforge.errors import BuildError
from dataforge.folders import Folder, at
from dataforge.records import Trainable
from dataforge.shards import SPLITS, Manifest, Split

_RECORDS_PER_BATCH = 256
_SUFFIXES = (".json", ".jsonl", ".csv")
_OURS = {"data", "README.md", "manifest.json"}
"""What an exported folder holds."""


@dataclass
class Written:
    """What became of the records."""

    target: str
    kind: str
    """Of the build."""
    place: Path
    """The file or folder."""
    lines: dict[Split, int] = field(default_factory=dict)
    """Of each split that holds any."""
    records: int = 0
    repetitions: int = 0
    """Lines that say a record again, because it is trained on several times."""
    lost: Counter[str] = field(default_factory=Counter)
    """Records of which the shape does not say something, by what it is: a name of `shapes.CARRIED`."""
    unfit: int = 0
    """Records that the shape cannot hold."""
    first_unfit: str = ""
    """Which the first of them is, and why."""


def export(
    build: str, target: str, out: Path | None, splits: Iterable[Split] = SPLITS, *, lossy: bool, force: bool
) -> Written:
    """Write the records of a build in the shape `target`, one of `components.names("exports")`.

    A path that ends with the suffix of a data file becomes one file, any other a folder with a file for each split,
    the dataset card and the manifest. Raises `BuildError` where there is no build, the shape has no place for its
    kind, something stands at the place and may not be replaced, or a record does not fit and may not be left out.
    """
    folder = at(build)
    manifest = _manifest(folder)
    shape = _layout(build, target, manifest.kind)
    place = out or Path("exports") / f"{manifest.name}-{target.replace('_', '-')}"
    place = place if place.name else place.resolve()
    as_file = _is_file(place, shape.suffix)
    _make_way(place, as_file=as_file, force=force)
    written = Written(target, manifest.kind, place)
    files = {split: _records_of(folder, split) for split in splits}
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent) as scratch:
        made = Path(scratch) / place.name
        said = {
            split: _said(written, split, shape, _read(folder, manifest.kind, names))
            for split, names in files.items()
            if names
        }
        if as_file:
            _write(made, itertools.chain.from_iterable(said.values()), shape)
        else:
            for split, of_split in said.items():
                _write(made / "data" / f"{split}{shape.suffix}", of_split, shape)
        _hold(written, build, splits, lossy=lossy)
        if not as_file:
            lost = list(lost_of(written))
            text = card.of_export(manifest, card.Exported(shape, written.lines, lost))
            (made / "README.md").write_text(text, encoding="utf-8")
            (made / "manifest.json").write_bytes(folder.read("manifest.json"))
        _put(made, place, Path(scratch) / "before")
    return written


def lost_of(written: Written) -> Iterator[str]:
    """What the shape does not say, of how many records, and which shapes do."""
    others = components.layouts(written.kind)
    for name, count in written.lost.items():
        kept = [target for target, other in others.items() if name in other.holds]
        yield f"{shapes.CARRIED[name]} of {count:,} records (kept by {', '.join(kept)})"


def _layout(build: str, target: str, kind: str) -> components.Layout:
    found = components.layout(target, kind)
    if found is None:
        others = ", ".join(components.layouts(kind))
        what = {"chat": "conversations", "pairs": "pairs", "prompts": "prompts"}[kind]
        raise BuildError(f"{build}: is a build of {what}, for which {target} has no shape; `--to` one of {others}")
    return found


def _manifest(folder: Folder) -> Manifest:
    try:
        content = folder.read("manifest.json")
    except (FileNotFoundError, NotADirectoryError):
        raise BuildError(
            f"{folder.url}: no finished build here (no manifest.json); run `forge build RECIPE` first"
        ) from None
    return shards.parse_manifest(content, f"{folder.url}/manifest.json")


def _is_file(place: Path, suffix: str) -> bool:
    if place.suffix != suffix and place.suffix in _SUFFIXES:
        raise BuildError(f"{place}: this shape is written as {suffix}; name it {place.with_suffix(suffix).name}")
    return place.suffix == suffix


def _make_way(place: Path, *, as_file: bool, force: bool) -> None:
    """Refuse a place where something stands, unless it may be replaced and is of the same kind."""
    if not place.exists() or (place.is_dir() and not as_file and not any(place.iterdir())):
        return
    if not force:
        raise BuildError(f"{place}: is there already; name another place with --out, or replace it with --force")
    if as_file and not place.is_file():
        raise BuildError(f"{place}: is no file, so --force does not replace it; name another place with --out")
    if not as_file and not (place.is_dir() and {path.name for path in place.iterdir()} <= _OURS):
        raise BuildError(
            f"{place}: holds other things than an export, so --force does not replace it; name another place with --out"
        )


def _put(made: Path, place: Path, aside: Path) -> None:
    """Give what is whole its name; an older folder has to be moved aside for that."""
    if place.is_dir():
        place.rename(aside)
    made.replace(place)


def _records_of(folder: Folder, split: Split) -> list[str]:
    return [name for name in folder.sizes("records") if name.startswith(f"records/{split}-")]


def _read(folder: Folder, kind: str, names: Iterable[str]) -> Iterator[Trainable]:
    known = kinds.of(kind)
    for name in names:
        with folder.open(name) as opened, pq.ParquetFile(opened, pre_buffer=False) as file:
            if not file.schema_arrow.equals(known.RECORDS):
                raise BuildError(f"{folder.url}/{name}: the columns are not those of a build of {kind}; build again")
            for batch in file.iter_batches(_RECORDS_PER_BATCH):
                yield from known.from_records(batch)


def _said(
    written: Written, split: Split, shape: components.Layout, records: Iterable[Trainable]
) -> Iterator[dict[str, Any]]:
    """The records in the shape, as often as they are trained on; what is lost is counted."""
    for record in records:
        found = shape.says(record)
        if isinstance(found, str):
            written.unfit += 1
            place = f"{record.origin.file}:{record.origin.line}"
            written.first_unfit = written.first_unfit or f"{record.id} ({place}): {found}"
            continue
        written.lost.update(name for name in shapes.carried(record) if name not in shape.holds)
        lines = [found] if isinstance(found, dict) else found
        times = 1 if "copies" in shape.holds else record.copies
        written.records += 1
        written.repetitions += (times - 1) * len(lines)
        written.lines[split] = written.lines.get(split, 0) + times * len(lines)
        for _ in range(times):
            yield from lines


def _write(path: Path, said: Iterable[dict[str, Any]], shape: components.Layout) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = _FORMATS[shape.suffix]
    with path.open("wb") as file:
        file.writelines(encode(said, list(shape.features)))
        file.flush()
        os.fsync(file.fileno())


def _json_lines(said: Iterable[dict[str, Any]], _: list[str]) -> Iterator[bytes]:
    return (orjson.dumps(columns) + b"\n" for columns in said)


def _csv_lines(said: Iterable[dict[str, Any]], header: list[str]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header, quoting=csv.QUOTE_ALL, lineterminator="\n")
    yield "\ufeff".encode()
    writer.writeheader()
    for columns in said:
        writer.writerow(columns)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


_FORMATS: dict[str, Callable[[Iterable[dict[str, Any]], list[str]], Iterator[bytes]]] = {
    ".jsonl": _json_lines,
    ".csv": _csv_lines,
}


def _hold(written: Written, build: str, splits: Iterable[Split], *, lossy: bool) -> None:
    """Raise where records do not fit and may not be left out, or none is left."""
    if written.unfit and not lossy:
        raise BuildError(
            f"{build}: {written.unfit:,} of {written.unfit + written.records:,} records do not fit {written.target}, "
            f"the first being {written.first_unfit}; `--to openai` holds every record, --lossy leaves these out"
        )
    if not written.records:
        why = f"; none fits, the first being {written.first_unfit}" if written.unfit else ""
        raise BuildError(f"{build}: there is no record of {' or '.join(splits)} to write{why}")
