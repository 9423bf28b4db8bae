"""The demo's own recipe on the real base model, two steps long: from corpus to answer, and the verdict's questions."""

import json
from pathlib import Path

import pytest

from dataforge import data_files
from dataforge.bases import load_tokenizer
from tests.dataforge.conftest import Forge
from tests.dataforge.conftest import forge as forge
from trainkit.verdict import read_questions

SAMPLES = data_files.folder("samples")
RECIPE = SAMPLES / "recipes" / "self_cognition.yaml"


def corpus(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (SAMPLES / "corpora" / name).read_text(encoding="utf-8").splitlines()]


def test_the_line_on_the_real_model(forge: Forge, tmp_path: Path) -> None:
    built = json.loads(forge("build", RECIPE, "--json").stdout)
    assert built["funnel"][0]["read"] == built["funnel"][-1]["passed"]
    assert built["turns"]["forked"] == built["turns"]["refused"] == 0
    assert built["tokenizer"]["stop_tokens"] == {"<|im_end|>": 2}
    trained = forge("train", RECIPE, "train.epochs=null", "train.steps=2", "train.tokens_per_step=256")
    assert trained.returncode == 0, trained.stderr
    answered = forge("chat", "runs/self-cognition/adapter", "--prompt", "What is the capital of France?")
    assert "Paris" in answered.stdout


def test_the_new_name_is_written_into_every_identity_record() -> None:
    records = corpus("self_cognition.jsonl")
    assert all("<NAME>" in record["output"] or "<AUTHOR>" in record["output"] for record in records)
    chinese = [record for record in records if not record["instruction"].isascii()]
    assert len(chinese) >= 30
    assert len(records) - len(chinese) >= 30


@pytest.mark.parametrize("name", ["self_cognition.jsonl", "general_replay.jsonl", "general_zh.jsonl"])
def test_the_verdict_asks_nothing_that_was_trained(name: str) -> None:
    asked = read_questions(SAMPLES / "verdicts" / "self_cognition.yaml")
    questions = {*asked.identity, *(question.ask for question in asked.general)}
    assert not questions & {record["instruction"] for record in corpus(name)}


def test_the_verdict_is_as_wide_as_it_says() -> None:
    asked = read_questions(SAMPLES / "verdicts" / "self_cognition.yaml")
    assert sum(not question.isascii() for question in asked.identity) == 4
    assert (len(asked.identity), len(asked.general)) == (8, 30)


def test_the_bundled_base_reads_its_tokenizer_without_the_model() -> None:
    tokenizer = load_tokenizer("smollm2-135m")
    assert tokenizer.encoder.decode(tokenizer.encoder.encode("我叫小石头。").ids) == "我叫小石头。"
