"""Where a run can go on from: adapter masters, optimizer moments and position.

There are no random states in it: what is random in a step is drawn from the step's own seed.

    checkpoints/step-00000050/state.safetensors    tensors
    checkpoints/step-00000050/state.json           everything else, and the SHA-256 of the tensors

Nothing is pickled; a folder under its own name is whole.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save_file

from dataforge.errors import TrainingError
from dataforge.shards import sha256_of
from trainkit.files import remove, replaced_folder, written

TENSORS = "state.safetensors"
STATE = "state.json"


class Position(BaseModel):
    """How far a run is; all that its loop carries from one step to the next, but for tensors."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    step: int = 0
    """Optimizer steps taken."""
    seconds: float = 0.0
    """Spent training, without evaluations and checkpoints, over all starts of the run."""
    tokens: int = 0
    """Gone through in these seconds."""
    unlogged_loss: float = 0.0
    """Summed over the trained tokens since the last line of metrics."""
    unlogged_trained: int = 0
    unlogged_tokens: int = 0
    unlogged_seconds: float = 0.0
    train_loss: float | None = None
    """Per trained token, in the last line of metrics."""
    eval_loss: float | None = None
    """Of the last evaluation."""
    evaluated_at: int | None = None
    """The step of the last evaluation."""
    best_eval_loss: float | None = None
    best_step: int | None = None
    """After which the eval loss was lowest."""
    highest_first_loss: float | None = None
    """Per trained token, of the first steps."""
    evaluations_without_gain: int = 0


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    run: str
    """Which run this is: a hash of all that decides its losses."""
    position: Position
    tensors_sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back."""

    position: Position
    tensors: dict[str, torch.Tensor]


class Checkpoints:
    """The checkpoints of one run in one folder."""

    def __init__(self, folder: Path, run: str, keep: int) -> None:
        self._folder = folder
        self._run = run
        self._keep = keep

    def save(self, position: Position, tensors: dict[str, torch.Tensor]) -> Path:
        """Write a checkpoint whole, then delete the oldest beyond those that are kept, but never the best.

        Raises `TrainingError` where it cannot be written.
        """
        folder = self._place(position.step)
        with written(folder), replaced_folder(folder) as temporary:
            path = temporary / TENSORS
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
            state = _State(run=self._run, position=position, tensors_sha256=sha256_of(path))
            (temporary / STATE).write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for old in self._all()[: -self._keep]:
            if old != self._place(position.best_step):
                remove(old)
        return folder

    def at(self, step: int) -> Checkpoint:
        """The checkpoint of one step.

        Raises `TrainingError` where it is missing or damaged.
        """
        return self._read(self._place(step))

    def _place(self, step: int | None) -> Path:
        return self._folder / f"step-{step or 0:08d}"

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint of this run, or None where there is none.

        Raises `TrainingError` where it is damaged.
        """
        found = self._all()
        if not found:
            return None
        if _read(found[-1]).run != self._run:
            return None
        return self._read(found[-1])

    def _read(self, folder: Path) -> Checkpoint:
        state = _read(folder)
        if sha256_of(folder / TENSORS) != state.tensors_sha256:
            raise TrainingError(f"{folder}: the checkpoint is damaged; delete it to go on from the one before it")
        return Checkpoint(state.position, load_file(folder / TENSORS))

    def other_run(self) -> bool:
        """Whether the newest checkpoint here belongs to a run with other settings or data."""
        found = self._all()
        return bool(found) and _read(found[-1]).run != self._run

    def clear(self) -> None:
        """Delete every checkpoint."""
        if self._folder.is_dir():
            remove(self._folder)

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))


def _read(folder: Path) -> _State:
    try:
        return _State.model_validate_json((folder / STATE).read_bytes())
    except (OSError, ValidationError):
        raise TrainingError(f"{folder}: not a checkpoint of this version, or damaged; delete it") from None
