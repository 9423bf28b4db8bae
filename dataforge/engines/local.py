"""Processes of this machine, one task at a time each.

With one worker the tasks run in the process that asks. A worker that dies is replaced and its task tried once more; a
worker whose parent dies reads the end of its pipe and leaves.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

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
        self._workers = [_Worker(site, workers) for _ in range(workers)] if workers > 1 else []

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
                worker.connection.send(tasks[number])
                busy[worker.connection] = (worker, number, attempt)
            for connection in wait(list(busy)):
                worker, number, attempt = busy.pop(connection)
                try:
                    result = worker.connection.recv()
                except (EOFError, ConnectionError):
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
                f"a worker ended with {how} over {task}, for the second time; SIGKILL mostly means that memory ran "
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
        self.process.start()
        theirs.close()


def _work(connection: "Connection[Any, Any]", site: Site, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started it stops it
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        try:
            result: object = task.run(site)
        except ForgeError as error:
            result = error
        except Exception as error:
            error.add_note(f"in a worker: {traceback.format_exc()}")
            result = error
        try:
            connection.send(result)
        except BrokenPipeError:
            return
