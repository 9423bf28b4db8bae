"""How a run ended, kept beside its adapter so that it is not run twice."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from dataforge.shards import replace_file
from trainkit.record_losses import RecordLoss

FILE = "outcome.json"


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    adapter: Path
    """The adapter's folder."""
    steps: int
    """Optimizer steps taken."""
    adapter_step: int
    """The step after which the adapter was as it is written."""
    train_loss: float | None
    """Per trained token, in the last line of metrics."""
    eval_loss: float | None
    """Of the adapter, per trained token of the eval split; None where there is no eval split."""
    tokens_per_second: float
    seconds: float
    """Spent training, without loading, evaluations and checkpoints."""
    peak_memory_mb: int
    """Of the process, or of the accelerator where there is one."""
    worst: list[RecordLoss] = field(default_factory=list)
    """The records whose loss was highest when they were last trained on."""
    reused: bool = False
    """Nothing was done: the same run had finished before."""
    resumed: bool = False
    """The run went on from a checkpoint."""


def write(out: Path, run: str, outcome: Outcome) -> None:
    """Say that run `run` is finished: the last file that is written."""
    kept = {key: value for key, value in asdict(outcome).items() if key not in ("adapter", "reused", "resumed")}
    replace_file(out / FILE, orjson.dumps({"run": run, **kept}, option=orjson.OPT_INDENT_2) + b"\n")


def other_run(out: Path, run: str) -> bool:
    """Whether the run that finished here was another one."""
    found = _read(out)
    return found is not None and found.get("run") != run


def find(out: Path, run: str, adapter: Path) -> Outcome | None:
    """The outcome of run `run` if it is finished and its adapter is still there."""
    found = _read(out)
    if found is None or found.pop("run", None) != run or not adapter.is_dir():
        return None
    worst = [RecordLoss(**row) for row in found.pop("worst", [])]
    return replace(Outcome(adapter, worst=worst, **found), reused=True)


def _read(out: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = orjson.loads((out / FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return None
    return found
