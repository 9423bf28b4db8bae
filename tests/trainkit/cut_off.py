"""`forge train` in a process of its own that can be killed, or run out of disk, at an instant that is chosen.

Processes are forked off one that has done a run already (see tests/forked.py): each costs a fraction of a second.
"""

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests import forked

RUNS = "runs"
"""Files below a folder of this name are a run's."""
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
TIMINGS = ("seconds", "tokens_per_second", "trained_tokens_per_second")

Fault = Callable[[int, str], None]
"""What happens at an event: called with its number, from 1, and its name with the path."""


@dataclass(frozen=True)
class KillAt:
    """Die at the event with this number."""

    event: int

    def __call__(self, number: int, event: str) -> None:
        if number == self.event:
            os.write(2, f"killed at {event}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class FullAt:
    """From the first event that names `part` on, no file grows beyond so many bytes."""

    part: str
    size: int

    def __call__(self, number: int, event: str) -> None:
        if self.part in event:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


@dataclass(frozen=True)
class Tell:
    """Print each event."""

    def __call__(self, number: int, event: str) -> None:
        os.write(2, f"event {event}\n".encode())


@dataclass(frozen=True)
class Ended:
    """How a process ended; the code is negative where a signal ended it."""

    code: int
    said: str
    seconds: float


def forge(arguments: list[str], folder: Path, fault: Fault | None = None, kill_after: float | None = None) -> Ended:
    """Run a command in `folder`, with what happens to it on the way."""
    ended = forked.forge(arguments, folder, first=partial(_listen, fault), kill_after=kill_after)
    return Ended(ended.code, ended.stdout + ended.stderr, ended.seconds)


def _listen(fault: Fault | None) -> None:
    torch.set_num_threads(1)
    if fault is None:
        return
    count = 0

    def hear(event: str, values: tuple[Any, ...]) -> None:
        nonlocal count
        if event in EVENTS and isinstance(values[0], str | Path) and f"{RUNS}/" in str(values[0]):
            count += 1
            fault(count, f"{event} {values[0]}")

    sys.addaudithook(hear)


def result(run_folder: Path) -> dict[str, Any]:
    """All that a finished run left, but for how long it took."""
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    adapter = run_folder / "adapter"
    return {
        "metrics": [{key: value for key, value in line.items() if key not in TIMINGS} for line in lines],
        "adapter": {path.name: path.read_bytes() for path in adapter.iterdir()},
        "files": sorted(str(path.relative_to(run_folder)) for path in run_folder.rglob("*")),
    }


def fresh(folder: Path, before: Path | None) -> Path:
    """A run's folder: empty, or as another run left it."""
    run_folder = folder / RUNS / "tiny"
    shutil.rmtree(run_folder, ignore_errors=True)
    if before is not None:
        shutil.copytree(before, run_folder)
    return run_folder
