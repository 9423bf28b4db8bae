"""What a build reads and depends on, and whether the build that stands is that one."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from dataforge import asking, intake, publish, shards
from dataforge.errors import BuildError
from dataforge.folders import Folder, LocalFolder
from dataforge.frames import Frames
from dataforge.inputs import Files
from dataforge.intake import Intake
from dataforge.recipe import StepSpec
from dataforge.records import canonical_json
from dataforge.shards import FORMAT, Manifest
from dataforge.source_entry import TOLD
from dataforge.stages import program
from dataforge.tasks import Site

Say = Callable[[str], None]


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
    unanswered = sum(counts.get(asking.UNANSWERED, 0) for counts in standing.noted.values())
    if unanswered:
        say(f"{folder.url}: is built anew, as {unanswered:,} requests got no reply the last time")
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
