"""Stages whose records wait for a language model: done by the process that drives the build, all at once.

A record is a coroutine that asks as often as it needs; many are alive at a time, so that the door to the model always
has something to send. What a part became is kept like any other stage once all of its records are through.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from dataforge import arrow_bytes, components, forecast, record_table, report
from dataforge.components import Counting, Made
from dataforge.forecast import Forecast
from dataforge.llm.requests import Ask, NoReply, Reply, Request
from dataforge.readers import Part
from dataforge.recipe import StepSpec
from dataforge.records import Record
from dataforge.stages import Facts, key_of
from dataforge.tally import Tally
from dataforge.tasks import Site, Task, read_records

if TYPE_CHECKING:
    from dataforge.llm.models import Models

UNANSWERED = "requests that failed for good"
"""As a build counts them; the next one sends them again."""


@dataclass(frozen=True)
class Talk:
    """How a build speaks with its user while it asks."""

    confirm: Callable[[str], None] | None = None
    """Told what will be asked; raises `ForgeError` where it may not."""
    progress: Callable[[str, int, int], None] | None = None
    """Told the step, and how many records are through, of all that are foreseen or else of those under way."""


@dataclass(frozen=True)
class AskTask:
    """The records of one part through a step that asks."""

    part: Part
    step: StepSpec
    before: str
    """The key of its records as they enter the step."""
    key: str

    def __str__(self) -> str:
        return str(self.part)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its records as they leave the step."""
        return (self.key,)

    def run(self, site: Site) -> list[Facts]:
        """Not done so: whoever drives the build asks for all parts at once."""
        raise RuntimeError("a step that asks is done by the process that drives the build")


def done(
    run_others: Callable[[Sequence[Task]], Iterator[tuple[int, list[Facts]]]],
    site: Site,
    tasks: Sequence[Task],
    talk: Talk,
) -> Iterator[tuple[int, list[Facts]]]:
    """Tasks as they are done: by others, but for those that ask a model, which this process does."""
    asks = [task for task in tasks if isinstance(task, AskTask)]
    return run(site, asks, talk) if asks else run_others(tasks)


def run(site: Site, tasks: Sequence[AskTask], talk: Talk) -> Iterator[tuple[int, list[Facts]]]:
    """Have all tasks done; each with its number as it ends.

    What ends the asking (`BuildError`, `InputError`) is raised once what is under way has ended.
    """
    waiting: deque[tuple[int, AskTask]] = deque()
    for number, task in enumerate(tasks):
        facts = site.work.sound(task.key)
        if facts is None:
            waiting.append((number, task))
        else:
            yield number, [{**facts, "made": False}]
    if not waiting:
        return
    import uvloop

    foreseen = _foreseen(site, waiting, talk)
    models = site.models
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        parts = _Parts(site, waiting, models, talk, foreseen, len(waiting))
        try:
            while parts.left:
                number, facts = runner.run(parts.following())
                yield number, [{**facts, "made": True}]
        finally:
            runner.run(parts.end())


def _foreseen(site: Site, waiting: Sequence[tuple[int, AskTask]], talk: Talk) -> Forecast | None:
    """What asking will cost, which is told and has to be confirmed; None where nothing is to be asked or told."""
    if site.recipe.data.replay is not None or talk.confirm is None:
        return None
    found = forecast.made(site, waiting[0][1].step, [task.before for _, task in waiting])
    if found is not None:
        talk.confirm(str(found))
    return found


@dataclass
class _Parts:
    """Parts under way and still to come."""

    site: Site
    waiting: deque[tuple[int, AskTask]]
    models: "Models"
    talk: Talk
    foreseen: Forecast | None
    of: int
    """How many parts there are."""
    _taken: int = 0
    """Parts that were begun."""
    _through: int = 0
    _of: int = 0
    """Records that are through, of those under way."""
    _running: dict["asyncio.Task[Facts]", tuple[int, int]] = field(default_factory=dict)
    """With the number of its task, and how many records it has."""

    @property
    def left(self) -> bool:
        return bool(self.waiting or self._running)

    async def end(self) -> None:
        """Let go of what is under way, if it was interrupted, and then of all connections."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.models.close()

    async def following(self) -> tuple[int, Facts]:
        """The next part that is through, with its number."""
        while self.waiting and sum(records for _, records in self._running.values()) < self.models.alive:
            number, task = self.waiting.popleft()
            records = read_records(self.site.work, task.before)
            self._running[asyncio.create_task(self._part(task, records, self._taken))] = number, len(records)
            self._taken += 1
        done, others = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        first = min(done, key=lambda task: self._running[task])
        if first.exception() is not None:
            await asyncio.wait(others) if others else None
        number, _ = self._running.pop(first)
        return number, first.result()

    async def _part(self, task: AskTask, records: Sequence[Record], part: int) -> Facts:
        step, asker = task.step, self.site.line.asker(task.step)
        names = components.models(step.use, step.settings)
        lost = list[NoReply]()
        ask = {name: _heard(each, lost) for name, each in self.models.ask(step.name, names).items()}
        alive, tally = asyncio.Semaphore(self.models.alive), Tally()
        self._of += len(records)

        async def take(record: Record) -> Made:
            if step.source not in (None, record.origin.source):
                return record
            async with alive:
                made = await asker.take(record, ask)
            self._through += 1
            if self.talk.progress is not None:
                of = self._of if self.foreseen is None else max(self._of, round(self.foreseen.records))
                self.talk.progress(f"{step.name} ({self.models.purse})", self._through, of)
            return made

        found = await asyncio.gather(*map(take, records), return_exceptions=True)
        results: list[Made] = []
        for result in found:
            if isinstance(result, BaseException):
                raise result
            results.append(result)
        kept: list[Record] = list(tally.unfolding(step.name, results))
        counts = {**self.models.noted(step.name), **(asker.noted() if isinstance(asker, Counting) else {})}
        if self.foreseen is not None:
            counts |= self.foreseen.noted(part, self.of)
        outputs = [("records.arrow", arrow_bytes.stream(record_table.to_table(kept), "lz4"))]
        if tally.rejects:
            outputs.append(("rejects", b"".join(map(report.reject_line, tally.rejects))))
        key = task.key
        if lost:
            counts[UNANSWERED] = len(lost)
            # Under a name of its own, so that the next build finds nothing under the task's and asks again.
            key = key_of(
                "asked in part", {"asked": key, "became": [sha256(content).hexdigest() for _, content in outputs]}
            )
        return self.site.work.keep(key, outputs, {"key": key, "stations": tally.stations, "noted": {step.name: counts}})


def _heard(asked: Ask, lost: list[NoReply]) -> Ask:
    """What asks the same, and adds to a list the replies that never came."""

    async def ask(request: Request) -> Reply | NoReply:
        reply = await asked(request)
        if isinstance(reply, NoReply) and reply.reason == "failed":
            lost.append(reply)
        return reply

    return ask
