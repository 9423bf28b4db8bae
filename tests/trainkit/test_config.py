import subprocess
import sys
from pathlib import Path

import pytest

from dataforge.config import load
from dataforge.errors import ConfigError
from trainkit.config import Train, stages


def written(folder: Path, train: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"name: x\ntrain:\n{train}\n", encoding="utf-8")
    return path


def test_every_key_of_the_contract_has_its_default() -> None:
    assert Train(base="b").model_dump(mode="json") == {
        "base": "b",
        "objective": "sft",
        "adapter": {
            "use": "lora",
            "rank": 16,
            "alpha": 32.0,
            "rslora": False,
            "dora": False,
            "ranks": {},
            "b_learning_rate_ratio": 1.0,
            "dropout": 0.0,
            "targets": "all-linear",
            "untrained": "refuse",
        },
        "init_from": None,
        "data": None,
        "epochs": 3,
        "steps": None,
        "tokens": None,
        "tokens_per_step": 4096,
        "tokens_per_micro_batch": "auto",
        "learning_rate": 2.0e-4,
        "schedule": "cosine",
        "warmup": 0.03,
        "decay": 0.2,
        "weight_decay": 0.0,
        "clip": 1.0,
        "precision": "auto",
        "fused": True,
        "parallel": "auto",
        "memory": "auto",
        "eval_every": 50,
        "save_every": 50,
        "keep": 2,
        "adapter_from": "auto",
        "log_every": 1,
        "early_stop": None,
        "max_loss_jump": 3.0,
        "report_to": [],
    }


def test_steps_or_tokens_take_the_place_of_epochs() -> None:
    assert Train(base="b", steps=4).epochs is None
    assert Train(base="b", tokens=4000).epochs is None


@pytest.mark.parametrize(
    ("key", "line", "message"),
    [
        ("learning_rat: 1.0", 4, "did you mean 'learning_rate'?"),
        ("learning_rate: -1.0", 4, "train.learning_rate: must be greater than 0, not -1.0"),
        ("learning_rate: fast", 4, "train.learning_rate: must be a valid number, not 'fast'"),
        ("epochs: 1.5", 4, "train.epochs: must be a valid integer, not 1.5"),
        ("epochs: true", 4, "train.epochs: must be a valid integer, not True"),
        ("epochs: 0", 4, "train.epochs: must be greater than 0, not 0"),
        ("warmup: 2", 4, "train.warmup: must be less than or equal to 1, not 2"),
        ("schedule: cosin", 4, "train.schedule: must be 'cosine', 'linear', 'constant' or 'wsd', not 'cosin'"),
        ("objective: sftt", 4, "did you mean 'sft'?"),
        ("precision: fp8", 4, "train.precision: must be 'auto', 'bf16', 'fp16' or 'fp32', not 'fp8'"),
        ("parallel: fsp", 4, "train.parallel: must be 'auto', 'ddp' or 'fsdp', not 'fsp'"),
        ("max_loss_jump: 1", 4, "train.max_loss_jump: must be greater than 1, not 1"),
        ("tokens_per_micro_batch: 0", 4, "train.tokens_per_micro_batch"),
        ("adapter_from: first", 4, "train.adapter_from: must be 'auto', 'last' or 'best', not 'first'"),
        ("memory: 0", 4, "train.memory"),
        ("fused: auto", 4, "train.fused: must be a valid boolean, not 'auto'"),
        ("report_to: [wandbb]", 4, "unknown tracker 'wandbb'; did you mean 'wandb'?"),
        ("early_stop: -1", 4, "train.early_stop: must be greater than 0"),
        ("adapter: {rnk: 4}", 4, "did you mean 'rank'?"),
        ("adapter: {targets: []}", 4, "train.adapter.targets"),
        ("adapter: {dora: 1}", 4, "train.adapter.dora: must be a valid boolean, not 1"),
        ("adapter: {ranks: {q_proj: 0}}", 4, "train.adapter.ranks.q_proj: must be greater than 0, not 0"),
        ("adapter: {b_learning_rate_ratio: 0}", 4, "ratio: must be greater than 0, not 0"),
        ("adapter: {loraplus_lr_ratio: 4}", 4, "unknown key"),
        ("adapter: {untrained: alow}", 4, "must be 'refuse' or 'allow', not 'alow'"),
    ],
)
def test_a_wrong_value_is_told_with_its_line_and_what_is_right(
    tmp_path: Path, key: str, line: int, message: str
) -> None:
    path = written(tmp_path, f"  base: b\n  {key}")
    with pytest.raises(ConfigError) as caught:
        stages(load(path))
    assert str(caught.value).startswith(f"{path}:{line}: train")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_lengths_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="epochs and steps are both set; exactly one of epochs, steps, tokens"):
        stages(load(written(tmp_path, "  base: b\n  epochs: 3\n  steps: 5")))


def test_the_base_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.base: is missing"):
        stages(load(written(tmp_path, "  epochs: 3")))


def test_a_list_is_stages_and_their_paths_start_at_the_recipe(tmp_path: Path) -> None:
    path = written(tmp_path, "  - {base: b}\n  - {base: b, init_from: runs/a/adapter, data: builds/b}")
    first, second = stages(load(path))
    assert first.init_from is None
    assert second.init_from == tmp_path / "runs/a/adapter"
    assert second.data == tmp_path / "builds/b"


def test_a_recipe_without_training_says_so(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="nothing to train"):
        stages(load(path))
    with pytest.raises(ConfigError, match="at least one stage"):
        stages(load(written(tmp_path, "  []")))


def test_the_settings_are_read_without_torch() -> None:
    code = "import sys, trainkit.config; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
