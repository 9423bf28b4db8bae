"""Everything that a build says of itself is checked: each fault, put in by hand, is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataforge import check, config
from dataforge.build import build
from tests.dataforge.conftest import RECORDS


@pytest.fixture
def folder(write_recipe: Callable[..., Path], tmp_path: Path) -> Path:
    recipe = write_recipe([*RECORDS, {"instruction": "no answer"}])
    return build(config.load(recipe), tmp_path / "b", lambda text: None).folder


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def faults(folder: Path) -> str:
    return "\n".join(check.faults(folder))


def test_a_flipped_bit_in_a_shard_is_found(folder: Path) -> None:
    path = folder / "shards" / "eval-00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "shards/eval-00000.arrow: the bytes are not those that were built" in faults(folder)


def test_a_missing_shard_is_found(folder: Path) -> None:
    (folder / "shards" / "train-00000.arrow").unlink()
    assert "shards/train-00000.arrow: is missing" in faults(folder)


def test_a_changed_count_is_found(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["shards"][0].update(trained_tokens=1))
    assert "the manifest's counts are not those of the shard" in faults(folder)
    assert "the statistics of train are not the sums" in faults(folder)


def test_a_funnel_that_does_not_add_up_is_found(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["funnel"][0].update(passed=3))
    assert "station read: passed and rejected do not add up" in faults(folder)
    assert "station convert read other than what read passed on" in faults(folder)
    assert "the digest is not the one that its own entries give" in faults(folder)


def test_a_reject_that_was_taken_out_is_found(folder: Path) -> None:
    (folder / "rejects.jsonl").write_text("")
    assert "rejects.jsonl: the rejects are not those that the funnel counts" in faults(folder)
    (folder / "rejects.jsonl").unlink()
    assert "rejects.jsonl: is missing" in faults(folder)


def test_records_that_were_taken_out_are_found(folder: Path) -> None:
    (folder / "records" / "train-00000.parquet").unlink()
    assert "stands in the shards but not in records/" in faults(folder)
