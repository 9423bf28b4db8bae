"""The dataset card says what the recipe and the records say, in a form that the hub and `datasets` read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from dataforge import build as building
from dataforge import card, components, config, export, shards
from tests.dataforge.conftest import RECORDS

Write = Callable[..., Path]
SOURCE = {"use": "alpaca", "path": "corpus.jsonl"}


def built(recipe: Path, folder: Path, said: list[str] | None = None) -> building.Outcome:
    return building.build(config.load(recipe), folder, (said if said is not None else []).append)


def front(text: str) -> dict[str, Any]:
    _, yaml, _ = text.split("---\n", 2)
    found: dict[str, Any] = YAML(typ="safe").load(yaml)
    return found


def test_the_card_names_licence_attribution_and_origin(write_recipe: Write, tmp_path: Path) -> None:
    told = {
        "licence": "CC BY-SA 4.0",
        "attribution": "Example | authors",
        "origin_url": "https://example.org/data",
    }
    built(write_recipe(RECORDS, sources=[{**SOURCE, **told}]), tmp_path / "b")
    text = (tmp_path / "b/README.md").read_text(encoding="utf-8")
    assert (
        "| corpus | `alpaca` | 40 | CC BY-SA 4.0 | Example \\| authors | https://example.org/data |"
        in text.splitlines()
    )
    found = front(text)
    assert (found["license"], found["size_categories"]) == ("cc-by-sa-4.0", ["n<1K"])
    assert [entry["split"] for entry in found["configs"][0]["data_files"]] == ["train", "eval"]


def test_languages_and_authors_of_records_are_told(write_recipe: Write, tmp_path: Path) -> None:
    manifest = built(write_recipe(RECORDS), tmp_path / "b").manifest
    note = shards.SourceNote(name="s", use="alpaca", records=9, attributed=3, languages={"zh": 5, "no": 2})
    text = card.of_build(manifest.model_copy(update={"sources": [note]}))
    assert "| s | `alpaca` | 9 | not stated | 3 records name theirs, in `facts` |  |" in text.splitlines()
    assert front(text)["language"] == ["no", "zh"]


def test_what_is_said_of_a_source_changes_the_card_and_not_the_digest(write_recipe: Write, tmp_path: Path) -> None:
    first = built(write_recipe(RECORDS), tmp_path / "b")
    said: list[str] = []
    second = built(write_recipe(RECORDS, sources=[{**SOURCE, "licence": "MIT"}]), tmp_path / "b", said)
    assert said == [f"{tmp_path / 'b'}: is built anew, as what is said of the sources changed"]
    assert not second.reused
    assert second.made == 0
    assert second.manifest.digest == first.manifest.digest
    assert "licence" not in str(second.manifest.recipe)
    assert front((tmp_path / "b/README.md").read_text(encoding="utf-8"))["license"] == "mit"
    assert built(write_recipe(RECORDS, sources=[{**SOURCE, "licence": "MIT"}]), tmp_path / "b").reused


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        ([None], {"license": "unknown"}),
        (["Apache-2.0"], {"license": "apache-2.0"}),
        (["Apache-2.0", "cc by 4.0"], {"license": ["apache-2.0", "cc-by-4.0"]}),
        (["MIT", None], {"license": "other", "license_name": "see-the-sources"}),
        (["ask: them"], {"license": "other", "license_name": "see-the-sources"}),
    ],
)
def test_the_hub_is_told_only_what_all_sources_say(
    write_recipe: Write, tmp_path: Path, licences: list[str | None], expected: dict[str, Any]
) -> None:
    manifest = built(write_recipe(RECORDS), tmp_path / "b").manifest
    notes = [shards.SourceNote(name="s", use="alpaca", records=1, licence=licence) for licence in licences]
    found = front(card.of_build(manifest.model_copy(update={"sources": notes})))
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected


@pytest.mark.parametrize(
    ("count", "category"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (1_000_000, "1M<n<10M"),
        (2_000_000_000, "n>1B"),
    ],
)
def test_the_size_is_one_of_the_hubs_categories(write_recipe: Write, tmp_path: Path, count: int, category: str) -> None:
    manifest = built(write_recipe(RECORDS), tmp_path / "b").manifest
    shape = components.layouts("chat")["openai"]
    assert front(card.of_export(manifest, card.Exported(shape, {"train": count}, ())))["size_categories"] == [category]


@pytest.mark.parametrize("target", components.layouts("chat"))
def test_the_types_are_written_as_datasets_writes_them(write_recipe: Write, tmp_path: Path, target: str) -> None:
    from datasets import Features

    built(write_recipe(RECORDS), tmp_path / "b")
    export.export(str(tmp_path / "b"), target, tmp_path / "out", lossy=False, force=False)
    (info,) = front((tmp_path / "out/README.md").read_text(encoding="utf-8"))["dataset_info"]
    assert Features._from_yaml_list(info["features"])._to_yaml_list() == info["features"]


def test_the_shards_load_as_the_card_says(write_recipe: Write, tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    manifest = built(write_recipe(RECORDS), tmp_path / "b").manifest
    assert 'load_dataset("arrow", data_files="shards/train-*.arrow"' in (tmp_path / "b/README.md").read_text()
    files, cache = str(tmp_path / "b/shards/train-*.arrow"), str(tmp_path / "cache")
    found = datasets.load_dataset("arrow", data_files=files, split="train", cache_dir=cache)
    assert len(found) == manifest.statistics["train"].windows
    assert sum(map(len, found["input_ids"])) == manifest.statistics["train"].tokens
    whole = datasets.load_dataset(str(tmp_path / "b"), cache_dir=cache)
    assert len(whole["train"]) + len(whole["eval"]) == 40
