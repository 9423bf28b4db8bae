"""The processes of one run, one a device: each computes a share of every optimizer step.

torch is imported where more than one process needs it, so that a recipe's faults are told before torch is loaded.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dataforge.errors import TrainingError

if TYPE_CHECKING:
    import torch

PATIENCE = timedelta(hours=2)
"""How long one process waits for the others, who may be writing a checkpoint."""
POLL_SECONDS = 0.1
LAUNCHED = "FORGE_LAUNCHED"
"""Set in the environment where whoever started the processes says why one of them has ended."""
CONNECTION_WORDS = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe")


class _LostProcessError(TrainingError):
    """Another process does not answer any more."""


@dataclass(frozen=True)
class Processes:
    """This process among those of its run; by itself, all sums and lists are its own."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    """The kind of device that sums are exchanged on."""
    store: Any = None
    """Where processes leave word for each other."""
    _tasks: list[str] = field(default_factory=list)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes, in fp64."""
        if self.alone:
            return list(values)
        import torch

        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        self.add_up(total)
        return list(total.tolist())

    def add_up(self, tensor: "torch.Tensor") -> None:
        """Sum a tensor over the processes, in place."""
        if not self.alone:
            from torch import distributed

            with self.watched():
                distributed.all_reduce(tensor)

    def gather(self, value: Any) -> list[Any]:
        """What each process has, in their order."""
        found = [value] * self.count
        if not self.alone:
            from torch import distributed

            with self.watched():
                distributed.all_gather_object(found, value)
        return found

    def first_does(self, work: "Callable[[], None]") -> None:
        """Let the first process do something that the others need before they go on."""
        if self.alone:
            return work()
        self._tasks.append("")
        key = f"task-{len(self._tasks)}"
        if not self.first:
            return self._await(key)
        try:
            work()
        except BaseException:
            self.store.set(key, "failed")
            raise
        self.store.set(key, "done")
        return None

    def _await(self, key: str) -> None:
        # Not store.wait(): a process that is blocked in it does not hear that it shall end.
        while not self.store.check([key]):
            time.sleep(POLL_SECONDS)
        if self.store.get(key) == b"failed":
            raise SystemExit(2)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise `TrainingError` where another process does not answer any more."""
        try:
            yield
        except RuntimeError as error:
            if self.alone or not _is_connection(error):
                raise
            raise _lost() from None

    @contextmanager
    def one_voice(self) -> Iterator[None]:
        """Let only the process that fails first say why; the others end without a word."""
        try:
            yield
        except BaseException as error:
            if not self.alone:
                # This process ends already; to be told so while it does would only print where it was.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if self.alone or isinstance(error, SystemExit) or self._speaks(error):
                raise
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2) from None

    def _speaks(self, error: BaseException) -> bool:
        from torch import distributed

        launched = LAUNCHED in os.environ
        if launched and isinstance(error, _LostProcessError):
            return False
        try:
            return bool(self.store.compare_set("speaker", "", str(self.rank)) == str(self.rank).encode())
        except distributed.DistError:
            # The first process held the store and is gone: it has spoken, or whoever started it does.
            return not launched


def join() -> Processes:
    """Meet the other processes that `launch` or torchrun has started, or be alone where there are none.

    Raises `TrainingError` where there are more processes than devices.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    device = torch.accelerator.current_accelerator()
    if device is not None:
        devices, here = torch.accelerator.device_count(), int(os.environ["LOCAL_RANK"])
        if here >= devices:
            raise TrainingError(f"this machine has {devices} devices; start no more processes than that")
        torch.accelerator.set_device_index(here)
    kind = "cpu" if device is None else device.type
    store, rank, count = next(rendezvous("env://"))
    distributed.init_process_group(
        distributed.get_default_backend_for_device(kind),
        store=PrefixStore("collectives", store),
        rank=rank,
        world_size=count,
        timeout=PATIENCE,
    )
    signal.signal(signal.SIGTERM, _ended)
    return Processes(rank, count, kind, PrefixStore("forge", store))


def leave(processes: Processes) -> None:
    """Part from the other processes at the end of a run."""
    if not processes.alone:
        from torch import distributed

        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        distributed.destroy_process_group()


def _ended(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _lost()


def _is_connection(error: RuntimeError) -> bool:
    from torch import distributed

    text = str(error).lower()
    return isinstance(error, distributed.DistError) or any(word in text for word in CONNECTION_WORDS)


def _lost() -> TrainingError:
    return _LostProcessError(
        "another process of this run has ended, so this one ends too (was it killed, or out of memory?); the same "
        "command goes on from the last checkpoint"
    )
