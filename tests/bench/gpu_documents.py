"""The documents of the GPU benchmark: real lengths, random ids, the same in the same steps for every contender.

`gpu_documents.json` holds [tokens, tokens with loss] of each document, counted with SmolLM2's tokenizer in ChatML:
`chat` the 400 conversations that end with a leaf of the 100 English trees in Open Assistant's sample (Apache-2.0),
`short` the 999 records of LLaMA-Factory's English Alpaca sample (Apache-2.0). Answers and their ends carry loss.
"""

import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

WINDOW = 4096
"""No document is longer, so that a micro-batch of any number of windows holds whole documents."""
WINDOWS_PER_STEP = 4
SPARE_STEPS = 2
"""Beyond those trained, for trainers that pack by themselves or read ahead."""
LONG = 16384
SMALLER = 32
"""Documents of a smoke run are this many times shorter, and so is a window."""


class Document(NamedTuple):
    """How long a document is."""

    tokens: int
    trained: int
    """Those at its end, which carry loss."""


Window = tuple[Document, ...]


@dataclass(frozen=True)
class Work:
    """What is trained on."""

    window: int
    """Tokens that fit into one."""
    steps: tuple[tuple[Window, ...], ...]
    """The windows of each optimizer step, with `SPARE_STEPS` more than are trained."""

    @property
    def documents(self) -> list[Document]:
        """All, in their order."""
        return [document for step in self.steps for window in step for document in window]

    @property
    def length(self) -> float:
        """The length of a document as attention sees it: E[n^2] / E[n]."""
        return sum(each.tokens**2 for each in self.documents) / sum(each.tokens for each in self.documents)

    @property
    def loss_share(self) -> float:
        """Of the tokens, those with loss."""
        return sum(each.trained for each in self.documents) / sum(each.tokens for each in self.documents)


def work(name: str, steps: int, *, small: bool = False) -> Work:
    """The documents `chat`, `short` or `long` (one document a step) for a number of optimizer steps."""
    if name == "long":
        length = LONG // SMALLER if small else LONG
        return Work(length, (((Document(length, length * 4 // 5),),),) * (steps + SPARE_STEPS))
    size = WINDOW // SMALLER if small else WINDOW
    windows = _windows(_documents(name, small), size)
    random.Random(7).shuffle(windows)
    wanted = (steps + SPARE_STEPS) * WINDOWS_PER_STEP
    # The set is gone through again where it is too small.
    windows = (windows * (wanted // len(windows) + 1))[:wanted]
    return Work(size, tuple(tuple(windows[at : at + WINDOWS_PER_STEP]) for at in range(0, wanted, WINDOWS_PER_STEP)))


def joined(step: tuple[Window, ...], together: int) -> list[Window]:
    """A step's windows in micro-batches of `together` windows."""
    return [
        tuple(document for window in step[at : at + together] for document in window)
        for at in range(0, len(step), together)
    ]


@cache
def _read() -> dict[str, list[list[int]]]:
    path = Path(__file__).with_suffix(".json")
    found: dict[str, list[list[int]]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _documents(name: str, small: bool) -> list[Document]:
    divisor = SMALLER if small else 1
    found = []
    for tokens, trained in _read()[name]:
        length = max(2, tokens // divisor)
        # Nothing is before a document's first token that could predict it.
        found.append(Document(length, min(length - 1, max(1, trained // divisor))))
    return found


def _windows(documents: list[Document], size: int) -> list[Window]:
    """Best-fit decreasing: each document, the longest first, goes where the least room is left."""
    found: list[list[Document]] = []
    room: list[int] = []
    for document in sorted(documents, key=lambda each: -each.tokens):
        places = [place for place in range(len(found)) if room[place] >= document.tokens]
        if places:
            place = min(places, key=lambda place: room[place])
        else:
            place = len(found)
            found.append([])
            room.append(size)
        found[place].append(document)
        room[place] -= document.tokens
    rest = random.Random(11)
    for window in found:
        rest.shuffle(window)
    # The last window is what was left over.
    full = [tuple(window) for window, left in zip(found, room, strict=True) if left < size // 8]
    return full or [tuple(window) for window in found]
