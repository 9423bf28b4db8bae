"""A build that stands, checked against its own manifest: nothing but the folder is needed."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from dataforge import shard_writer, shards
from dataforge.publish import digest
from dataforge.shards import Manifest, ShardEntry, Window


def faults(folder: Path) -> Iterator[str]:
    """All that does not hold of a build, one sentence each; none for a sound one.

    Raises `BuildError` where there is no build to check.
    """
    manifest = shards.read_manifest(folder)
    yield from _funnel(manifest)
    if digest(manifest) != manifest.digest:
        yield "manifest.json: the digest is not the one that its own entries give"
    record_ids: set[str] = set()
    for entry in manifest.shards:
        path = folder / entry.file
        if not path.is_file():
            yield f"{entry.file}: is missing"
        elif shards.sha256_of(path) != entry.sha256:
            yield f"{entry.file}: the bytes are not those that were built"
        else:
            windows = list(shards.Shard(path))
            yield from _shard(entry, windows, manifest.window)
            record_ids.update(row_id.partition("#")[0] for window in windows for row_id in window.record_ids)
    yield from _sizes(manifest)
    yield from _records(folder, record_ids)
    yield from _rejects(folder, manifest)


def _funnel(manifest: Manifest) -> Iterator[str]:
    for stage in manifest.funnel:
        if stage.read != stage.passed + sum(stage.rejected.values()):
            yield f"manifest.json: station {stage.stage}: passed and rejected do not add up to what was read"
    for earlier, later in itertools.pairwise(manifest.funnel):
        if later.read != earlier.passed + earlier.added:
            yield f"manifest.json: station {later.stage} read other than what {earlier.stage} passed on"


def _shard(entry: ShardEntry, windows: list[Window], capacity: int) -> Iterator[str]:
    counted = (
        len(windows),
        sum(len(window.seq_lengths) for window in windows),
        sum(len(window.input_ids) for window in windows),
        sum(int(window.assistant_masks.sum()) for window in windows),
    )
    if counted != (entry.windows, entry.documents, entry.tokens, entry.trained_tokens):
        yield f"{entry.file}: the manifest's counts are not those of the shard"
    if shard_writer.columns_sha256(shard_writer.Windows.of(windows)) != entry.columns_sha256:
        yield f"{entry.file}: the manifest's hash of the columns is not that of the shard"
    for number, window in enumerate(windows):
        if not int(window.seq_lengths.sum()) == len(window.input_ids) == len(window.assistant_masks) <= capacity:
            yield f"{entry.file}: window {number}: documents, ids and mask do not have one length of at most {capacity}"
        if not window.assistant_masks.any():
            yield f"{entry.file}: window {number}: has no trained token"


def _sizes(manifest: Manifest) -> Iterator[str]:
    for split, sizes in manifest.statistics.items():
        entries = [entry for entry in manifest.shards if entry.split == split]
        counted = tuple(
            sum(getattr(entry, name) for entry in entries)
            for name in ("documents", "windows", "tokens", "trained_tokens")
        )
        if counted != (sizes.rows, sizes.windows, sizes.tokens, sizes.trained_tokens):
            yield f"manifest.json: the statistics of {split} are not the sums over its shards"


def _records(folder: Path, in_shards: set[str]) -> Iterator[str]:
    listed: set[str] = set()
    for path in sorted((folder / "records").glob("*.parquet")):
        listed.update(pq.read_table(path, columns=["id"]).column("id").to_pylist())
    for identity in sorted(in_shards ^ listed)[:3]:
        where = "in the shards but not in records/" if identity in in_shards else "in records/ but not in the shards"
        yield f"record {identity}: stands {where}"


def _rejects(folder: Path, manifest: Manifest) -> Iterator[str]:
    path = folder / "rejects.jsonl"
    if not path.is_file():
        yield "rejects.jsonl: is missing"
        return
    listed = Counter(
        (reject["stage"], reject["reason"]) for reject in map(orjson.loads, path.read_bytes().splitlines())
    )
    counted = {(stage.stage, reason): count for stage in manifest.funnel for reason, count in stage.rejected.items()}
    if listed != counted:
        yield "rejects.jsonl: the rejects are not those that the funnel counts"
