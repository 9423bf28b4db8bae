"""A recipe becomes a build folder: what is not there is made, and what was made gets its name, the manifest last."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataforge import asking, disk, engines, places, publish, recipe
from dataforge.asking import Talk
from dataforge.config import Document
from dataforge.engines import Engine
from dataforge.errors import BuildError
from dataforge.folders import Folder, LocalFolder, at, named
from dataforge.frames import Frames
from dataforge.plan import Say, planned, standing_build
from dataforge.recipe import Recipe
from dataforge.schedule import Schedule
from dataforge.shards import Manifest
from dataforge.stages import Facts
from dataforge.tasks import Site, Task
from dataforge.work_index import Index

WORK = ".work"
_BYTES_PER_WORKER = 2**22
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
Progress = Callable[[str, int, int], None]
"""Told the stage, and how many of its tasks are done and how many there are."""


@dataclass(frozen=True)
class Options:
    """How a build is done; none of it changes what is built."""

    workers: int | None = None
    """Processes; as many as there are cores, and one for a small build, if not given."""
    engine: str = "local"
    work_limit: int = 20_000_000_000
    """Bytes to which the stage cache is pruned after the build."""
    confirm: Callable[[str], None] | None = None
    """Told what language models will be asked, before they are; raises `ForgeError` where they may not."""


@dataclass(frozen=True)
class Outcome:
    """What a build command has to report."""

    url: str
    manifest: Manifest
    reused: bool
    made: int = 0
    """Stages' tasks that were done now."""
    found: int = 0
    """Those that an earlier build had done."""

    @property
    def folder(self) -> Path:
        """Where a build on this machine is."""
        return Path(self.url)


def build(
    document: Document,
    out: Path | str | None,
    say: Say,
    options: Options | None = None,
    progress: Progress | None = None,
    frames: Frames | None = None,
) -> Outcome:
    """Build what the recipe says, or re-use the build that is there if nothing it depends on has changed.

    `frames` are the data frames that its sources have after `frame:`.

    Raises `ForgeError` for what the user can mend; what was made until then is kept, and the folder holds no half
    build.
    """
    options = options or Options()
    read = recipe.read(document)
    folder = folder_of(read, out)
    with refusals(folder), ExitStack() as stack:
        site = site_in(folder, read)
        engine = engines.Opened(options.engine, site, _workers(options, read))
        stack.callback(engine.close)
        if folder.size("manifest.json") is None:
            engine.start()  # to load what it needs while this process looks at the files
        plan = planned(site, folder, frames or {})
        files = plan.files
        notes = site.line.ready().notes
        if isinstance(folder, LocalFolder):
            stack.enter_context(_locked(folder))
        standing = standing_build(plan, say)
        if standing is not None:
            files.save()
            return Outcome(folder.url, standing, reused=True)
        for each in (folder, site.work.folder):
            if isinstance(each, LocalFolder):
                each.sweep()
        for note in (*notes, *(note for found in plan.intakes.values() for note in found.notes)):
            say(f"note: {note}")
        needed = disk.room(site.line, plan.intakes, folder, frames or {}) if isinstance(folder, LocalFolder) else None
        if needed is not None:
            say(f"{folder.url}: {needed}")
        schedule, counts = Schedule(site, plan.intakes), [0, 0]
        talk = Talk(options.confirm, progress)
        made = schedule.run(_asking(engine, site, counts, talk), plan.step_files)
        for note in schedule.notes:
            say(f"note: {note}")
        counted = publish.noted(made)
        for spec in site.recipe.sources:
            for word in sorted(set(spec.entry.vars) - set(counted.get(f"source {spec.name}", ()))):
                say(f"note: the word to fill in stands in no record: {spec.name}: {word}")
        site.line.check_steps(counted)
        manifest = publish.publish(folder, site, made, plan.key, plan.inputs)
        for entry in manifest.shards:
            if isinstance(folder, LocalFolder):
                files.written(folder.path / entry.file, entry.sha256)
        files.save()
        Index(site.work).finish(schedule.why, options.work_limit)
        return Outcome(folder.url, manifest, reused=False, made=counts[0], found=counts[1])


def folder_of(read: Recipe, out: Path | str | None) -> Folder:
    """The folder in which a recipe is built. Raises `BuildError` where it can be none."""
    folder = at(out or Path("builds") / read.data.name)
    if isinstance(folder, LocalFolder) and folder.path.exists() and not folder.path.is_dir():
        raise BuildError(f"{folder.url}: is a file, and a build needs a folder of this name; move it away")
    return folder


def site_in(folder: Folder, read: Recipe) -> Site:
    """Where the tasks of a build in that folder work."""
    return Site(read, f"{folder.url}/{WORK}")


@contextmanager
def refusals(folder: Folder) -> Iterator[None]:
    """Turn what the system refuses in the build folder into a sentence."""
    again = "run the same command again: what is done is kept"
    try:
        yield
    except OSError as error:
        if not folder.holds(error.filename):
            raise
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise BuildError(f"{folder.url}: {reason}; make room and {again}") from None
        raise BuildError(
            f"{folder.url}: cannot be written ({error.filename}: {reason}); name another folder with --out, or mend "
            f"it and {again}"
        ) from None


@contextmanager
def _locked(folder: LocalFolder) -> Iterator[None]:
    """Have a folder to oneself for as long as the process lives and the context lasts."""
    lock = folder.path / WORK / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BuildError(
                f"{folder.url}: another build ({file.read().decode() or 'just begun'}) is writing here; wait for it, "
                "or name another folder with --out"
            ) from None
        with named(lock):
            file.truncate(0)
            file.write(f"process {os.getpid()}".encode())
        yield


def _workers(options: Options, read: Recipe) -> int:
    """A worker costs half a second to start, so a small build has none."""
    if options.workers is not None:
        return options.workers
    size = sum(places.size(spec.places, spec.reading.stated) for spec in read.sources)
    return max(1, min(engines.cores(), size // _BYTES_PER_WORKER))


def _asking(
    engine: Engine, site: Site, counts: list[int], talk: Talk
) -> Callable[[str, Sequence[Task]], list[list[Facts]]]:
    def ask(stage: str, tasks: Sequence[Task]) -> list[list[Facts]]:
        found: list[list[Facts]] = [[] for _ in tasks]
        done = 0
        try:
            for number, facts in asking.done(engine.run, site, tasks, talk):
                found[number] = facts
                done += 1
                for each in facts:
                    counts[0 if each.pop("made") else 1] += 1
                if talk.progress:
                    talk.progress(stage, done, len(tasks))
        except KeyboardInterrupt:
            replies = ", and so is every reply" if any(isinstance(task, asking.AskTask) for task in tasks) else ""
            raise KeyboardInterrupt(f"{done} of {len(tasks)} parts of {stage!r} are done and kept{replies}") from None
        return found

    return ask
