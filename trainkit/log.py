"""What a run says while it runs: `metrics.jsonl` for programs, a progress line for people."""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import orjson

from dataforge.shards import replace_file
from trainkit import plot
from trainkit.files import written
from trainkit.trackers import Trackers

QUIET_SECONDS = 10.0
"""Between two lines where no terminal shows the progress."""
REWRITE_SECONDS = 0.2


class Metrics:
    """One JSON object a line, flushed as it is written; trackers get the same numbers."""

    def __init__(self, path: Path, after_step: int, trackers: Trackers | None = None) -> None:
        """Go on after step `after_step`: later lines, left by a run that was cut off, are dropped.

        Raises `TrainingError` where the file cannot be written, as does `write`.
        """
        self._path, self._trackers = path, trackers
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                lines = path.read_bytes().splitlines(True)
                replace_file(path, b"".join(line for line in lines if _upto(line, after_step)))
            self._file = path.open("ab")

    def write(self, **values: Any) -> None:
        """Append one line; numbers that are not finite become null."""
        with written(self._path):
            try:
                self._file.write(orjson.dumps(values) + b"\n")
                self._file.flush()
            except OSError:
                # Closing tries once more to write what did not go out.
                with suppress(OSError):
                    self._file.close()
                raise
        if self._trackers is not None:
            self._trackers.log(values)

    def plot(self) -> None:
        """Draw the losses beside the file."""
        with written(self._path.with_name(plot.FILE)):
            plot.draw(self._path, self._path.with_name(plot.FILE))

    def close(self) -> None:
        """Close the file and the trackers."""
        self._file.close()
        if self._trackers is not None:
            self._trackers.close()


def _upto(line: bytes, step: int) -> bool:
    try:
        return bool(orjson.loads(line)["step"] <= step)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False


class Progress:
    """Where a run is: one rewritten line on a terminal, a line now and then elsewhere."""

    def __init__(self, steps: int, stream: TextIO | None = None, *, silent: bool = False) -> None:
        self._steps = steps
        self._silent = silent
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._shown = -float("inf")
        self._open = False

    def show(self, step: int, loss: float, rates: tuple[float, float], seconds_left: float) -> None:
        """Say how far the run is; `rates` are tokens and trained tokens per second."""
        now = time.monotonic()
        pause = REWRITE_SECONDS if self._terminal else QUIET_SECONDS
        if self._silent or (now - self._shown < pause and step < self._steps):
            return
        self._shown = now
        text = (
            f"step {step}/{self._steps}  loss {loss:.4f}  {rates[0]:,.0f} tokens/s  "
            f"{rates[1]:,.0f} trained tokens/s  {clock(seconds_left)} left"
        )
        if self._terminal:
            self._stream.write(f"\r\x1b[K{text}")
            self._open = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._silent:
            return
        self.close()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the rewritten line as it stands."""
        if self._open:
            self._stream.write("\n")
            self._open = False


def clock(seconds: float) -> str:
    """A span of time as a person reads it: `8s`, `4m 05s`, `2h 10m`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
