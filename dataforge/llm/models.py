"""The models that a recipe names, ready to be asked by its steps; or only what they said before."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dataforge.llm import budget, completions, replay
from dataforge.llm.budget import Purse, Spent
from dataforge.llm.cache import Cache, place
from dataforge.llm.door import Door, key_of
from dataforge.llm.requests import Ask, NoReply, Reply, Request
from dataforge.llm.settings import Budget, Model

_ALIVE_PER_REQUEST = 4
"""Records that are under way for each request at a time: most of them wait for their turn."""


@dataclass
class Models:
    """The models of one build by their names, with one budget and one cache."""

    models: Mapping[str, Model]
    budget: Budget
    replay: Path | None = None
    """A file of recorded replies, in place of all endpoints."""
    _doors: dict[str, Door] = field(default_factory=dict)
    _spent: dict[str, Spent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.purse = Purse(self.budget)
        self._recorded = None if self.replay is None else replay.read(self.replay)

    @property
    def alive(self) -> int:
        """How many records may wait for replies at a time."""
        return _ALIVE_PER_REQUEST * max((model.at_once for model in self.models.values()), default=1)

    def ask(self, step: str, names: tuple[str, ...]) -> Mapping[str, Ask]:
        """What a step asks with, by the names of its models; what it took is counted for the step."""
        spent = self._spent.setdefault(step, Spent())
        return {name: partial(self._ask, name, spent) for name in names}

    def noted(self, step: str) -> dict[str, int]:
        """What was counted of a step's requests since this was last asked."""
        spent = self._spent.get(step)
        return {} if spent is None else spent.taken()

    async def close(self) -> None:
        """Let go of all connections."""
        for door in self._doors.values():
            await door.close()
        self._doors.clear()

    async def _ask(self, name: str, spent: Spent, request: Request) -> Reply | NoReply:
        if self._recorded is not None and self.replay is not None:
            said = completions.logical(request, self.models[name])
            key = key_of(said)
            if key not in self._recorded:
                raise replay.miss(self.replay, key, said)
            spent.cached += 1
            return self._recorded[key]
        if name not in self._doors:
            self._doors[name] = Door(name, self.models[name], Cache(), self.purse)
        return await self._doors[name].ask(request, spent)


@dataclass
class Remembered:
    """What the models of a recipe said before; nothing is sent."""

    models: Mapping[str, Model]
    replay: Path | None = None
    missing: Counter[str] = field(default_factory=Counter)
    """Requests without a reply, by model."""
    prompt_tokens: Counter[str] = field(default_factory=Counter)
    """About how many those have."""
    reply_tokens: Counter[str] = field(default_factory=Counter)
    """How many their replies have at most."""
    schemas: int = 0
    """How many of those are to be answered with JSON."""
    unbounded: bool = False
    """Whether a reply to them may have any length."""
    _missed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._recorded = {} if self.replay is None else replay.read(self.replay)
        self._cache = Cache() if self.replay is None and place().is_file() else None

    def ask(self, names: tuple[str, ...]) -> Mapping[str, Ask]:
        """What a step asks with, by the names of its models."""
        return {name: partial(self._ask, name) for name in names}

    def forget(self) -> None:
        """Count from nought again; a request that was counted is not counted once more."""
        for counts in (self.missing, self.prompt_tokens, self.reply_tokens):
            counts.clear()
        self.schemas, self.unbounded = 0, False

    async def _ask(self, name: str, request: Request) -> Reply | NoReply:
        said = completions.logical(request, self.models[name])
        key = key_of(said)
        known = self._recorded.get(key) or (self._cache.get(key) if self._cache else None)
        if known is not None:
            return known
        if key not in self._missed:
            self._missed.add(key)
            self.missing[name] += 1
            self.prompt_tokens[name] += sum(budget.tokens_of(message["content"]) for message in said["messages"])
            self.reply_tokens[name] += said.get("max_tokens") or 0
            self.schemas += "schema" in said
            self.unbounded = self.unbounded or not said.get("max_tokens")
        shown = " ".join(str(said["messages"][-1]["content"]).split())[:200]
        return NoReply("not_asked", f"would ask {said['model']}: {shown}")
