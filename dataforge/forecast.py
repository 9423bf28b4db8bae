"""What a step that asks will send and cost, told before it does: counted for what it asks first, and at most for what
the replies to that lead to.

The step is tried on some of its records without asking. What it would ask first, and what an earlier run has not
answered yet, is counted; what it asks after that depends on the replies, and is bounded by what its module says of its
settings (`later`). Where the reply is to be JSON, each request may be sent once more to have it mended. Requests that
are sent again because they failed are not foreseen.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from dataforge import components
from dataforge.components import Asker, Counting, Made
from dataforge.llm import budget
from dataforge.llm.requests import Ask
from dataforge.recipe import StepSpec
from dataforge.records import Record
from dataforge.tasks import Site, read_records

if TYPE_CHECKING:
    from dataforge.llm.models import Remembered

_Each = TypeVar("_Each")
PARTS = 20
RECORDS = 200
"""By which it is judged, spread evenly over so many parts."""


@dataclass
class Forecast:
    """Requests by the names of models."""

    step: StepSpec
    site: Site
    exact: bool = True
    """Whether every record was tried."""
    records: float = 0.0
    """Of all parts; about, where some were not looked at."""
    first: dict[str, float] = field(default_factory=dict)
    """That are known already; rounded only when they are told."""
    prompt_tokens: dict[str, float] = field(default_factory=dict)
    reply_tokens: dict[str, float] = field(default_factory=dict)
    """At most."""
    mended: float = 0.0
    """Of the first, those whose reply is to be JSON."""
    unbounded: bool = False
    """Whether a reply may have any length."""

    def add(self, tried: "Remembered", weight: float) -> None:
        """Count what was missing for records that stand for so many times their number."""
        for mine, its in (
            (self.first, tried.missing),
            (self.prompt_tokens, tried.prompt_tokens),
            (self.reply_tokens, tried.reply_tokens),
        ):
            for name, count in its.items():
                mine[name] = mine.get(name, 0.0) + count * weight
        self.mended += tried.schemas * weight
        self.unbounded = self.unbounded or tried.unbounded
        tried.forget()

    @property
    def later(self) -> dict[str, int]:
        """By model, how many more requests may follow at most."""
        count = self.requests
        led = {name: each * count for name, each in components.later(self.step.use, self.step.settings).items()}
        mended = self.mended / count if count else 0.0
        found = {
            name: led.get(name, 0.0) + mended * (self.first.get(name, 0.0) + led.get(name, 0.0))
            for name in dict.fromkeys([*self.first, *led])
        }
        return {name: math.ceil(round(more, 6)) for name, more in found.items() if more}

    @property
    def requests(self) -> float:
        """The first ones, of all models."""
        return sum(self.first.values())

    def costs(self) -> tuple[float, float]:
        """At most, of the first requests and of all."""
        models, count = self.site.recipe.data.llm, self.requests
        first = sum(budget.cost(self.prompt_tokens[name], self.reply_tokens[name], models[name]) for name in self.first)
        prompt, reply = (sum(each.values()) / count for each in (self.prompt_tokens, self.reply_tokens))
        # A later request shows what an earlier one did, and its reply.
        more = sum(each * budget.cost(prompt + reply, reply, models[name]) for name, each in self.later.items())
        return first, first + more

    def noted(self, part: int, parts: int) -> dict[str, int]:
        """What the record of a build keeps of it with one of so many parts; over all of them it adds up."""
        first, most = self.requests, self.requests + sum(self.later.values())
        told = {
            "requests foreseen": first,
            "requests foreseen at most": most,
            "cost foreseen at most, in millionths": 1e6 * self.costs()[1],
        }
        shares = {name: round(count * (part + 1) / parts) - round(count * part / parts) for name, count in told.items()}
        return {name: share for name, share in shares.items() if share}

    def __str__(self) -> str:
        about = "" if self.exact else "about "
        parts = []
        for name in sorted({*self.first, *self.later}):
            more = self.later.get(name, 0)
            first = "no request at first"
            if name in self.first:
                first = f"{about}{round(self.first[name]):,} requests"
                first += f" with about {round(self.prompt_tokens[name]):,} tokens"
                if not self.unbounded:
                    first += f" and at most {round(self.reply_tokens[name]):,} in the replies"
            follow = f", and {about}{more:,} more at most, as the replies have it" if more else ""
            parts.append(f"{name} {first}{follow}")
        least, most = self.costs()
        free = "; `max_tokens` is not given, so that replies have any length" if self.unbounded else ""
        money = f", for at most {least:.2f}" if least else ""
        money += f", or {most:.2f} with all that may follow" if money and most > least else ""
        others = [each.name for each in _after(self.site, self.step)]
        told = f"; what {' and '.join(others)} will send is told later" if others else ""
        return f"{self.step.name} will send {'; '.join(parts)}{'' if self.unbounded else money}{free}{told}"


def made(site: Site, step: StepSpec, befores: Sequence[str]) -> Forecast | None:
    """Of the parts of these keys; None where everything has been answered before."""
    from dataforge.llm.models import Remembered

    tried, spread = Remembered(site.recipe.data.llm), _evenly(befores, PARTS)
    each = math.ceil(RECORDS / len(spread))
    found = Forecast(step, site, exact=len(spread) == len(befores))
    for key in spread:
        records = read_records(site.work, key)
        chosen = _evenly(records, each)
        found.exact = found.exact and len(chosen) == len(records)
        found.records += len(records) * len(befores) / len(spread)
        if chosen:
            _try(site, step, chosen, tried)
            found.add(tried, len(records) / len(chosen) * len(befores) / len(spread))
    if found.first or found.exact:
        return found if found.first else None
    # What was tried is all there; the first part that is not stands for those after it.
    for number, key in enumerate(befores):
        _try(site, step, read_records(site.work, key), tried)
        if tried.missing:
            found.add(tried, len(befores) - number)
            return found
    return None


def _try(site: Site, step: StepSpec, records: Sequence[Record], tried: "Remembered") -> None:
    asker = site.line.asker(step)
    asyncio.run(through(asker, step, records, tried.ask(components.models(step.use, step.settings))))
    if isinstance(asker, Counting):
        asker.noted()  # what was counted of this trial is not of the build


def _evenly(all_: Sequence[_Each], count: int) -> list[_Each]:
    """So many of a sequence, spread over all of it."""
    return [all_[at * len(all_) // count] for at in range(count)] if len(all_) > count else list(all_)


def _after(site: Site, step: StepSpec) -> list[StepSpec]:
    """The steps after one that ask too."""
    steps = [each for each in site.recipe.every_step if components.asks(each.use)]
    names = [each.name for each in steps]
    return steps[names.index(step.name) + 1 :]


async def through(asker: Asker, step: StepSpec, records: Sequence[Record], ask: Mapping[str, Ask]) -> list[Made]:
    """Some records through a step that asks, all at once; those of other sources pass it by."""

    async def take(record: Record) -> Made:
        return await asker.take(record, ask) if step.source in (None, record.origin.source) else record

    return list(await asyncio.gather(*map(take, records)))
