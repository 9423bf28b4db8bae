"""What one process does at a time. Each task knows the key of what it makes, and makes nothing that is there.

A task is sent to a process as it stands here; what it reports back is small. Records, rows and windows go through the
stage cache only.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson
import pyarrow as pa

from dataforge import (
    arrow_bytes,
    components,
    diversity,
    gathers,
    line,
    record_table,
    report,
    row_table,
)
from dataforge.folders import at
from dataforge.line import Decisions, Line
from dataforge.readers import Part
from dataforge.recipe import Recipe
from dataforge.records import Chat, Preference, Prompt, Record, Trainable
from dataforge.shards import SPLITS, Split
from dataforge.stages import Facts, Result, Work
from dataforge.tally import Tally
from dataforge.tokenize import Encoded, Row

if TYPE_CHECKING:
    from dataforge.llm.models import Models

KEPT_FOR = {"train": 1, "eval": 2}
"""What became of a record, in `kept`; 0 where it was rejected."""


@dataclass(frozen=True)
class Site:
    """Where tasks work: a recipe, and the folder of its stage cache."""

    recipe: Recipe
    url: str

    def __reduce__(self) -> tuple[type["Site"], tuple[Recipe, str]]:
        """Another process loads for itself what this one has loaded."""
        return Site, (self.recipe, self.url)

    @cached_property
    def line(self) -> Line:
        """The stations of the recipe."""
        return Line(self.recipe)

    @cached_property
    def models(self) -> "Models":
        """The language models that the recipe names."""
        from dataforge.llm.models import Models  # takes a fifth of a second

        return Models(self.recipe.data.llm, self.recipe.data.budget, self.recipe.data.replay)

    @cached_property
    def work(self) -> Work:
        """The stage cache."""
        return Work(at(self.url))


class Task(Protocol):
    """Something to do once. As a text it is what a user knows it by."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the stages that it makes."""

    def run(self, site: Site) -> list[Facts]:
        """Make what is not there; what each of the stages reports, with `made`: whether it was made now."""


@dataclass(frozen=True)
class Decided:
    """Where the decisions on a part stand in the outputs of a gather."""

    key: str
    start: int
    stop: int
    hash: str
    """Of what was decided."""


@dataclass(frozen=True)
class PartTask:
    """A part through one segment of the line, and through the gate to rows where it is the last."""

    part: Part
    segment: int
    records: str
    """The key of its records as they leave the segment."""
    rows: str | None
    """The key of its rows, where the segment is the last."""
    before: str | None = None
    """The key of its records as they enter the segment; None at the head of the line."""
    decided: Decided | None = None

    def __str__(self) -> str:
        return str(self.part)

    @property
    def keys(self) -> tuple[str, ...]:
        """Records, and rows where it ends with them."""
        return (self.records, self.rows) if self.rows else (self.records,)

    def run(self, site: Site) -> list[Facts]:
        """Make the records, the rows, or both at once."""
        kept: Sequence[Record] | None = None

        def records() -> Result:
            nonlocal kept
            kept, result = self._records(site)
            return result

        found = [site.work.once(self.records, records)]
        if self.rows:

            def rows() -> Result:
                return _rows(site, _trainable(read_records(site.work, self.records) if kept is None else kept))

            found.append(site.work.once(self.rows, rows))
        return found

    def _records(self, site: Site) -> tuple[list[Record], Result]:
        tally, segment = Tally(), site.recipe.segments[self.segment]
        if segment.after is None or self.before is None:
            packed = self.part.packed
            records = site.line.read(self.part, tally, site.work.read(*packed) if packed else None)
        else:
            after, records = segment.after, iter(read_records(site.work, self.before))
            if not components.asks(after.use):
                decisions = _decisions(site.work, self.decided) if self.decided else {}
                records = site.line.decided(records, after, decisions, tally)
            elif after.source not in (None, self.part.source):
                records = tally.station(after.name, records)
        records = site.line.segment(records, self.segment, tally)
        kept = list(site.line.weighed(records, tally) if self.rows else records)
        outputs = [("records.arrow", arrow_bytes.stream(record_table.to_table(kept), "lz4")), *_reject_output(tally)]
        if not self.rows:
            following = site.recipe.segments[self.segment + 1].after
            if following is None:
                raise RuntimeError("a segment without rows ends at a step that gathers")
            if not components.asks(following.use) and following.source in (None, self.part.source):
                outputs.append(("thin.parquet", arrow_bytes.parquet(site.line.gather(following).thin(kept))))
        return kept, (outputs, {"stations": tally.stations, "noted": tally.noted})


def _rows(site: Site, records: Sequence[Trainable]) -> Result:
    """Records through the gate and the tokenizer, split into training and evaluation."""
    tally, seed = Tally(), site.recipe.data.seed
    rows: dict[Split, list[tuple[Row, int]]] = {split: [] for split in SPLITS}
    kept = np.zeros(len(records), dtype=np.uint8)
    trained: list[Sequence[bool]] = [[False] * len(each.messages) if isinstance(each, Chat) else () for each in records]
    position, kind = -1, site.line.kind
    found = list(site.line.encode(records, tally))
    sides: dict[Split, list[Encoded]] = {split: [] for split in SPLITS}
    for encoded in found:
        record = encoded.record
        split = line.split_of(record, site.recipe)
        # They come in the order in which they went in, some of them without their reasoning.
        wanted, following = (record.id, record.origin), range(position + 1, len(records))
        position = next(at for at in following if (records[at].id, records[at].origin) == wanted)
        kept[position] = KEPT_FOR[split]
        trained[position] = kind.trained(record, site.recipe.data.train_on)
        rows[split] += [(row, record.copies) for row in encoded.rows]
        sides[split].append(encoded)
    tally.stations["length"]["added"] = sum(encoded.record.copies - 1 for encoded in found)
    flags = np.array([flag for of_record in trained for flag in of_record], dtype=np.uint8)
    outputs = [("kept", kept.tobytes()), ("trained", flags.tobytes()), *_reject_output(tally)]
    rows_of: dict[str, int] = {}
    for split, of_split in rows.items():
        if of_split:
            ordered = row_table.in_order(of_split, seed)
            outputs += [
                (f"{split}.arrow", row_table.write(ordered)),
                (f"{split}-thin.parquet", row_table.write_thin(ordered)),
            ]
            rows_of[split] = len(ordered.ids)
    amounts = {split: diversity.counted(items) for split, items in sides.items() if items}
    facts = {"stations": tally.stations, "turns": tally.turns(found), "rows": rows_of, "diversity": amounts}
    measured = {split: ranges for split, items in sides.items() if (ranges := kind.measured(items))}
    if measured:
        facts["measured"] = measured
    return outputs, facts


@dataclass(frozen=True)
class ShardTask:
    """The windows of one shard."""

    split: Split
    number: int
    slices: tuple[tuple[str, int, int], ...]
    """Of each part with rows for it, their key and where they begin and end."""
    key: str

    def __str__(self) -> str:
        return f"shard {self.number} of {self.split}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The shard."""
        return (self.key,)

    def run(self, site: Site) -> list[Facts]:
        """Pack the rows and write them."""
        return [site.work.once(self.key, lambda: self._make(site))]

    def _make(self, site: Site) -> Result:
        parts = []
        for key, start, stop in self.slices:
            with site.work.open(key, f"{self.split}.arrow") as file:
                parts.append(row_table.read(file, start, stop))
        rows, order = row_table.together(parts)
        parts.clear()
        name, kind = f"{self.split}-{self.number:05d}", site.line.kind
        content, entry = kind.shard(name, self.split, rows, order, site.recipe.window, site.recipe.data.seed)
        facts = {"entry": entry.model_dump(mode="json"), "lengths": row_table.lengths_of(rows)}
        return [("shard.arrow", content)], facts


@dataclass(frozen=True)
class RecordsTask:
    """The kept records of some consecutive parts, as people read them."""

    parts: tuple[tuple[str, str], ...]
    """The keys of each part's records and rows."""
    key: str

    def __str__(self) -> str:
        return f"the records of {len(self.parts)} parts as Parquet"

    @property
    def keys(self) -> tuple[str, ...]:
        """The Parquet files."""
        return (self.key,)

    def run(self, site: Site) -> list[Facts]:
        """Write the kept records of each side of the split."""
        return [site.work.once(self.key, lambda: self._make(site))]

    def _make(self, site: Site) -> Result:
        found: dict[Split, list[pa.Table]] = {split: [] for split in SPLITS}
        for records, rows in self.parts:
            trained = np.frombuffer(site.work.read(rows, "trained"), dtype=np.uint8)
            table = site.line.kind.to_records(_read_arrow(site.work, records), trained)
            kept = np.frombuffer(site.work.read(rows, "kept"), dtype=np.uint8)
            for split, tables in found.items():
                tables.append(table.filter(pa.array(kept == KEPT_FOR[split])))
        tables_of = {split: pa.concat_tables(tables) for split, tables in found.items()}
        outputs = [
            (f"{split}.parquet", arrow_bytes.parquet(table)) for split, table in tables_of.items() if table.num_rows
        ]
        facts: Facts = {"records": {split: table.num_rows for split, table in tables_of.items()}}
        return outputs, {**facts, "sources": _noted(tables_of.values())}


def _noted(tables: Iterable[pa.Table]) -> dict[str, dict[str, Any]]:
    """Of each source how many records there are, how many name their author, and their languages."""
    found: dict[str, dict[str, Any]] = {}
    for table in tables:
        for source, facts in zip(table.column("source").to_pylist(), table.column("facts").to_pylist(), strict=True):
            counts = found.setdefault(source, {"records": 0, "attributed": 0, "languages": Counter()})
            counts["records"] += 1
            if facts:
                known = orjson.loads(facts)
                counts["attributed"] += bool(known.get("attribution"))
                if known.get("language"):
                    counts["languages"][str(known["language"])] += 1
    return found


def read_records(work: Work, key: str) -> list[Record]:
    """The records of a part."""
    return list(record_table.from_table(_read_arrow(work, key)))


def _trainable(records: Sequence[Record]) -> list[Trainable]:
    """Records that have been weighed."""
    found = [record for record in records if isinstance(record, Chat | Preference | Prompt)]
    if len(found) < len(records):
        raise RuntimeError("a record that cannot be trained on came to the gate")
    return found


def _decisions(work: Work, decided: Decided) -> Decisions:
    with work.open(decided.key, "decided.parquet") as file:
        rows = gathers.read_range(file, decided.start, decided.stop)
    return {int(row["position"]): row for row in rows}


def _reject_output(tally: Tally) -> Iterator[tuple[str, bytes]]:
    if tally.rejects:
        yield "rejects", b"".join(report.reject_line(reject) for reject in tally.rejects)


def _read_arrow(work: Work, key: str) -> pa.Table:
    return pa.ipc.open_stream(work.read(key, "records.arrow")).read_all()
