"""The first records of each source through the whole line, as if they were the corpus: in memory, nothing written."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataforge import components, forecast, gathers, heads, publish
from dataforge.frames import Frames
from dataforge.line import Decisions, Line
from dataforge.recipe import StepSpec
from dataforge.records import Record, Reject, Trainable
from dataforge.shards import Stage, Turns
from dataforge.stages import Facts
from dataforge.tally import Tally
from dataforge.tokenize import Encoded


@dataclass(frozen=True)
class Sample:
    """What came down the line."""

    bytes: int
    """That were read."""
    weighed: list[Trainable]
    """Before the gate."""
    encoded: list[Encoded]
    rejects: list[Reject]
    funnel: list[Stage]
    turns: Turns


def first_records(line: Line, limit: int, frames: Frames | None = None) -> Sample:
    """Run the line over at most `limit` records of each source.

    Raises `InputError` and `ConfigError` as a build would.
    """
    found_heads = [head for spec in line.recipe.sources for head in heads.of(spec, limit, frames or {})]
    parts = [head.part for head in found_heads]
    tallies = [Tally() for _ in parts]
    segments = line.recipe.segments
    records = [
        list(line.segment(line.read(head.part, tally, head.unpacked), 0, tally))
        for head, tally in zip(found_heads, tallies, strict=True)
    ]
    for number, segment in enumerate(segments[1:], start=1):
        if segment.after is None:
            continue
        if components.asks(segment.after.use):
            records = [
                list(line.segment(_replied(line, segment.after, of_part, tally), number, tally))
                for of_part, tally in zip(records, tallies, strict=True)
            ]
            continue
        gather, mine = line.gather(segment.after), segment.after.source
        concerned = [at for at, part in enumerate(parts) if mine in (None, part.source)]
        found = gathers.in_memory(gather, [gather.thin(records[at]) for at in concerned])
        decisions: dict[int, Decisions] = dict(zip(concerned, found, strict=True))
        records = [
            list(line.segment(line.decided(of_part, segment.after, decisions.get(at, {}), tally), number, tally))
            for at, (of_part, tally) in enumerate(zip(records, tallies, strict=True))
        ]
    weighed = [list(line.weighed(of_part, tally)) for of_part, tally in zip(records, tallies, strict=True)]
    encoded = [list(line.encode(of_part, tally)) for of_part, tally in zip(weighed, tallies, strict=True)]
    rejects = [
        reject for tally in tallies for reject in sorted(tally.rejects, key=lambda reject: reject.origin.ordinal)
    ]
    reports: list[Facts] = [
        {"stations": tally.stations, "turns": tally.turns(items)} for items, tally in zip(encoded, tallies, strict=True)
    ]
    return Sample(
        bytes=sum(part.span.end - part.span.start for part in parts),
        weighed=[record for of_part in weighed for record in of_part],
        encoded=[item for of_part in encoded for item in of_part],
        rejects=rejects,
        funnel=publish.funnel(reports),
        turns=publish.turns(reports),
    )


def _replied(line: Line, step: StepSpec, records: Sequence[Record], tally: Tally) -> Iterator[Record]:
    """Records through a step that asks, with the replies that were paid for before; nothing is sent."""
    from dataforge.llm.models import Remembered

    data = line.recipe.data
    ask = Remembered(data.llm, data.replay).ask(components.models(step.use, step.settings))
    return tally.unfolding(step.name, asyncio.run(forecast.through(line.asker(step), step, records, ask)))
