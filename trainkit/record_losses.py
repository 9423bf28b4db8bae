"""What each record's loss was, step by step: `losses.parquet` in the run's folder.

While a run works, each step is one line of a file beside it, so that nothing grows in memory and a killed run loses
no step that its last checkpoint has.
"""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from trainkit.files import written
from trainkit.processes import Processes

FILE = "losses.parquet"
SPOOL = ".losses.jsonl"
NAMED = 5
"""Records that the end of a run names."""
ROWS_PER_GROUP = 65_536
SCHEMA = pa.schema(
    [("record", pa.string()), ("step", pa.int32()), ("loss", pa.float32()), ("tokens", pa.int32())],
    metadata={"loss": "nats per trained token, before the step's update"},
)


@dataclass(frozen=True, slots=True)
class RecordLoss:
    """The loss of one row of the data at one step."""

    record: str
    """The row's id in the shards: `id#turn`."""
    step: int
    """Optimizer step, counted from 1."""
    loss: float
    """Per trained token, in nats."""
    tokens: int
    """Trained tokens."""


class RecordLosses:
    """The losses of a run's records, on disk but for those of the step at work."""

    def __init__(self, folder: Path, after_step: int, processes: Processes) -> None:
        """Go on after step `after_step`: later steps, left by a run that was cut off, are dropped.

        Of several processes, each brings the losses of its share and the first writes them.
        """
        self._pending: list[tuple[Sequence[str], torch.Tensor, torch.Tensor]] = []
        self._processes = processes
        self._path, self._spool = folder / FILE, folder / SPOOL
        self._file: IO[bytes] | None = None
        if not processes.first:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not after_step:
            self._path.unlink(missing_ok=True)
        elif not self._spool.exists() and self._path.exists():
            _unpack(self._path, self._spool)
        self._file = self._spool.open("ab")
        self._file.truncate(_size(self._spool, after_step))

    def add(self, record_ids: Sequence[str], losses_S: torch.Tensor, trained_S: torch.Tensor) -> None:
        """Take in a micro-batch of S documents: their summed losses and trained tokens, which stay on the device."""
        self._pending.append((record_ids, losses_S, trained_S))

    def write(self, step: int) -> None:
        """Write down what was added, as the losses of step `step`."""
        rows = sorted(row for theirs in self._processes.gather(self._rows()) for row in theirs)
        if self._file is not None:
            with written(self._spool):
                self._file.write(orjson.dumps([step, *(list(column) for column in zip(*rows, strict=True))]) + b"\n")
                self._file.flush()

    def discard(self) -> None:
        """Forget what was added since the last step that was written."""
        self._pending = []

    def _rows(self) -> list[tuple[str, float, int]]:
        """What was added: record, loss per trained token, and trained tokens."""
        if not self._pending:
            return []
        ids = [identity for part, _, _ in self._pending for identity in part]
        losses_S = torch.cat([part for _, part, _ in self._pending]).float()
        trained_S = torch.cat([part for _, _, part in self._pending])
        self._pending = []
        # A document whose only trained token is its first one has none that could be predicted.
        means = (losses_S / trained_S.clamp(min=1)).tolist()
        return [row for row in zip(ids, means, trained_S.tolist(), strict=True) if row[2]]

    def close(self, *, whole: bool = True) -> None:
        """Write `losses.parquet` from all steps so far, whole or not at all; a run that failed only stops writing."""
        if self._file is None:
            return
        if not whole:
            # What a full disk has not taken is tried once more.
            with suppress(OSError):
                self._file.close()
            return
        temporary = self._path.with_name(f".{FILE}.tmp")
        with written(self._path):
            self._file.close()
            with pq.ParquetWriter(temporary, SCHEMA) as writer:
                for table in _tables(self._spool):
                    writer.write_table(table)
            temporary.replace(self._path)
            self._spool.unlink()


def worst(folder: Path, count: int, since_step: int = 0) -> list[RecordLoss]:
    """The records whose last loss, after step `since_step`, was highest; highest first."""
    seen: set[str] = set()
    return heapq.nlargest(count, _last_first(folder / FILE, since_step, seen), key=lambda row: row.loss)


def _last_first(path: Path, since_step: int, seen: set[str]) -> Iterator[RecordLoss]:
    file = pq.ParquetFile(path)
    for group in reversed(range(file.num_row_groups)):
        for row in reversed(file.read_row_group(group).to_pylist()):
            if row["step"] <= since_step:
                return
            if row["record"] not in seen:
                seen.add(row["record"])
                yield RecordLoss(**row)


def _tables(spool: Path) -> Iterator[pa.Table]:
    columns: list[list[Any]] = [[], [], [], []]
    with spool.open("rb") as lines:
        for line in lines:
            step, *found = orjson.loads(line)
            ids, means, tokens = found or ([], [], [])
            for column, values in zip(columns, (ids, [step] * len(ids), means, tokens), strict=True):
                column.extend(values)
            if len(columns[0]) >= ROWS_PER_GROUP:
                yield pa.table(columns, schema=SCHEMA)
                columns = [[], [], [], []]
    yield pa.table(columns, schema=SCHEMA)


def _unpack(path: Path, spool: Path) -> None:
    """Make the file that a run goes on writing out of what a finished or stopped one left."""
    temporary = spool.with_name(f"{spool.name}.tmp")
    with temporary.open("wb") as file:
        for batch in pq.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                file.write(orjson.dumps([row["step"], [row["record"]], [row["loss"]], [row["tokens"]]]) + b"\n")
    temporary.replace(spool)


def _size(spool: Path, step: int) -> int:
    """Bytes of the lines up to a step; the first one after it, or one cut off, ends them."""
    size = 0
    with spool.open("rb") as lines:
        for line in lines:
            if _step(line) > step:
                break
            size += len(line)
    return size


def _step(line: bytes) -> float:
    try:
        step: int = orjson.loads(line)[0]
    except orjson.JSONDecodeError:
        return float("inf")
    return step if line.endswith(b"\n") else float("inf")
