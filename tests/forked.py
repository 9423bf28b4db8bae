"""Commands in processes of their own, forked off one that has loaded what they need and done a run already.

A process that starts from nothing loads torch and transformers for seconds, whatever is tested. The one that forks
belongs to this module alone, so that nobody else decides what it has loaded.
"""

import atexit
import gc
import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory

BUILDS = ("dataforge.build", "dataforge.cli.build", "dataforge.preview", "dataforge.cli.preview")
TRAINS = ("dataforge.build", "dataforge.cli.build", "tests.trainkit.warm")
ROOT = Path(__file__).parents[1]
_forking: "dict[tuple[str, ...], subprocess.Popen[bytes]]" = {}


@dataclass(frozen=True)
class Ended:
    """How a process ended; the code is negative where a signal ended it."""

    code: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True)
class _Request:
    """What a process begins with."""

    folder: Path
    environment: Mapping[str, str]
    files: tuple[str, str, str]
    """What it reads and what it writes its output and its errors to."""
    arguments: Sequence[str]
    first: Callable[[], None] | None


def forge(
    arguments: Sequence[str],
    folder: Path,
    *,
    stdin: str = "",
    first: Callable[[], None] | None = None,
    kill_after: float | None = None,
) -> Ended:
    """Run a command in a folder; `first` is called in its process before, and it may be killed after some seconds."""
    forking = _started(TRAINS if arguments and arguments[0] in ("train", "chat") else BUILDS)
    assert forking.stdin is not None and forking.stdout is not None
    with TemporaryDirectory() as name, ThreadPoolExecutor(2) as readers:
        files = [Path(name) / each for each in ("stdin", "stdout", "stderr")]
        files[0].write_text(stdin, encoding="utf-8")
        for pipe in files[1:]:  # not files, as a disk may be full
            os.mkfifo(pipe)
        reading = [readers.submit(pipe.read_text, encoding="utf-8") for pipe in files[1:]]
        read, output, errors = map(str, files)
        pickle.dump(_Request(folder, dict(os.environ), (read, output, errors), arguments, first), forking.stdin)
        forking.stdin.flush()
        pid = int(forking.stdout.readline())
        began = time.perf_counter()
        if kill_after is not None and not select([forking.stdout], [], [], kill_after)[0]:
            os.kill(pid, signal.SIGKILL)
        code = int(forking.stdout.readline())
        seconds = time.perf_counter() - began
        return Ended(code, *(each.result() for each in reading), seconds)


def _started(loaded: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    """The process that forks those that need the modules; it is ended with the tests."""
    if loaded not in _forking:
        # Nothing that is loaded may start threads, which a fork would lose.
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", "from tests.forked import serve; serve()", *loaded]
        # Without a buffer, so that what can be read is never held where `select` does not look.
        _forking[loaded] = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        atexit.register(_end, _forking[loaded])
    return _forking[loaded]


def _end(forking: "subprocess.Popen[bytes]") -> None:
    """It ends when it reads the end of its requests."""
    forking.communicate()


def serve() -> None:
    """Fork a process for each request, one after the other; told are its number and how it ended."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.freeze()
    while requests.peek(1):
        request = pickle.load(requests)
        # Opened here, so that whoever reads comes to the end even if the process is killed at once.
        opened = [os.open(name, os.O_WRONLY if number else os.O_RDONLY) for number, name in enumerate(request.files)]
        pid = os.fork()
        if pid == 0:
            replies.close()
            _become(request, opened)
            return
        for each in opened:
            os.close(each)
        print(pid, file=replies, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=replies, flush=True)


def _become(request: _Request, opened: Sequence[int]) -> None:
    os.chdir(request.folder)
    for number, each in enumerate(opened):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = ["forge", *request.arguments]
    from dataforge.cli import main

    if request.first is not None:
        request.first()
    main()
