"""`forge build` in processes of their own, with something that goes wrong on the way."""

import json
import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from dataforge.cli import run

Notes = dict[str, tuple[int, int]]
"""Of each finished stage's note, which file it is and when it was written."""
WRITES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"}
PATIENCE = 300
"""Seconds after which something that should have happened never will; nothing is measured by it."""

# Python runs a module of this name when it starts, so that the fault is in the workers too.
STARTUP = """
import multiprocessing, os, signal, sys, time
from pathlib import Path

source, marker, what = os.environ["FAULT"].split("|")
marker = Path(marker)
opened = 0

def hear(event, values):
    global opened
    if event != "open" or not str(values[0]).endswith(source):
        return
    opened += 1
    if "alone" in what and opened == 3 or "alone" not in what and multiprocessing.parent_process():
        first = not marker.exists()
        marker.touch()
        if "dies" in what and (first or "again" in what):
            os.kill(os.getpid(), signal.SIGKILL)
        while "waits" in what and not marker.with_suffix(".go").exists():
            time.sleep(0.01)

sys.addaudithook(hear)
"""


def write_chats(path: Path, count: int, seed: int) -> None:
    """Write short conversations of which a few are there twice and one cannot be read."""
    draw = random.Random(seed)
    words = ["Pebble", "hello", "Paris", "capital", "tiny", "你好", "巴黎"]
    lines = ["{broken"]
    for number in range(1, count):
        asked, answer = f"{path.stem} {number}?", " ".join(draw.choices(words, k=draw.randint(1, 6)))
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        lines.append(lines[-1] if number % 20 == 2 else json.dumps({"messages": messages}, ensure_ascii=False))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@dataclass
class Running:
    """A command in a process group of its own."""

    process: "subprocess.Popen[str]"
    children: list[psutil.Process] = field(default_factory=list)

    def wait_until(self, state: Callable[[], bool]) -> None:
        """Wait until something holds or the command has ended; its processes are noted."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and not state():
            assert time.monotonic() < end
            time.sleep(0.002)
        self.look()

    def look(self) -> int:
        """Note the processes that it has started; returns how many there are."""
        if self.process.poll() is None:
            self.children = psutil.Process(self.process.pid).children(recursive=True)
        return len(self.children)

    def ended(self) -> tuple[int, list[str]]:
        """The exit code and the lines that it said on standard error, but for its progress."""
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said_by(said)

    def workers(self) -> list[psutil.Process]:
        """Those of its workers that are still there."""
        return [child for child in self.children if _is_worker(child)]

    def wait_for_the_workers(self) -> None:
        """Wait until workers that nobody stops have gone."""
        end = time.monotonic() + PATIENCE
        while self.workers():
            assert time.monotonic() < end
            time.sleep(0.01)


def _is_worker(process: psutil.Process) -> bool:
    """Whether it runs, and is not what multiprocessing has beside the workers, which ends after them."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "--multiprocessing-fork" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def said_by(text: str) -> list[str]:
    """The lines that a command said on standard error, but for its progress, of which a slow machine sees more."""
    return [line for line in text.splitlines() if line and not re.fullmatch(r".+: [\d,]+ of [\d,]+", line)]


@contextmanager
def started(folder: Path, *arguments: str, fault: str | None = None, **environment: str) -> Iterator[Running]:
    """Run a command; `fault` is what happens when a worker opens a source: `source|marker|dies, dies again or waits`.

    With `alone` in it, it happens when the process that was started opens it for the second time.
    """
    if fault is not None:
        (folder / "startup").mkdir(exist_ok=True)
        (folder / "startup" / "sitecustomize.py").write_text(STARTUP)
        paths = [str(folder / "startup"), os.environ.get("PYTHONPATH", "")]
        environment |= {"FAULT": fault, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    process = subprocess.Popen(
        [sys.executable, "-m", "dataforge", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        # What starts the tests may ignore interrupts, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class KillAt:
    """Die at the event with this number."""

    event: int

    def __call__(self, number: int) -> None:
        if number == self.event:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Full:
    """From the start, no file grows beyond so many bytes."""

    size: int

    def __call__(self, number: int) -> None:
        if number == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


def forge(folder: Path, *arguments: str, fault: Callable[[int], None] | None = None) -> tuple[int, list[str]]:
    """Run a command forked off a process that has loaded what it needs; returns its exit code and all it said.

    The fault is called with 0 at the start, and with the number of each write to a file system.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dataforge.build", "dataforge.explain", "dataforge.cli.build"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(folder, arguments, sender, fault))
    process.start()
    sender.close()
    said = b""
    while part := os.read(receiver.fileno(), 1 << 16):
        said += part
    receiver.close()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, said_by(said.decode())


def _child(folder: Path, arguments: tuple[str, ...], told: Connection, fault: Callable[[int], None] | None) -> None:
    os.chdir(folder)
    os.dup2(told.fileno(), 1)
    os.dup2(told.fileno(), 2)
    told.close()
    if fault is not None:
        _listen(fault)
    sys.exit(run(list(arguments)))


def _listen(fault: Callable[[int], None]) -> None:
    count = 0

    def hear(event: str, values: tuple[Any, ...]) -> None:
        nonlocal count
        opened = event == "open" and isinstance(values[2], int) and values[2] & (os.O_WRONLY | os.O_RDWR)
        if event in WRITES or (opened and not str(values[0]).endswith("lock")):
            count += 1
            fault(count)

    fault(0)
    sys.addaudithook(hear)


def notes(build: Path) -> Notes:
    """The notes of all stages that are finished."""
    found = {path.name: path.stat() for path in (build / ".work").glob("[0-9a-f][0-9a-f]/*.done")}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in found.items()}
