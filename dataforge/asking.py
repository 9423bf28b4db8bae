"""Stages whose records wait for a language model: done by the process that drives the build, all at once.

A record is a coroutine that asks as often as it needs; many are alive at a time, so that the door to the model always
has something to send. What a part became is kept like any other stage once all of its records are through.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dataforge import arrow_bytes, record_table, report
from dataforge.components import Asker, Counting, Made
from dataforge.llm.requests import Ask
from dataforge.readers import Part
from dataforge.recipe import StepSpec
from dataforge.records import Record
from dataforge.stages import Facts, Output
from dataforge.tally import Tally
from dataforge.tasks import Site, read_records


class Models(Protocol):
    """The models that a recipe names, ready to be asked."""

    alive: int
    """How many records may wait for replies at a time."""

    def ask(self, step: StepSpec) -> Mapping[str, Ask]:
        """What a step asks with, by the names of its models; what it is told is counted for it."""

    def noted(self, step: StepSpec) -> Mapping[str, int]:
        """What was counted of a step's requests since this was last asked."""


@dataclass(frozen=True)
class AskTask:
    """The records of one part through a step that asks."""

    part: Part
    step: StepSpec
    before: str
    """The key of its records as they enter the step."""
    key: str

    def __str__(self) -> str:
        span = self.part.span
        return f"records {span.ordinal + 1} to {span.ordinal + span.records} of {self.part.file}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Its records as they leave the step."""
        return (self.key,)

    def run(self, site: Site) -> list[Facts]:
        """Not done so: whoever drives the build asks for all parts at once."""
        raise RuntimeError("a step that asks is done by the process that drives the build")


def run(site: Site, tasks: Sequence[AskTask], models: Models) -> Iterator[tuple[int, list[Facts]]]:
    """Have all tasks done; each with its number as it ends.

    What a model refuses to be asked (`BuildError`) ends it once what is under way has ended.
    """
    waiting: deque[tuple[int, AskTask]] = deque()
    for number, task in enumerate(tasks):
        facts = site.work.sound(task.key)
        if facts is None:
            waiting.append((number, task))
        else:
            yield number, [{**facts, "made": False}]
    if waiting:
        with asyncio.Runner() as runner:
            parts = _Parts(site, waiting, models)
            while parts.left:
                number, facts = runner.run(parts.following())
                yield number, [{**facts, "made": True}]


@dataclass
class _Parts:
    """Parts under way and still to come."""

    site: Site
    waiting: deque[tuple[int, AskTask]]
    models: Models
    _running: dict["asyncio.Task[Facts]", tuple[int, int]] = field(default_factory=dict)
    """With the number of its task, and how many records it has."""

    @property
    def left(self) -> bool:
        return bool(self.waiting or self._running)

    async def following(self) -> tuple[int, Facts]:
        """The next part that is through, with its number."""
        while self.waiting and sum(records for _, records in self._running.values()) < self.models.alive:
            number, task = self.waiting.popleft()
            records = read_records(self.site.work, task.before)
            self._running[asyncio.create_task(self._part(task, records))] = number, len(records)
        done, others = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        first = min(done, key=lambda task: self._running[task])
        if first.exception() is not None:
            await asyncio.wait(others) if others else None
        number, _ = self._running.pop(first)
        return number, first.result()

    async def _part(self, task: AskTask, records: Sequence[Record]) -> Facts:
        step, asker = task.step, self.site.line.asker(task.step)
        ask, alive, tally = self.models.ask(step), asyncio.Semaphore(self.models.alive), Tally()

        async def take(record: Record) -> Made:
            if step.source not in (None, record.origin.source):
                return record
            async with alive:
                return await asker.take(record, ask)

        found = await asyncio.gather(*map(take, records), return_exceptions=True)
        results: list[Made] = []
        for result in found:
            if isinstance(result, BaseException):
                raise result
            results.append(result)
        kept = list(tally.unfolding(step.name, results))
        counts = {**self.models.noted(step), **(asker.noted() if isinstance(asker, Counting) else {})}
        outputs: list[Output] = [("records.arrow", arrow_bytes.stream(record_table.to_table(kept), "lz4"))]
        if tally.rejects:
            outputs.append(("rejects", b"".join(map(report.reject_line, tally.rejects))))
        return self.site.work.keep(task.key, outputs, {"stations": tally.stations, "noted": {step.name: counts}})


async def through(asker: Asker, step: StepSpec, records: Sequence[Record], ask: Mapping[str, Ask]) -> list[Made]:
    """Some records through a step that asks, all at once; those of other sources pass it by."""

    async def take(record: Record) -> Made:
        return await asker.take(record, ask) if step.source in (None, record.origin.source) else record

    return list(await asyncio.gather(*map(take, records)))
