"""A contender's run: a process of its own, timed from its start, with the memory that it and its children hold."""

import contextlib
import json
import os
import resource
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

EVERY = 0.5
"""Seconds between two looks at the memory."""


@dataclass(frozen=True)
class Run:
    """What a process said, and what it took."""

    said: dict[str, Any]
    started: float
    """On the system's monotonic clock, which a child reads too."""
    ended: float
    memory: list[tuple[float, int]]
    """When it was looked at, and bytes."""
    cores_of_others: float
    """How many cores all other programs of the machine kept busy meanwhile."""

    def peak_mb(self, until: float) -> int:
        """The most memory that was seen by then."""
        return max((held for at, held in self.memory if at <= until), default=0) // 2**20


def run(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Run:
    """Run a command; its last line on standard output is JSON.

    Raises `RuntimeError` with the end of what it wrote where it fails.
    """
    os.sync()  # What one run has written is not to be waited for by the next.
    with log.open("w+b") as said, log.with_suffix(".err").open("w+b") as errors:
        busy, ours = _busy_seconds(), _seconds_of_children()
        started = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=errors, env=environment, cwd=log.parent
        )
        watch = _Watch(process.pid)
        try:
            status = process.wait()
            ended = time.monotonic()
        finally:
            memory = watch.stop()
        others = (_busy_seconds() - busy) - (_seconds_of_children() - ours)
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
        if status:
            errors.seek(0)
            told = errors.read().decode(errors="replace")[-4000:]
            raise RuntimeError(f"{shlex.join(command)} ended with status {status}:\n{told}")
    return Run(json.loads(lines[-1]), started, ended, memory, max(0.0, others / (ended - started)))


def _busy_seconds() -> float:
    """Seconds that all cores together have worked since the machine was started, or were kept from us by its host."""
    times = psutil.cpu_times()
    return sum(getattr(times, kind) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch:
    """Looks at the memory of a process and its children until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stop = threading.Event()
        self._seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> list[tuple[float, int]]:
        """What was seen."""
        self._stop.set()
        self._thread.join()
        return self._seen

    def _look(self) -> None:
        while not self._stop.wait(EVERY):
            with contextlib.suppress(psutil.Error):
                family = [self._process, *self._process.children(recursive=True)]
                self._seen.append((time.monotonic(), sum(_held(member) for member in family)))


def _held(process: psutil.Process) -> int:
    """Bytes, where a page that n processes share counts as a n-th in each: children that were forked share most."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0  # It has ended.
