"""What a model will be trained on, token run by token run: of a recipe, or of a build that stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import Tokenizer

from dataforge import line, recipe, shards
from dataforge.bases import load_tokenizer
from dataforge.config import Document
from dataforge.errors import BuildError
from dataforge.records import Reject

RECORDS_PER_SOURCE = 200


@dataclass(frozen=True)
class Run:
    """Neighbouring tokens of one row that are all trained or all not."""

    text: str
    trained: bool
    tokens: int


@dataclass(frozen=True)
class ShownRow:
    """A row as runs of tokens."""

    id: str
    runs: tuple[Run, ...]

    @property
    def tokens(self) -> int:
        """All tokens of the row."""
        return sum(run.tokens for run in self.runs)

    @property
    def trained_tokens(self) -> int:
        """Those that carry loss."""
        return sum(run.tokens for run in self.runs if run.trained)


@dataclass(frozen=True)
class Shown:
    """A record with the rows it became."""

    id: str
    place: str
    rows: tuple[ShownRow, ...]


@dataclass(frozen=True)
class Preview:
    """The first records, and what is known of the rest."""

    shown: tuple[Shown, ...]
    rejects: tuple[Reject, ...]
    note: str
    stop_tokens: tuple[str, ...]


def of_recipe(document: Document, count: int, record: str | None = None) -> Preview:
    """Run the real line over the first records of each source."""
    plan = line.plan(recipe.read(document))
    prepared = line.prepare(plan, RECORDS_PER_SOURCE)
    chosen = [item for item in prepared.encoded if item.chat.id == record or (record is None and item.chat.copy == 1)]
    if record is not None and not chosen:
        raise BuildError(f"{record}: no such record among the first {RECORDS_PER_SOURCE} of each source")
    encoder = plan.tokenizer.encoder
    shown = tuple(
        Shown(
            item.chat.id,
            f"{item.chat.origin.source}, {item.chat.origin.file}:{item.chat.origin.line}",
            tuple(show(row.id, row.input_ids.tolist(), row.mask.tolist(), encoder) for row in item.rows),
        )
        for item in chosen[:count]
    )
    note = f"the first {RECORDS_PER_SOURCE} records of each source: {len(prepared.encoded)} kept"
    return Preview(shown, tuple(prepared.rejects), note, tuple(plan.stop_tokens))


def of_build(folder: Path, count: int, record: str | None = None) -> Preview:
    """Read the shards of a build back."""
    build = shards.open_build(folder)
    encoder = load_tokenizer(build.manifest.tokenizer.name).encoder
    places = dict(_places(folder))
    wanted = [record] if record is not None else list(places)[:count]
    if record is not None and record not in places:
        raise BuildError(f"{folder}: holds no record {record}; `rejects.jsonl` lists those that were refused")
    rows: dict[str, list[ShownRow]] = {identity: [] for identity in wanted}
    for split in shards.SPLITS:
        for window in build.windows(split):
            start = 0
            for row_id, length in zip(window.record_ids, window.seq_lengths.tolist(), strict=True):
                shown_rows = rows.get(row_id.partition("#")[0])
                if shown_rows is not None and row_id not in [row.id for row in shown_rows]:
                    ids, mask = (
                        part[start : start + length].tolist() for part in (window.input_ids, window.assistant_masks)
                    )
                    shown_rows.append(show(row_id, ids, mask, encoder))
                start += length
    shown = tuple(Shown(identity, places[identity], tuple(rows[identity])) for identity in wanted)
    kept = sum(sizes.rows for sizes in build.manifest.statistics.values())
    return Preview(shown, (), f"{kept:,} rows in {folder}", tuple(build.manifest.tokenizer.stop_tokens))


def _places(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((folder / "records").glob("train-*.parquet")) + sorted(
        (folder / "records").glob("eval-*.parquet")
    ):
        for found in pq.read_table(path, columns=["id", "source", "file", "line"]).to_pylist():
            yield found["id"], f"{found['source']}, {found['file']}:{found['line']}"


def show(row_id: str, ids: Sequence[int], mask: Sequence[int], encoder: Tokenizer) -> ShownRow:
    """A row as runs of neighbouring tokens that are all trained or all not."""
    edges = [0, *(number for number in range(1, len(ids)) if mask[number] != mask[number - 1]), len(ids)]
    texts = [encoder.decode(list(ids[:edge]), skip_special_tokens=False) for edge in edges]
    runs = [
        Run(texts[number + 1][len(texts[number]) :], bool(mask[edges[number]]), edges[number + 1] - edges[number])
        for number in range(len(edges) - 1)
    ]
    return ShownRow(row_id, tuple(runs))
