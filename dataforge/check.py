"""A build that stands, checked against its own manifest: nothing but the folder is needed.

Files are read a piece at a time, and what has to be compared over all of them is compared by DuckDB, so that a build
may be larger than memory.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr, ValidationError

from dataforge import assembly, check_tables, gathers, shards
from dataforge.answers import UNPROVEN
from dataforge.check_tables import Kept
from dataforge.publish import digest
from dataforge.records import canonical_json
from dataforge.shards import SPLITS, Manifest, Split

SHOWN = 3
"""How many lines of `rejects.jsonl` are named that are no rejects or stand in the wrong place."""


def faults(folder: Path) -> Iterator[str]:
    """All that does not hold of a build, one sentence each; none for a sound one.

    Raises `BuildError` where there is no build to check.
    """
    manifest = shards.read_manifest(folder)
    yield from _manifest(manifest)
    yield from _funnel(manifest)
    with gathers.connection() as opened:
        check_tables.prepare(opened)
        lengths: dict[Split, Counter[int]] = {split: Counter() for split in SPLITS}
        unread = set[Split]()
        yield from check_tables.names(folder, "shards", "arrow", [entry.file for entry in manifest.shards])
        for entry in manifest.shards:
            windows = yield from check_tables.shard(opened, folder, entry, manifest)
            if windows is None:
                unread.add(entry.split)
            else:
                found, counts = np.unique(windows.seq_lengths, return_counts=True)
                lengths[entry.split].update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        yield from _sizes(manifest, {split: counts for split, counts in lengths.items() if split not in unread})
        kept = yield from check_tables.records(opened, folder, manifest)
        if kept is not None:
            yield from _kept(manifest, kept)
            if not unread:
                yield from check_tables.unlike(opened)
    yield from _rejects(folder, manifest)


def _manifest(manifest: Manifest) -> Iterator[str]:
    if digest(manifest) != manifest.digest:
        yield "manifest.json: the digest is not the one that its own entries give"
    if hashlib.sha256(manifest.template.text.encode()).hexdigest() != manifest.template.sha256:
        yield "manifest.json: the hash of the chat template is not that of its text"
    if hashlib.sha256(canonical_json(manifest.recipe)).hexdigest() != manifest.recipe_sha256:
        yield "manifest.json: the hash of the recipe is not that of the recipe in it"
    if (manifest.seed, manifest.window) != (manifest.recipe.get("seed"), manifest.recipe.get("window")):
        yield "manifest.json: seed and window are not those of the recipe in it"
    if manifest.kind != manifest.recipe.get("kind", "chat"):
        yield "manifest.json: the kind is not that of the recipe in it"


def _funnel(manifest: Manifest) -> Iterator[str]:
    if not manifest.funnel:
        yield "manifest.json: the funnel has no station"
    for stage in manifest.funnel:
        if stage.read + stage.unfolded != stage.passed + stage.joined + sum(stage.rejected.values()):
            yield f"manifest.json: station {stage.stage}: passed and rejected do not add up to what was read"
        if min(stage.read, stage.passed, stage.joined, stage.added, *stage.rejected.values()) < 0:
            yield f"manifest.json: station {stage.stage}: counts less than nothing"
    for earlier, later in itertools.pairwise(manifest.funnel):
        if later.read != earlier.passed + earlier.added:
            yield f"manifest.json: station {later.stage} read other than what {earlier.stage} passed on"
    refused = sum(count for stage in manifest.funnel for reason, count in stage.rejected.items() if reason in UNPROVEN)
    if manifest.turns.refused != refused:
        yield "manifest.json: the refused masks are not those that the funnel counts"


def _kept(manifest: Manifest, kept: Kept) -> Iterator[str]:
    """What the Parquet files hold must be what came out of the funnel."""
    if manifest.funnel and kept.records != manifest.funnel[-1].passed:
        yield (
            f"records/: hold {kept.records} records, and {manifest.funnel[-1].passed} passed the last station of the "
            "funnel"
        )
    if kept.repetitions != sum(stage.added for stage in manifest.funnel):
        yield "records/: the repetitions are not those that the funnel counts"
    if kept.turns != manifest.turns.certified + manifest.turns.forked:
        yield "records/: the trained answers are not as many as the turns that the manifest counts"


def _sizes(manifest: Manifest, lengths: Mapping[Split, Mapping[int, int]]) -> Iterator[str]:
    """The statistics against the shards' entries, and against the rows of each split whose shards are all there."""
    for split in SPLITS:
        entries = [entry for entry in manifest.shards if entry.split == split]
        sizes = manifest.statistics.get(split)
        if sizes is None:
            yield f"manifest.json: has no statistics of {split}"
            continue
        counted = tuple(
            sum(getattr(entry, name) for entry in entries)
            for name in ("documents", "windows", "tokens", "trained_tokens")
        )
        if counted != (sizes.rows, sizes.windows, sizes.tokens, sizes.trained_tokens):
            yield f"manifest.json: the statistics of {split} are not the sums over its shards"
        for kind, names in manifest.diversity.get(split, {}).items():
            amounts = names.values()
            if (sum(a.tokens for a in amounts), sum(a.trained_tokens for a in amounts)) != counted[2:]:
                yield f"manifest.json: the tokens of {split} by {kind} are not those of its shards"
        if split in lengths and _longest_and_median(lengths[split]) != (sizes.longest_row, sizes.median_row):
            yield f"manifest.json: the longest and the median row of {split} are not those of its shards"


def _longest_and_median(lengths: Mapping[int, int]) -> tuple[int, int]:
    """Of so many rows of each length; of an even number, the median is the upper one of the two."""
    if not lengths:
        return 0, 0
    values = np.sort(np.fromiter(lengths, dtype=np.int64))
    passed = np.cumsum([lengths[value] for value in values.tolist()])
    return int(values[-1]), int(values[np.searchsorted(passed, passed[-1] // 2, side="right")])


class _Reject(BaseModel):
    """What every line of `rejects.jsonl` says; a step may say more."""

    model_config = ConfigDict(extra="allow")

    id: StrictStr
    source: StrictStr
    file: StrictStr
    line: StrictInt
    ordinal: StrictInt
    stage: StrictStr
    reason: StrictStr
    detail: StrictStr


def _rejects(folder: Path, manifest: Manifest) -> Iterator[str]:
    path = folder / "rejects.jsonl"
    if not path.is_file():
        yield "rejects.jsonl: is missing"
        return
    listed, torn, turned = Counter[tuple[str, str]](), list[int](), list[int]()
    sources = {source.get("name"): number for number, source in enumerate(_sources(manifest))}
    files: dict[tuple[str, str], int] = {}
    before, before_id = (-1, -1, -1), ""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                reject = _Reject.model_validate_json(line)
            except ValidationError:
                torn += [number] if len(torn) < SHOWN else []
                continue
            listed[reject.stage, reject.reason] += 1
            origin = reject.source, reject.file
            here = sources.get(reject.source, -1), files.setdefault(origin, len(files)), reject.ordinal
            if here < before or (here == before and reject.id == before_id):
                turned += [number] if len(turned) < SHOWN else []
            before, before_id = here, reject.id
    yield from (f"rejects.jsonl: line {number}: is not a reject with its place and reason" for number in torn)
    for number in turned:
        yield f"rejects.jsonl: line {number}: does not come after the line before in the order of the records"
    counted = {
        (stage.stage, reason): count
        for stage in manifest.funnel
        for reason, count in stage.rejected.items()
        if stage.stage != assembly.STATION
    }
    for stage, reason in sorted({*listed, *counted}):
        if listed[stage, reason] != counted.get((stage, reason), 0):
            yield (
                "rejects.jsonl: the rejects are not those that the funnel counts: "
                f"{listed[stage, reason]} of {stage}/{reason}, not {counted.get((stage, reason), 0)}"
            )


def _sources(manifest: Manifest) -> list[dict[str, Any]]:
    """The sources in the recipe's order, which is that of the records."""
    found = manifest.recipe.get("sources")
    return [source for source in found if isinstance(source, dict)] if isinstance(found, list) else []
