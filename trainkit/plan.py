"""Which windows go into which optimizer step; known before the first one, and the same on any machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataforge.seeds import draw
from trainkit.config import Train


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step."""

    epoch: int
    """Counted from 0."""
    windows: tuple[int, ...]
    tokens: int
    trained_tokens: int


def steps(settings: Train, tokens_W: Sequence[int], trained_W: Sequence[int], seed: int) -> list[Step]:
    """All steps of a run, given each window's tokens and trained tokens.

    Each epoch goes through all windows in an order of its own. A step takes windows as they come while they fit into
    `tokens_per_step`, and at least one; the last step of an epoch is what is left.
    """
    planned: list[Step] = []
    seen = 0
    for step in _endless(settings, tokens_W, trained_W, seed):
        if _enough(settings, step.epoch, len(planned), seen):
            break
        planned.append(step)
        seen += step.tokens
    return planned


def _enough(settings: Train, epoch: int, steps: int, tokens: int) -> bool:
    if settings.epochs is not None:
        return epoch >= settings.epochs
    if settings.steps is not None:
        return steps >= settings.steps
    return settings.tokens is not None and tokens >= settings.tokens


def _endless(settings: Train, tokens_W: Sequence[int], trained_W: Sequence[int], seed: int) -> Iterator[Step]:
    epoch = 0
    while len(tokens_W):
        order = sorted(range(len(tokens_W)), key=lambda window: draw(seed, "order", str(epoch), str(window)))
        for windows in _groups(order, tokens_W, settings.tokens_per_step):
            tokens = sum(int(tokens_W[window]) for window in windows)
            yield Step(epoch, windows, tokens, sum(int(trained_W[window]) for window in windows))
        epoch += 1


def _groups(order: Sequence[int], tokens_W: Sequence[int], limit: int) -> Iterator[tuple[int, ...]]:
    group: list[int] = []
    size = 0
    for window in order:
        if group and size + tokens_W[window] > limit:
            yield tuple(group)
            group, size = [], 0
        group.append(window)
        size += int(tokens_W[window])
    if group:
        yield tuple(group)


def shares(
    windows: Sequence[int], tokens_W: Sequence[int], limit: int | None, processes: int
) -> list[list[tuple[int, ...]]]:
    """The micro-batches of each process: windows that together hold at most `limit` tokens (None: one window each).

    Every window is in one of them. The longest window goes first, to the process that has the fewest tokens so far
    (Graham, 1969), and each process keeps its windows in the order of the step.
    """
    owners: dict[int, int] = {}
    loads = [0] * processes
    for place in sorted(range(len(windows)), key=lambda place: -int(tokens_W[windows[place]])):
        owner = loads.index(min(loads))
        owners[place] = owner
        loads[owner] += int(tokens_W[windows[place]])
    owned = [[windows[place] for place in range(len(windows)) if owners[place] == rank] for rank in range(processes)]
    return [list(_groups(mine, tokens_W, limit or 1)) for mine in owned]
