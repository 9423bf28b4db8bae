"""Which stages of a build would run, and why: the plan of a build, with nothing done."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dataforge import recipe
from dataforge.build import folder_of, refusals, site_in
from dataforge.config import Document
from dataforge.plan import planned, standing_build
from dataforge.schedule import Schedule
from dataforge.stages import Facts
from dataforge.tasks import Site, Task
from dataforge.work_index import Index, counted


class _NotMadeError(Exception):
    """What comes next depends on what is not made yet."""


def explained(document: Document, out: Path | str | None) -> Iterator[str]:
    """A line for each kind of stage: how many of its tasks would run, and what has changed."""
    read = recipe.read(document)
    folder = folder_of(read, out)
    with refusals(folder):
        plan = planned(site_in(folder, read), folder, {})
        asking = _Asking(Schedule(plan.site, plan.intakes), plan.site)
        try:
            asking.schedule.run(asking.ask, plan.step_files)
        except _NotMadeError:
            # A build that stands needs no stages: they may have been pruned.
            if standing_build(plan, lambda text: None) is None:
                yield f"{folder.url}: would run"
                yield from asking.lines
                yield "  all that follows depends on them and runs where its own input changes"
                return
            asking.lines = []
        yield f"{folder.url}: everything is made; nothing would run"
        yield from asking.lines


class _Asking:
    """Asks a schedule's tasks whether they are done, and stops at the first stage where one is not."""

    def __init__(self, schedule: Schedule, site: Site) -> None:
        self.schedule, self._work, self._index = schedule, site.work, Index(site.work)
        self.lines: list[str] = []

    def ask(self, stage: str, tasks: Sequence[Task]) -> list[list[Facts]]:
        """What each task has reported; raises `_NotMadeError`."""
        # An order is read in order to go on.
        find = self._work.sound if stage == "order" else self._work.find
        found = [[find(key) for key in task.keys] for task in tasks]
        kinds: dict[str, list[str | None]] = {}
        for task, of_task in zip(tasks, found, strict=True):
            for key, facts in zip(task.keys, of_task, strict=True):
                name, ingredients = self.schedule.why[key]
                reason = None if facts is not None else self._index.reason(name, ingredients)
                kinds.setdefault(name.split(" ")[0], []).append(reason)
        for kind, reasons in kinds.items():
            missing = [reason for reason in reasons if reason is not None]
            why = f": {counted(missing)}" if missing else ""
            self.lines.append(f"  {kind:8} {len(missing):,} of {len(reasons):,} run{why}")
        if any(facts is None for of_task in found for facts in of_task):
            raise _NotMadeError
        return [[facts for facts in of_task if facts is not None] for of_task in found]
