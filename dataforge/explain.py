"""Which stages of a build would run, and why: the plan of a build, with nothing done."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dataforge import recipe, work_index
from dataforge.build import WORK
from dataforge.config import Document
from dataforge.folders import at
from dataforge.inputs import Files
from dataforge.schedule import Schedule
from dataforge.stages import Facts
from dataforge.tasks import Site, Task


class _NotMadeError(Exception):
    """What comes next depends on what is not made yet."""


def explained(document: Document, out: Path | str | None) -> Iterator[str]:
    """A line for each kind of stage: how many of its tasks would run, and what has changed."""
    read = recipe.read(document)
    folder = at(out or Path("builds") / read.data.name)
    work = at(f"{folder.url}/{WORK}")
    site, files = Site(read, work.url), Files(work)
    schedule = Schedule(site, {spec.name: files.scan(spec.path) for spec in read.sources})
    step_files = {spec.name: files.sha256(spec.path) for spec in read.every_step if spec.path is not None}
    index = work_index.Index(site.work)
    lines: list[str] = []
    runs = False

    def ask(stage: str, tasks: Sequence[Task]) -> list[list[Facts]]:
        nonlocal runs
        found = [[site.work.find(key) for key in task.keys] for task in tasks]
        kinds: dict[str, list[str | None]] = {}
        for task, of_task in zip(tasks, found, strict=True):
            for key, facts in zip(task.keys, of_task, strict=True):
                name, ingredients = schedule.why[key]
                reason = None if facts is not None else index.reason(name, ingredients)
                kinds.setdefault(name.split(" ")[0], []).append(reason)
        for kind, reasons in kinds.items():
            missing = [reason for reason in reasons if reason is not None]
            why = f": {work_index.counted(missing)}" if missing else ""
            lines.append(f"  {kind:8} {len(missing):,} of {len(reasons):,} run{why}")
        if any(facts is None for of_task in found for facts in of_task):
            runs = True
            raise _NotMadeError
        return [[facts for facts in of_task if facts is not None] for of_task in found]

    try:
        schedule.run(ask, step_files)
    except _NotMadeError:
        lines.append("  all that follows depends on them and runs where its own input changes")
    yield f"{folder.url}: {'would run' if runs else 'everything is made; nothing would run'}"
    yield from lines
