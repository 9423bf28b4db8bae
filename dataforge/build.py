"""A recipe becomes a build folder: what is not there is made, and what was made gets its name, the manifest last."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dataforge import asking, disk, engines, intake, places, publish, recipe, shards
from dataforge.asking import Talk
from dataforge.config import Document
from dataforge.engines import Engine
from dataforge.errors import BuildError
from dataforge.folders import Folder, LocalFolder, at, named
from dataforge.frames import Frames
from dataforge.inputs import Files
from dataforge.intake import Intake
from dataforge.recipe import Recipe, StepSpec
from dataforge.records import canonical_json
from dataforge.schedule import Schedule
from dataforge.shards import FORMAT, Manifest
from dataforge.source_entry import TOLD
from dataforge.stages import Facts, program
from dataforge.tasks import Site, Task
from dataforge.work_index import Index

WORK = ".work"
_BYTES_PER_WORKER = 2**22
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
Say = Callable[[str], None]
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


@dataclass(frozen=True)
class Plan:
    """A recipe with the folder it is built in, and what it reads."""

    folder: Folder
    site: Site
    files: Files
    intakes: Mapping[str, Intake]
    """The files of each source, by its name."""
    step_files: Mapping[str, str]
    """The hash of what a step reads, by its name."""

    @property
    def inputs(self) -> dict[str, str]:
        """The hashes of all that is read; a source's name holds no blank, so the two kinds do not meet."""
        return {
            **{name: found.sha256 for name, found in self.intakes.items()},
            **{f"step {name}": sha256 for name, sha256 in self.step_files.items()},
        }

    @cached_property
    def key(self) -> str:
        """A hash of all that decides the bytes of the build."""
        format_ = self.site.line.format
        decides = [
            self.site.recipe.normalised(),
            self.inputs,
            format_.template.text,
            format_.tokenizer.sha256,
            [spec.entry.said() for spec in self.site.recipe.sources],
            FORMAT,
            program(),
        ]
        return hashlib.sha256(canonical_json(decides)).hexdigest()


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


def planned(site: Site, folder: Folder, frames: Frames) -> Plan:
    """Look at all that a recipe reads."""
    files, read = Files(site.work.folder), site.recipe
    return Plan(
        folder,
        site,
        files,
        {spec.name: intake.of(spec, files, site.work, frames) for spec in read.sources},
        {spec.name: _hash_of(spec, files) for spec in read.every_step if spec.files},
    )


def _hash_of(spec: StepSpec, files: Files) -> str:
    """Of the content of what a step reads; of several files also of their names, but not of where they lie."""
    hashes = [files.sha256(path) for path in spec.files]
    if len(hashes) == 1:
        return hashes[0]
    depth = 1 if len({path.parent for path in spec.files}) == 1 else 2
    names = ["/".join(path.parts[-depth:]) for path in spec.files]
    return hashlib.sha256(canonical_json([names, hashes])).hexdigest()


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


def standing_build(plan: Plan, say: Say) -> Manifest | None:
    """The build that is there, if it is what the recipe says and whole; else what is wrong with it is said."""
    folder = plan.folder
    try:
        standing = shards.parse_manifest(folder.read("manifest.json"), f"{folder.url}/manifest.json")
    except (FileNotFoundError, BuildError):
        return None
    if standing.key != plan.key:
        say(f"{folder.url}: is built anew, as {' and '.join(_changes(standing, plan))} changed")
        return None
    return standing if _whole(folder, standing, plan.files, say) else None


def _whole(folder: Folder, manifest: Manifest, files: Files, say: Say) -> bool:
    """Whether the manifest and every shard of a build that stands are as they were built."""
    if publish.digest(manifest) != manifest.digest:
        say(f"{folder.url}/manifest.json: is not as it was built, and is made again")
        return False
    for entry in manifest.shards:
        if isinstance(folder, LocalFolder):
            path = folder.path / entry.file
            same = path.is_file() and files.sha256(path) == entry.sha256
        else:
            same = folder.size(entry.file) is not None
        if not same:
            say(f"{folder.url}/{entry.file}: is not as it was built, and is made again")
            return False
    return True


def _changes(standing: Manifest, plan: Plan) -> list[str]:
    """What a build that stands depends on and is no longer so."""
    format_ = plan.site.line.format
    parts = {
        "the recipe": standing.recipe_sha256 != publish.recipe_sha256(plan.site.recipe),
        "what it reads": standing.inputs != plan.inputs,
        "the tokenizer": standing.tokenizer.sha256 != format_.tokenizer.sha256,
        "what is said of the sources": [{name: getattr(note, name) for name in TOLD} for note in standing.sources]
        != [spec.entry.said() for spec in plan.site.recipe.sources],
        "the chat template": standing.template.text != format_.template.text,
    }
    return [part for part, changed in parts.items() if changed] or ["the version of this program"]
