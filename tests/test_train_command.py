"""`forge train` and `forge chat` through the real command line, and what a wrong input gets from them."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from tests.conftest import write_tiny_base
from tests.dataforge.conftest import RECORDS, Forge
from tests.dataforge.conftest import forge as forge
from tests.dataforge.conftest import write_recipe as write_recipe

Write = Callable[..., Path]


@pytest.fixture
def recipe(write_recipe: Write, tmp_path: Path, tiny_base: Path) -> Path:
    """A recipe whose base model is a folder beside it."""
    shutil.copytree(tiny_base, tmp_path / "base")
    train = {"base": "base", "steps": 3, "tokens_per_step": 256, "precision": "fp32", "learning_rate": 0.01}
    return write_recipe(RECORDS, tokenizer=None, train=train)


def error(done: subprocess.CompletedProcess[str]) -> str:
    """The last line on stderr of a command that the user must mend."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_the_line_from_a_recipe_to_an_answer(forge: Forge, recipe: Path, tmp_path: Path) -> None:
    trained = forge("train", recipe)
    assert trained.returncode == 0, trained.stderr
    assert "3 steps in" in trained.stdout
    assert "builds/small: built" in trained.stderr
    shown = [line.split("forge ")[1] for line in trained.stdout.splitlines() if "forge preview" in line]
    assert shown
    assert shown[0].split()[-1] in forge(*shown[0].split()).stdout
    again = forge("train", recipe, "--json")
    assert json.loads(again.stdout)[0]["reused"] is True
    assert [row["record"].partition("#")[0] for row in json.loads(again.stdout)[0]["worst"]] == [
        line.split()[-1] for line in shown
    ]
    answered = forge("chat", "runs/small/adapter", "--prompt", "Who are you?", "--base")
    assert answered.stdout.startswith("you> Who are you?\nbase> ")

    shutil.rmtree(tmp_path / "base")
    write_tiny_base(tmp_path / "base", seed=1)
    said = error(forge("chat", "runs/small/adapter", "--prompt", "hi"))
    assert "runs/small/adapter" in said
    shutil.move(tmp_path / "base", tmp_path / "gone")
    assert "no such base model" in error(forge("chat", "runs/small/adapter", "--prompt", "hi"))


def test_a_plan_is_what_the_run_then_does_and_writes_none_of_it(forge: Forge, recipe: Path, tmp_path: Path) -> None:
    planned = json.loads(forge("train", recipe, "--plan", "--json").stdout)[0]
    assert not (tmp_path / "runs").exists()
    assert planned["build_reused"] is False
    shown = forge("train", recipe, "--plan")
    assert shown.returncode == 0, shown.stderr
    assert "  length   3 steps, " in shown.stdout
    assert not (tmp_path / "runs").exists()
    outcome = json.loads(forge("train", recipe, "--json").stdout)[0]
    assert outcome["steps"] == planned["steps"] == 3
    trained = pq.read_table(tmp_path / "runs" / "small" / "losses.parquet")["tokens"].to_pylist()
    assert sum(trained) == planned["trained_tokens"]
    weights = load_file(tmp_path / "runs" / "small" / "adapter" / "adapter_model.safetensors")
    assert sum(weight.numel() for weight in weights.values()) == planned["parameters"]
    assert "not installed" in error(forge("train", recipe, "--plan", "train.report_to=[trackio]"))


def test_an_adapter_for_another_base_is_nothing_to_go_on_from(forge: Forge, recipe: Path, tmp_path: Path) -> None:
    assert forge("train", recipe).returncode == 0
    write_tiny_base(tmp_path / "other", seed=1)
    said = error(forge("train", recipe, "train.base=other", "train.init_from=runs/small/adapter", "--out", "runs/b"))
    assert "runs/small/adapter" in said
    assert "other" in said
    assert not (tmp_path / "runs" / "b" / "adapter").exists()


def test_stages_run_in_order_each_on_from_the_one_before(forge: Forge, recipe: Path, tmp_path: Path) -> None:
    content = json.loads(recipe.read_text())
    content["train"] = [content["train"], {**content["train"], "learning_rate": 0.001}]
    recipe.write_text(json.dumps(content))
    outcomes = json.loads(forge("train", recipe, "--json").stdout)
    assert [Path(outcome["adapter"]).parent.name for outcome in outcomes] == ["1-sft", "2-sft"]
    lines = [
        json.loads((tmp_path / "runs" / "small" / stage / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for stage in ("1-sft", "2-sft")
    ]
    assert lines[1] < lines[0], "the second stage begins where the first one ended"


def flip_a_bit(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def test_a_flipped_bit_is_mended_before_a_step_is_trained(forge: Forge, recipe: Path, tmp_path: Path) -> None:
    assert forge("build", recipe).returncode == 0
    shard = tmp_path / "builds" / "small" / "shards" / "train-00000.arrow"
    whole = shard.read_bytes()
    flip_a_bit(shard)
    done = forge("train", recipe)
    assert done.returncode == 0, done
    assert "train-00000.arrow: is not as it was built, and is made again" in done.stderr
    assert shard.read_bytes() == whole


def test_a_flipped_bit_of_a_build_without_its_recipe_is_found(forge: Forge, recipe: Path, tmp_path: Path) -> None:
    assert forge("build", recipe).returncode == 0
    flip_a_bit(tmp_path / "builds" / "small" / "shards" / "train-00000.arrow")
    content = json.loads(recipe.read_text())
    (tmp_path / "alone.yaml").write_text(json.dumps({"train": {**content["train"], "data": "builds/small"}}))
    said = error(forge("train", "alone.yaml"))
    assert "train-00000.arrow: the shard's bytes are not those that were built" in said
    assert not (tmp_path / "runs").exists()


def test_a_build_folder_can_be_trained_on_alone(forge: Forge, recipe: Path, tmp_path: Path) -> None:
    assert forge("build", recipe).returncode == 0
    content = json.loads(recipe.read_text())
    (tmp_path / "alone.yaml").write_text(json.dumps({"train": {**content["train"], "data": "builds/small"}}))
    (tmp_path / "corpus.jsonl").unlink()
    assert forge("train", "alone.yaml").returncode == 0
    (tmp_path / "base" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert "template" in error(forge("train", "alone.yaml", "--out", "runs/b"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.learning_rat=1", "train.learning_rat: unknown key; did you mean 'learning_rate'?"),
        ("train.adapter.rank=0", "train.adapter.rank: must be"),
        ("train.objective=stf", "did you mean 'sft'?"),
        ("train.epochs=2", "epochs and steps are both set"),
        ("train.report_to=[mlfow]", "unknown tracker 'mlfow'; did you mean 'mlflow'?"),
        ("train.base=nowhere", "nowhere: no such base model"),
        ("train.data=builds/x", "the file has sources of its own"),
    ],
)
def test_a_wrong_key_of_the_train_half_is_one_line(forge: Forge, recipe: Path, override: str, said: str) -> None:
    assert said in error(forge("train", recipe, override))


def test_a_recipe_without_a_train_half_says_so(forge: Forge, write_recipe: Write) -> None:
    assert "has no `train:` section" in error(forge("train", write_recipe(RECORDS)))


def test_ctrl_c_saves_and_the_same_command_goes_on(forge: Forge, recipe: Path, tmp_path: Path) -> None:
    arguments = ["train", str(recipe), "train.steps=4000", "train.save_every=4000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dataforge", *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "runs" / "small" / "metrics.jsonl"
    while not metrics.is_file() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 130
    assert said.startswith("interrupted: stopped after step ")
    assert said.endswith("which is saved; the same command goes on from there")
    assert list((tmp_path / "runs" / "small" / "checkpoints").iterdir())
