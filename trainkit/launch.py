"""Several processes of one run on this machine, one a device, ended together when one of them ends badly.

It does for one machine what torchrun does for many, and says in one line what torchrun says in forty.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dataforge.errors import TrainingError
from trainkit.processes import LAUNCHED

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0


def launch(arguments: Sequence[str], count: int) -> int:
    """Run `forge` with these arguments in `count` processes and return the exit code of the first that fails, or 0.

    Raises `TrainingError` where a process is ended by a signal.
    """
    port = _free_port()
    workers = [_start(arguments, rank, count, port) for rank in range(count)]
    try:
        with _forwarded_interrupts(workers):
            return _exit_code(workers)
    finally:
        _end(workers)


def _start(arguments: Sequence[str], rank: int, count: int, port: int) -> "subprocess.Popen[bytes]":
    threads = max(1, (os.cpu_count() or 1) // count)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        LAUNCHED: "1",
    }
    command = [sys.executable, "-m", "dataforge", *arguments]
    # In sessions of their own they do not hear Ctrl-C by themselves and a second time through us.
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _exit_code(workers: "list[subprocess.Popen[bytes]]") -> int:
    while True:
        codes = [worker.poll() for worker in workers]
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                raise TrainingError(
                    f"process {rank + 1} of {len(workers)} was ended by {signal.Signals(-code).name}, so all are ended "
                    "(was it killed, or out of memory?); the same command goes on from the last checkpoint"
                )
        failed = [code for code in codes if code]
        if failed:
            return failed[0]
        if None not in codes:
            return 0
        time.sleep(POLL_SECONDS)


def _end(workers: "list[subprocess.Popen[bytes]]") -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    for worker in workers:
        try:
            worker.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@contextmanager
def _forwarded_interrupts(workers: "list[subprocess.Popen[bytes]]") -> Iterator[None]:
    def forward(number: int, frame: Any) -> None:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
