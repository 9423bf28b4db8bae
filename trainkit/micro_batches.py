"""What a process computes at one time: windows together, one window, or a part of one."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from dataforge.shards import Window
from trainkit.config import Train
from trainkit.data import Windows, parts, trained_places
from trainkit.plan import shares
from trainkit.processes import Processes

CPU_TOKENS = 1024
"""Of a micro-batch on a CPU, which is as fast with more and needs more memory for them."""
ACCELERATOR_TOKENS = 8192
"""Of one on an accelerator, which is idle in part with fewer."""


class Size(NamedTuple):
    """How much a process computes at one time."""

    together: int | None
    """The most tokens of windows that are computed together; None: one window."""
    limit: int
    """The most tokens of a part of one, unless a document is longer."""

    def at_most(self, tokens: int) -> "Size":
        """This size, or a smaller one."""
        return Size(None if self.together is None else min(self.together, tokens), min(self.limit, tokens))


def size(settings: Train, device: torch.device) -> Size:
    """What the settings say, or what the device is fast with."""
    setting = settings.tokens_per_micro_batch
    if setting != "auto":
        return Size(setting, setting)
    return Size(None, CPU_TOKENS) if device.type == "cpu" else Size(ACCELERATOR_TOKENS, ACCELERATOR_TOKENS)


class Work(NamedTuple):
    """What a process computes at one time."""

    windows: tuple[int, ...]
    part: int
    """Of the one window, where it is cut."""
    data: list[Window]
    weight: int = 1
    """0 where it is computed only because other processes compute."""

    @property
    def documents(self) -> int:
        """How many documents there are in it."""
        return sum(len(window.seq_lengths) for window in self.data)

    @property
    def tokens(self) -> int:
        """How many tokens there are in it."""
        return sum(len(window.input_ids) for window in self.data)


def micro_batches(
    windows: Windows,
    chosen: Sequence[int],
    size: Size,
    processes: Processes,
    *,
    sharded: bool,
) -> Iterator[Work]:
    """What this process computes of the chosen windows, one micro-batch after the other.

    A base that is `sharded` is gathered layer by layer from all processes, so none may compute more or less often than
    the others: whole windows then, and some once more, at no weight.
    """
    shared = shares(chosen, windows.tokens_W.tolist(), size.together, processes.count)
    mine = shared[processes.rank]
    if sharded:
        yield from (Work(group, 0, [windows[index] for index in group]) for group in mine)
        most = max(len(groups) for groups in shared)
        yield from (Work((chosen[0],), 0, [windows[chosen[0]]], weight=0) for _ in range(most - len(mine)))
        return
    for group in mine:
        if len(group) > 1:
            yield Work(group, 0, [windows[index] for index in group])
            continue
        cut = parts(windows[group[0]], size.limit)
        yield from (Work(group, number, [part]) for number, part in enumerate(cut) if len(trained_places(part)))
