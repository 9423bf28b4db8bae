"""`forge chat` and `forge eval` on a tiny adapter."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from dataforge.cli.chat import command as chat
from dataforge.cli.eval import command as evaluate
from trainkit.config import Train
from trainkit.trainer import train

from .conftest import random_windows, write_build


@pytest.fixture(scope="module")
def adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    build = write_build(folder / "build", tiny_base, random_windows(4, 1, "t"), [])
    settings = Train(base=str(tiny_base), steps=2, learning_rate=0.01, precision="fp32")
    return train(settings, build, str(tiny_base), str(tiny_base), folder / "run", 7).adapter


def test_prompts_are_answered_and_the_untuned_answer_stands_beside(adapter: Path) -> None:
    result = CliRunner().invoke(chat, [str(adapter), "--prompt", "hi", "--prompt", "法国", "--base"])
    assert result.exit_code == 0, result.output
    starts = [line.split("> ")[0] for line in result.output.split("\n") if line.startswith(("you>", "base>", "tuned>"))]
    assert starts == ["you", "base", "tuned"] * 2


def test_a_conversation_is_kept_reset_and_left(adapter: Path) -> None:
    result = CliRunner().invoke(chat, [str(adapter)], input="hi\n\n/reset\nhi<|im_end|>\n/exit\nnever\n")
    assert result.exit_code == 0, result.output
    assert result.output.count("tuned> ") == 2
    assert "(a new conversation)" in result.output
    assert "is a control token of this model" in result.output


def test_the_end_of_input_leaves(adapter: Path) -> None:
    result = CliRunner().invoke(chat, [str(adapter)], input="")
    assert result.exit_code == 0, result.output


def test_a_verdict_that_does_not_hold_says_so_to_people_and_programs(adapter: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.yaml"
    questions.write_text(
        "identity: [who?]\nother_system: x\nnames: [Forge]\ngeneral:\n  - {ask: q, accept: [a]}\n", encoding="utf-8"
    )
    shown = CliRunner().invoke(evaluate, [str(adapter), str(questions)], standalone_mode=False)
    assert shown.return_value == 1, shown.output
    assert "the verdict does not hold" in shown.stdout
    as_json = CliRunner().invoke(evaluate, [str(adapter), str(questions), "--json"], standalone_mode=False)
    found = json.loads(as_json.stdout)
    assert found["holds"] is False
    assert [row["needed"] for row in found["rows"]][:2] == [1, 1]
    assert found["failures"][0]["question"] == "who?"
