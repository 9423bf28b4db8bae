"""Where a run can go on from: adapter masters, optimizer moments, position and random states.

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
        """Write a checkpoint whole, then delete the oldest beyond those that are kept.

        Raises `TrainingError` where it cannot be written.
        """
        folder = self._folder / f"step-{position.step:08d}"
        with written(folder), replaced_folder(folder) as temporary:
            path = temporary / TENSORS
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
            state = _State(run=self._run, position=position, tensors_sha256=sha256_of(path))
            (temporary / STATE).write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for old in self._all()[: -self._keep]:
            remove(old)
        return folder

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint of this run, or None where there is none.

        Raises `TrainingError` where it is damaged.
        """
        found = self._all()
        if not found:
            return None
        folder = found[-1]
        state = _read(folder)
        if state.run != self._run:
            return None
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


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of torch's generators that a training step draws from."""
    states = {"random/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random/cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(tensors: dict[str, torch.Tensor], device: torch.device) -> None:
    """Set torch's generators back to the states of a checkpoint."""
    torch.set_rng_state(tensors["random/cpu"])
    if device.type == "cuda" and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"], device)
