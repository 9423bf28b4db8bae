"""What is minimised: one file an objective, whose name is its name in a recipe.

An objective is a module with

    EATS                      the kind of shard it trains on
    prepare(policy, batch)    what must happen before the loss, or the batch as it is
    loss(policy, batch)       the summed loss, the number of trained tokens in it, and both for each document
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from dataforge.config import did_you_mean
from dataforge.errors import ConfigError

if TYPE_CHECKING:
    from trainkit.loss import Loss
    from trainkit.micro_batch import MicroBatch
    from trainkit.policy import Policy


class Objective(Protocol):
    """What the training loop asks of an objective's module."""

    EATS: str

    def prepare(self, policy: "Policy", batch: "MicroBatch") -> "MicroBatch":
        """The batch as the loss needs it."""

    def loss(self, policy: "Policy", batch: "MicroBatch") -> "Loss":
        """The loss summed over trained tokens, their number, and both for each document."""


def names() -> list[str]:
    """The objectives there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def load(name: str) -> Objective:
    """The module of an objective.

    Raises `ConfigError` where there is none of that name.
    """
    if name not in names():
        raise ConfigError(f"unknown objective {name!r}; {did_you_mean(name, names())}")
    return cast(Objective, importlib.import_module(f"{__name__}.{name}"))
