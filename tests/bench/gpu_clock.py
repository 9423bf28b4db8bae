"""Times, losses and waits of optimizer steps, without waiting for the device to learn them."""

import itertools
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch

WAIT = "synchronizing CUDA operation"


@dataclass
class Clock:
    """Marks before the first step and after each."""

    warm: int
    """Steps before those that are timed; in the last of them waits are counted."""
    losses: list[Any] = field(default_factory=list)
    """Mean loss of each step, as numbers or as tensors on the device."""
    norms: list[Any] = field(default_factory=list)
    """Norm of each step's gradient before it is clipped."""
    waits: int | None = None
    """How often the host waited for the device in one step; None where that is not known."""

    def __post_init__(self) -> None:
        self._marks: list[Any] = []
        self._counting: Any = None
        self._seen: list[warnings.WarningMessage] = []

    def mark(self) -> None:
        """A step begins or has ended."""
        if not torch.cuda.is_available():
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append(event)
        if len(self._marks) == self.warm:
            self._count()
        elif self._counting is not None:
            self._stop_counting()

    def steps(self, sizes: list[tuple[int, int]]) -> list[dict[str, float]]:
        """What is told of each step; `sizes` are its tokens and trained tokens."""
        seconds = self._seconds()
        if not len(seconds) == len(self.losses) == len(self.norms) == len(sizes):
            raise RuntimeError(
                f"{len(seconds)} steps were timed, but there are {len(self.losses)} losses, {len(self.norms)} norms "
                f"and {len(sizes)} sizes"
            )
        return [
            {"tokens": tokens, "trained": trained, "seconds": took, "loss": float(loss), "norm": float(norm)}
            for (tokens, trained), took, loss, norm in zip(sizes, seconds, self.losses, self.norms, strict=True)
        ]

    def _seconds(self) -> list[float]:
        pairs = list(itertools.pairwise(self._marks))
        if not torch.cuda.is_available():
            return [after - before for before, after in pairs]
        torch.cuda.synchronize()
        return [before.elapsed_time(after) / 1000 for before, after in pairs]

    def _count(self) -> None:
        self._counting = warnings.catch_warnings(record=True)
        self._seen = self._counting.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")

    def _stop_counting(self) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self._counting.__exit__(None, None, None)
        self._counting = None
        self.waits = sum(WAIT in str(warning.message) for warning in self._seen)


def told(clock: Clock, sizes: list[tuple[int, int]], tokens: int | None, note: str = "") -> dict[str, Any]:
    """What a contender says of its steps; `tokens` are those of a micro-batch, where it has a size."""
    return {"steps": clock.steps(sizes), "waits": clock.waits, "tokens_together": tokens, "note": note}
