"""What asking costs: counted while it goes on, estimated before, and stopped where the recipe says."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from dataforge.errors import BuildError
from dataforge.llm.settings import Budget, Model

_MILLIONTHS = 1_000_000
_BATCH_SHARE = 0.5
"""Of the price, that providers take of what is handed over as a batch."""


@dataclass
class Spent:
    """What was sent and what came back."""

    requests: int = 0
    """Sent, those sent again included."""
    again: int = 0
    """Of those, sent again after a failure."""
    mended: int = 0
    """Of those, sent to have a reply mended that was not the JSON that was asked for."""
    failures: Counter[str] = field(default_factory=Counter)
    """Of the requests, by their kind."""
    cached: int = 0
    """Replies that were there already."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """Of the models whose price is known."""

    def add(self, prompt_tokens: int, completion_tokens: int, model: Model) -> None:
        """Count a reply."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.cost += cost(prompt_tokens, completion_tokens, model)

    def taken(self) -> dict[str, int]:
        """What there is of each, which is then counted from nought again."""
        names = {
            "requests": "requests",
            "again": "requests sent again",
            "mended": "requests to mend a reply",
            "cached": "replies from the cache",
            "prompt_tokens": "prompt tokens",
            "completion_tokens": "completion tokens",
        }
        found = {said: getattr(self, name) for name, said in names.items() if getattr(self, name)}
        for name in names:
            setattr(self, name, 0)
        found |= {f"failed: {kind}": count for kind, count in sorted(self.failures.items())}
        self.failures.clear()
        whole = int(self.cost * _MILLIONTHS)
        self.cost -= whole / _MILLIONTHS
        return found | ({"cost in millionths": whole} if whole else {})


@dataclass
class Purse:
    """What may be spent in one build, by all models."""

    budget: Budget
    spent: Spent = field(default_factory=Spent)
    _aside: float = 0.0
    """What the requests under way may cost."""
    _known: "asyncio.Future[None] | None" = None
    """Done when the next of them is given back."""

    async def take(self, bound: float) -> None:
        """Count a request that will cost at most so much, and set that aside until it is given back.

        Where it may become too much, those under way are waited for, whose cost is known then. Raises `BuildError`
        where no further request may be sent.
        """
        most, limit = self.budget.max_requests, self.budget.max_cost
        while limit is not None and self.spent.cost + self._aside + bound > limit and self._aside > 0:
            if self._known is None:
                self._known = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._known)
        if limit is not None and self.spent.cost + self._aside + bound > limit:
            raise BuildError(
                f"{self.spent.cost:.2f} were spent and the next request may cost {bound:.2g}, more than "
                "`budget.max_cost` allows for one run; every reply is kept: run the same command again to spend as "
                "much once more, or raise it"
            )
        if most is not None and self.spent.requests >= most:
            raise BuildError(
                f"{self.spent.requests:,} requests were sent, as many as `budget.max_requests` allows for one run; "
                "every reply is kept: run the same command again to send as many once more, or raise it"
            )
        self.spent.requests += 1
        self._aside += bound

    def give_back(self, bound: float) -> None:
        """What was set aside, once it is known what the request cost."""
        self._aside = max(0.0, self._aside - bound) if self._aside > bound * 1.000001 else 0.0
        if self._known is not None:
            self._known.set_result(None)
            self._known = None

    def __str__(self) -> str:
        money = f", {self.spent.cost:.2f} spent" if self.spent.cost else ""
        return f"{self.spent.requests:,} requests{money}"


def cost(prompt_tokens: float, completion_tokens: float, model: Model) -> float:
    """In the currency of the price; 0 where none is known."""
    if model.price is None:
        return 0.0
    whole = (prompt_tokens * model.price.input + completion_tokens * model.price.output) / 1e6
    return whole * _BATCH_SHARE if model.mode == "batch" else whole


def tokens_of(text: str) -> int:
    """About how many tokens a text has: a character of Chinese, Japanese or Korean is one, of others four are."""
    wide = 0 if text.isascii() else sum(char >= "\u2e80" for char in text)
    return wide + (len(text) - wide) // 4 + 1
