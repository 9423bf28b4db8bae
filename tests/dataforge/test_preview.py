import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from dataforge import config, preview
from dataforge.build import build
from dataforge.errors import BuildError
from tests.dataforge.conftest import RECORDS

Write = Callable[..., Path]
TWO_TURNS = {"instruction": "再见", "output": "再见！", "history": [["你好", "你好！"]]}


def test_a_recipe_and_its_build_show_the_same(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe([TWO_TURNS, *RECORDS], split={"eval": 0.0})
    build(config.load(recipe), tmp_path / "b", print)
    assert preview.of_recipe(config.load(recipe), 5).shown == preview.of_build(tmp_path / "b", 5).shown


def test_the_tokens_are_the_text_and_the_trained_ones_the_answers(write_recipe: Write) -> None:
    shown = preview.of_recipe(config.load(write_recipe([TWO_TURNS])), 1).shown[0]
    (row,) = shown.rows
    runs = itertools.groupby(row.tokens, key=lambda token: token.trained)
    texts = [(trained, "".join(token.text for token in run)) for trained, run in runs]
    assert [text for trained, text in texts if trained] == ["你好！<|im_end|>", "再见！<|im_end|>"]
    assert row.text == (
        "<|im_start|>system\nYou are a tiny assistant named Pebble.<|im_end|>\n"
        "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n你好！<|im_end|>\n"
        "<|im_start|>user\n再见<|im_end|>\n<|im_start|>assistant\n再见！<|im_end|>\n"
    )
    assert [token.text for token in row.tokens if token.stop] == ["<|im_end|>", "<|im_end|>"]
    assert shown.place == "corpus, corpus.jsonl:1"
    assert [(m.role, m.text, m.trained) for m in shown.messages[1:3]] == [
        ("assistant", "你好！", True),
        ("user", "再见", False),
    ]


def test_rejects_are_shown_with_their_reasons(write_recipe: Write) -> None:
    shown = preview.of_recipe(config.load(write_recipe([*RECORDS, {"instruction": "x"}])), 1)
    assert [reject.reason for reject in shown.rejects] == ["convert/missing_output"]


def test_one_record_can_be_asked_for(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(RECORDS)
    build(config.load(recipe), tmp_path / "b", print)
    wanted = preview.of_build(tmp_path / "b", 40).shown[9]
    assert preview.of_build(tmp_path / "b", 1, wanted.id).shown == (wanted,)
    assert preview.of_recipe(config.load(recipe), 1, wanted.id).shown == (wanted,)
    with pytest.raises(BuildError, match="holds no record"):
        preview.of_build(tmp_path / "b", 1, "0" * 32)
    with pytest.raises(BuildError, match="no such record"):
        preview.of_recipe(config.load(recipe), 1, "0" * 32)


def test_a_rejected_record_can_be_asked_for(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe([*RECORDS, {"instruction": "x"}])
    (reject,) = preview.of_recipe(config.load(recipe), 1).rejects
    build(config.load(recipe), tmp_path / "b", print)
    for shown in (
        preview.of_recipe(config.load(recipe), 1, reject.id),
        preview.of_build(tmp_path / "b", 1, reject.id),
    ):
        assert (shown.shown, shown.rejects) == ((), (reject,))


def test_a_preview_writes_nothing(write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(RECORDS)
    before = sorted(tmp_path.rglob("*"))
    preview.of_recipe(config.load(recipe), 3)
    assert sorted(tmp_path.rglob("*")) == before
