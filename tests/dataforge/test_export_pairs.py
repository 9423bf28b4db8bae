"""Exports of pairs and prompts say what the build says: read back by sources, pandas and datasets."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataforge import components, config
from dataforge.build import build
from dataforge.errors import BuildError
from dataforge.export import export
from tests.dataforge.conftest import Forge

ROWS = [
    {
        "prompt": [
            *([{"role": "system", "content": "简短"}] if n % 2 else []),
            {"role": "user", "content": f"问 {n}\n?"},
            {"role": "assistant", "content": "nan"},
            {"role": "user", "content": f'and "{n}", then'},
        ],
        "chosen": [{"role": "assistant", "content": f"答 {n}"}],
        "rejected": [{"role": "assistant", "content": f"=no\r\n{n}"}],
    }
    for n in range(12)
]
Built = Callable[..., Path]


@pytest.fixture
def built(tmp_path: Path, tiny_base: Path) -> Built:
    """A build of a file of records."""

    def make(rows: Path, out: str, kind: str = "pairs", **more: Any) -> Path:
        said = {"name": out, "tokenizer": str(tiny_base), "kind": kind, "max_tokens": 4000, "split": {"eval": 0}}
        recipe = tmp_path / f"{out}.yaml"
        recipe.write_text(json.dumps({**said, "sources": [{"use": "openai", "path": str(rows)}], **more}))
        build(config.load(recipe), tmp_path / out, lambda _: None)
        return tmp_path / out

    return make


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    return path


def exported(folder: Path, target: str, out: Path) -> list[dict[str, Any]]:
    export(str(folder), target, out, lossy=False, force=False)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n") if line]


def said(folder: Path) -> list[tuple[Any, ...]]:
    """Prompt and answers of a build, in order."""
    paths = sorted((folder / "records").glob("*.parquet"))
    return sorted(
        repr([row[name] for name in ("prompt", "chosen", "rejected")])
        for path in paths
        for row in pq.read_table(path).to_pylist()
    )


def test_openai_is_read_back_as_the_same_bytes(rows: Path, built: Built, tmp_path: Path) -> None:
    first = built(rows, "first")
    found = exported(first, "openai", tmp_path / "one.jsonl")
    assert sorted(row["preferred_output"][0]["content"] for row in found) == sorted(
        r["chosen"][0]["content"] for r in ROWS
    )
    again = built(tmp_path / "one.jsonl", "again")
    exported(again, "openai", tmp_path / "two.jsonl")
    lines = [sorted((tmp_path / name).read_bytes().splitlines()) for name in ("one.jsonl", "two.jsonl")]
    assert lines[0] == lines[1]
    assert said(first) == said(again)


def test_labels_are_read_back_as_the_pairs(rows: Path, built: Built, tmp_path: Path) -> None:
    first = built(rows, "first")
    found = exported(first, "kto", tmp_path / "kto.jsonl")
    assert [row["label"] for row in found] == [True, False] * len(ROWS)
    assert sorted(row["completion"][0]["content"] for row in found if not row["label"]) == sorted(
        row["rejected"][0]["content"] for row in ROWS
    )
    steps = [{"use": "group_by_prompt"}, {"use": "pairs"}]
    assert said(built(tmp_path / "kto.jsonl", "again", steps=steps)) == said(first)


def test_every_shape_of_pairs_has_both_answers(rows: Path, built: Built, tmp_path: Path) -> None:
    folder = built(rows, "b")
    by_chosen = {row["chosen"][0]["content"]: row for row in ROWS}
    for row in exported(folder, "trl", tmp_path / "trl.jsonl"):
        given = by_chosen[row["chosen"][0]["content"]]
        assert (row["prompt"], row["rejected"]) == (given["prompt"], given["rejected"])
    for row in exported(folder, "sharegpt", tmp_path / "s.jsonl"):
        given = by_chosen[row["chosen"]["value"]]
        assert (row["chosen"]["from"], row["rejected"]["from"]) == ("gpt", "gpt")
        assert [turn["value"] for turn in row["conversations"]] == [turn["content"] for turn in given["prompt"]]
        assert row["rejected"]["value"] == given["rejected"][0]["content"]
    for row in exported(folder, "alpaca", tmp_path / "a.jsonl"):
        given = by_chosen[row["chosen"]]
        *_, asked, answered, question = [turn["content"] for turn in given["prompt"]]
        assert (row["history"], row["instruction"]) == ([[asked, answered]], question)
        assert (row.get("system"), row["rejected"]) == (
            "简短" if len(given["prompt"]) == 4 else None,
            given["rejected"][0]["content"],
        )
    export(str(folder), "csv", tmp_path / "t.csv", lossy=False, force=False)
    with (tmp_path / "t.csv").open(encoding="utf-8-sig", newline="") as file:
        for line in csv.DictReader(file):
            assert line["rejected"] == by_chosen[line["chosen"]]["rejected"][0]["content"]
            assert line["margin"] == ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["pairs", "prompts"])
def test_folders_load_with_datasets_as_their_cards_say(kind: str, rows: Path, built: Built, tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    folder = built(rows, "b", kind, **({"steps": [{"use": "to_prompts"}]} if kind == "prompts" else {}))
    assert "`DPOTrainer`" in (folder / "README.md").read_text() or kind == "prompts"
    for target, layout in components.layouts(kind).items():
        written = export(str(folder), target, tmp_path / target, lossy=False, force=False)
        assert layout.about.splitlines()[0] in (tmp_path / target / "README.md").read_text(encoding="utf-8")
        if target == "csv":
            continue  # `datasets` leaves its file open
        found = datasets.load_dataset(str(tmp_path / target), split="train", cache_dir=str(tmp_path / "cache"))
        assert (len(found), set(found.column_names)) == (written.lines["train"], set(layout.features))


def test_a_shape_without_a_place_for_the_kind_says_which_have_one(
    rows: Path, built: Built, tmp_path: Path, forge: Forge
) -> None:
    pairs = built(rows, "pairs")
    prompts = built(rows, "prompts", "prompts", steps=[{"use": "to_prompts"}])
    with pytest.raises(BuildError, match=r"is a build of pairs, for which prompt_completion has no shape"):
        export(str(pairs), "prompt_completion", tmp_path / "x", lossy=False, force=False)
    done = forge("export", prompts, "--to", "alpaca")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {prompts}: is a build of prompts, for which alpaca has no shape; "
        "`--to` one of csv, jsonl, openai, trl\n"
    )
