"""Processes of this machine, one task at a time each.

With one worker the tasks run in the process that asks. A worker that dies is replaced and its task tried once more; a
worker whose parent dies reads the end of its pipe and leaves. An interrupt from the keyboard reaches the parent alone,
which stops the others.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import pyarrow as pa

from dataforge.engines import cores
from dataforge.errors import BuildError, ForgeError
from dataforge.stages import Facts
from dataforge.tasks import Site, Task

TRIES = 2
_spawn = multiprocessing.get_context("spawn")


def start(site: Site, workers: int) -> "Local":
    """Have so many workers load what they need while the caller prepares the tasks."""
    return Local(site, workers)


class Local:
    """A pool of workers."""

    def __init__(self, site: Site, workers: int) -> None:
        self._site, self._size = site, workers
        self._workers: list[_Worker] = []
        try:
            for _ in range(workers if workers > 1 else 0):
                self._workers.append(_Worker(site, workers))
        except BaseException:
            self.close()
            raise

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, list[Facts]]]:
        """What each task reports, with its number, as they end.

        Raises what a task raises, and `BuildError` where a worker dies over the same task twice.
        """
        if self._size == 1:
            yield from ((number, task.run(self._site)) for number, task in enumerate(tasks))
            return
        waiting = [(number, 1) for number in range(len(tasks))][::-1]
        busy: dict[Any, tuple[_Worker, int, int]] = {}
        idle = list(self._workers)
        while waiting or busy:
            while waiting and idle:
                worker = idle.pop()
                number, attempt = waiting.pop()
                # One that died while it was idle is found dead below.
                with suppress(ConnectionError):
                    worker.connection.send(tasks[number])
                busy[worker.connection] = (worker, number, attempt)
            for connection in wait(list(busy)):
                worker, number, attempt = busy.pop(connection)
                try:
                    result = worker.connection.recv()
                except (EOFError, OSError):
                    waiting.append((number, self._next_attempt(worker, tasks[number], attempt)))
                    idle.append(self._replace(worker))
                    continue
                if isinstance(result, BaseException):
                    raise result
                idle.append(worker)
                yield number, result

    def close(self) -> None:
        """Stop the workers at once; what they had begun is made again when it is asked for."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers = []

    def _next_attempt(self, worker: "_Worker", task: Task, attempt: int) -> int:
        worker.process.join()
        if attempt == TRIES:
            ended = worker.process.exitcode or 0
            how = signal.Signals(-ended).name if ended < 0 else f"exit code {ended}"
            raise BuildError(
                f"a worker ended with {how} over {task}, and so did the next; SIGKILL mostly means that memory ran "
                "out: try fewer with --workers"
            )
        return attempt + 1

    def _replace(self, worker: "_Worker") -> "_Worker":
        self._workers.remove(worker)
        self._workers.append(_Worker(self._site, self._size))
        return self._workers[-1]


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, site: Site, of: int) -> None:
        self.connection, theirs = _spawn.Pipe()
        threads = max(1, cores() // of)
        self.process: BaseProcess = _spawn.Process(target=_work, args=(theirs, site, threads), daemon=True)
        # An interrupt is raised in the main thread only, so that none falls into the start of a process.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_start, self.process).result()
        theirs.close()


def _start(process: BaseProcess) -> None:
    """Start a process that hears no interrupt, as its parent stops it."""
    resource_tracker.ensure_running()  # which would let interrupts through again if it were started below
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process.start()


def _work(connection: "Connection[Any, Any]", site: Site, threads: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    while True:
        try:
            task: Task = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            result: object = task.run(site)
        except ForgeError as error:
            result = error
        except Exception as error:
            error.add_note(f"in a worker: {traceback.format_exc()}")
            result = _sendable(error)
        try:
            connection.send(result)
        except ConnectionError:
            return
        _give_memory_back()


def _give_memory_back() -> None:
    """What a task took is the next worker's too; the C library would keep it, where it is glibc."""
    pa.default_memory_pool().release_unused()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _sendable(error: Exception) -> Exception:
    """The error itself if it arrives whole at the other end of a pipe, else all that it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        text = "".join(traceback.format_exception(error))
        return RuntimeError(f"a worker's error that cannot be sent as it is: {text}")
    return error
