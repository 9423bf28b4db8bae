"""`forge train FILE train.base=OTHER`: what another base makes stale is built again, and nothing is mixed."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataforge import shards
from dataforge.cli import run
from tests.conftest import write_tiny_base
from tests.dataforge.conftest import RECORDS
from tests.dataforge.conftest import write_recipe as write_recipe
from trainkit.adapters import read_card

Write = Callable[..., Path]
Trained = Callable[..., tuple[int, str]]
TRAIN = {"base": "one", "steps": 2, "tokens_per_step": 256, "precision": "fp32", "learning_rate": 0.01}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one`, `bigger` with the same tokenizer and template, `words` with another tokenizer, `marks` with another
    template."""
    folder = tmp_path_factory.mktemp("bases")
    write_tiny_base(folder / "one", seed=0)
    write_tiny_base(folder / "bigger", seed=1)
    shutil.copytree(folder / "one", folder / "marks")
    template = folder / "marks" / "chat_template.jinja"
    template.write_text(template.read_text().replace("Pebble", "Boulder"))
    shutil.copytree(folder / "one", folder / "words")
    tokens = json.loads((folder / "words" / "tokenizer.json").read_text())
    tokens["model"]["merges"] = tokens["model"]["merges"][:-3]
    (folder / "words" / "tokenizer.json").write_text(json.dumps(tokens))
    return folder


@pytest.fixture
def recipe(write_recipe: Write, tmp_path: Path, bases: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for base in bases.iterdir():
        (tmp_path / base.name).symlink_to(base)
    monkeypatch.chdir(tmp_path)
    return write_recipe(RECORDS, tokenizer=None, train=TRAIN)


@pytest.fixture
def trained(recipe: Path, capsys: pytest.CaptureFixture[str]) -> Trained:
    """`forge train` with overrides: its exit code and what it said on stderr."""

    def train(*overrides: str) -> tuple[int, str]:
        code = run(["train", str(recipe), *overrides])
        return code, capsys.readouterr().err

    return train


def base_of(run_folder: str) -> str:
    return Path(read_card(Path(run_folder) / "adapter").base).name


def error(done: tuple[int, str]) -> str:
    code, said = done
    assert code == 2, said
    (line,) = said.splitlines()
    return line


def test_a_base_with_the_same_tokenizer_and_template_re_uses_the_build(trained: Trained) -> None:
    assert trained()[0] == 0
    before = Path("builds/small/manifest.json").read_bytes()
    code, said = trained("train.base=bigger")
    assert code == 0
    assert "builds/small: nothing has changed" in said
    assert "starting anew; runs/small/adapter will be replaced, another --out keeps it" in said
    assert Path("builds/small/manifest.json").read_bytes() == before
    assert base_of("runs/small") == "bigger"
    code, said = trained("train.base=bigger")
    assert "nothing to do" in said


def test_another_run_folder_keeps_both_adapters(trained: Trained) -> None:
    trained()
    code, said = trained("train.base=bigger", "--out", "runs/bigger")
    assert code == 0
    assert "starting anew" not in said
    assert (base_of("runs/small"), base_of("runs/bigger")) == ("one", "bigger")


@pytest.mark.parametrize(("base", "part"), [("words", "the tokenizer"), ("marks", "the chat template")])
def test_a_base_with_another_tokenizer_or_template_has_the_data_built_again(
    trained: Trained, base: str, part: str
) -> None:
    trained()
    first = shards.read_manifest(Path("builds/small"))
    code, said = trained(f"train.base={base}")
    assert code == 0
    assert f"builds/small: is built anew, as {part} changed" in said
    assert "runs/small/adapter will be replaced" in said
    second = shards.read_manifest(Path("builds/small"))
    assert second.digest != first.digest
    assert base_of("runs/small") == base
    assert read_card(Path("runs/small/adapter")).build_digest == second.digest
    code, said = trained()
    assert f"is built anew, as {part} changed" in said
    assert shards.read_manifest(Path("builds/small")).digest == first.digest
    assert base_of("runs/small") == "one"


def test_a_tokenizer_that_the_recipe_names_must_be_the_bases(trained: Trained, recipe: Path) -> None:
    said = error(trained("tokenizer=one", "train.base=words"))
    assert said == (
        "error: command line: tokenizer: one is not the tokenizer of the base model words; take `tokenizer` out of the "
        "recipe, whose default is the base's own, or name words"
    )
    assert not Path("builds").exists()
    assert trained("tokenizer=one", "train.base=bigger")[0] == 0
    assert trained("tokenizer=words", "train.base=words")[0] == 0


def test_a_template_of_the_tokenizer_that_the_recipe_names_must_be_the_bases(trained: Trained) -> None:
    code, said = trained("tokenizer=one", "train.base=marks")
    assert code == 2
    assert "was rendered with another chat template" in said
    assert "build again with `tokenizer: " in said
    assert not Path("runs").exists()


def stages(recipe: Path, *more: dict[str, Any]) -> None:
    written = json.loads(recipe.read_text())
    recipe.write_text(json.dumps({**written, "train": [{**TRAIN, **stage} for stage in more]}))


def test_stages_on_different_bases_are_told_before_the_first_is_trained(trained: Trained, recipe: Path) -> None:
    stages(recipe, {}, {"base": "bigger"})
    assert "train[1].base: is not one, on which the adapter is trained" in error(trained())
    stages(recipe, {}, {"base": "words"})
    assert "train[1].base: words has another tokenizer than one" in error(trained())
    assert not Path("builds").exists()


def test_a_later_stage_may_have_another_base_where_it_goes_on_from_that_bases_adapter(
    trained: Trained, recipe: Path
) -> None:
    assert trained("train.base=bigger", "--out", "runs/bigger")[0] == 0
    stages(recipe, {}, {"base": "bigger", "init_from": "runs/bigger/adapter"})
    assert trained()[0] == 0
    assert (base_of("runs/small/1-sft"), base_of("runs/small/2-sft")) == ("one", "bigger")


def test_one_override_for_several_stages_says_how_to_name_one(trained: Trained, recipe: Path) -> None:
    stages(recipe, {}, {})
    assert error(trained("train.base=bigger")) == (
        "error: command line: train.base: train is a list; name one of it, as in train[0].base"
    )
    assert trained("train[0].base=bigger", "train[1].base=bigger")[0] == 0
    assert [base_of(f"runs/small/{stage}") for stage in ("1-sft", "2-sft")] == ["bigger", "bigger"]


def test_a_run_does_not_write_over_the_losses_that_its_data_is_filtered_by(trained: Trained, recipe: Path) -> None:
    trained()
    kept = pq.read_table("builds/small/records/train-00000.parquet", columns=["id"]).column("id").to_pylist()
    lines = {"record": [f"{kept[0]}#1"], "step": [1], "loss": [9.0], "tokens": [5]}
    pq.write_table(pa.table(lines), "runs/small/losses.parquet")
    steps = "steps=[{use: losses, path: runs/small/losses.parquet, above: 4}]"
    said = trained(steps)[1].splitlines()[-1]
    assert said.startswith("error: command line: steps[0].path: this run writes into runs/small")
    code, said = trained(steps, "name=second")
    assert code == 0, said
    assert shards.read_manifest(Path("builds/second")).funnel[2].rejected == {"above": 1}


class Opened:
    """Which files are opened while it listens."""

    def __init__(self) -> None:
        self.names: list[str] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self.names is not None:
            self.names.append(str(arguments[0]))


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    listener = Opened()
    yield listener
    listener.names = None


def test_each_shard_of_a_re_used_build_is_read_again_to_check_it(trained: Trained, opened: Opened) -> None:
    trained()
    count = len(shards.read_manifest(Path("builds/small")).shards)
    opened.names = []
    trained("train.steps=3")
    found = [name for name in opened.names if name.endswith(".arrow")]
    opened.names = None
    assert len(set(found)) == count
