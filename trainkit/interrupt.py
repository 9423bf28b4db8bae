"""Ctrl-C while a run works: the first one is a request, the second one is not."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupt:
    """Whether somebody has asked the run to stop."""

    requested = False


class Interrupted(KeyboardInterrupt):
    """A run that was stopped and has saved where it was; the same command goes on from there."""


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn the first SIGINT into a request; a second one interrupts at once. Only the main thread hears signals."""
    state = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return
    previous: Any = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        state.requested = True
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, ask)
    try:
        yield state
    finally:
        signal.signal(signal.SIGINT, previous)
