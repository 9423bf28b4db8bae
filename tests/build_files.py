"""Shards and manifests written by hand, for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path

from dataforge.folders import LocalFolder
from dataforge.shard_writer import Windows, shard
from dataforge.shards import Manifest, ShardEntry, Split, Window


def write_chat_shard(folder: Path, name: str, split: Split, windows: Sequence[Window]) -> ShardEntry:
    """Write `shards/<name>.arrow` in a build folder and return what the manifest says of it."""
    content, entry = shard(name, split, Windows.of(windows))
    LocalFolder(str(folder)).write(entry.file, content)
    return entry


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a folder a build."""
    LocalFolder(str(folder)).write("manifest.json", manifest.model_dump_json().encode())
