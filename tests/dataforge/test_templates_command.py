"""Chat templates on the command line: `chat:` in a recipe, and `forge templates check`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dataforge.conftest import RECORDS, Forge
from tests.dataforge.test_cli import error

Write = Callable[..., Path]
LOSES_ITS_HEADER = (
    "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}go{% endif %}"
)


def test_a_template_of_ours_is_named_in_a_recipe(forge: Forge, write_recipe: Write) -> None:
    shown = forge("preview", write_recipe(RECORDS[:3], chat="alpaca", max_tokens=256), "-n", "1")
    assert "### Instruction:\nWho are you, 0?\n\n### Response:⟦I am Pebble number 0" in shown.stdout


def test_a_file_is_a_template_relative_to_the_recipe(forge: Forge, write_recipe: Write, tmp_path: Path) -> None:
    text = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    (tmp_path / "mine.jinja").write_text(text, encoding="utf-8")
    assert "assistant: ⟦I am" in forge("preview", write_recipe(RECORDS[:3], chat="mine.jinja"), "-n", "1").stdout
    assert forge("build", "recipe.yaml").returncode == 0
    manifest = json.loads((tmp_path / "builds/small/manifest.json").read_text())
    assert manifest["template"]["text"] == text
    assert manifest["template"]["source"] == "mine.jinja"


@pytest.mark.parametrize(
    ("chat", "said"),
    [
        ("chatmk", "recipe.yaml:1: chat: there is no chat template 'chatmk'; did you mean 'chatml'?"),
        ("none.jinja", "recipe.yaml:1: chat: there is no file"),
        ("llama-3", "recipe.yaml:1: chat: the chat template llama-3 writes <|start_header_id|>"),
        ("broken.jinja", "recipe.yaml:1: chat: chat template, line 1: "),
        ("mute.jinja", "recipe.yaml:1: chat: the chat template ends an answer with ''"),
    ],
)
def test_a_template_that_does_not_serve_is_told_with_its_place(
    chat: str, said: str, forge: Forge, write_recipe: Write, tmp_path: Path
) -> None:
    (tmp_path / "broken.jinja").write_text("{% for %}", encoding="utf-8")
    (tmp_path / "mute.jinja").write_text("{{ messages[-1].content }}", encoding="utf-8")
    assert said in error(forge("build", write_recipe(RECORDS, chat=chat)))


def test_keywords_reach_the_template_and_the_manifest(forge: Forge, write_recipe: Write, tmp_path: Path) -> None:
    text = "{% for m in messages %}{{ mood }} {{ m.content }}<|im_end|>{% endfor %}"
    (tmp_path / "mine.jinja").write_text(text, encoding="utf-8")
    recipe = write_recipe(RECORDS, chat="mine.jinja", template_kwargs={"mood": "glad"})
    assert forge("build", recipe).returncode == 0
    assert "glad Who are you" in forge("preview", "builds/small", "-n", "1").stdout
    assert json.loads((tmp_path / "builds/small/manifest.json").read_text())["template"]["kwargs"] == {"mood": "glad"}


def test_new_control_tokens_are_said_at_load_and_listed(forge: Forge, write_recipe: Write, tmp_path: Path) -> None:
    done = forge("build", write_recipe(RECORDS, chat="llama-3", missing_tokens="add"))
    assert done.returncode == 0
    assert "<|eot_id|>: control tokens of the chat template llama-3" in done.stderr + done.stdout
    tokenizer = json.loads((tmp_path / "builds/small/manifest.json").read_text())["tokenizer"]
    assert list(tokenizer["new_tokens"].values()) == [300, 301, 302]
    assert tokenizer["stop_tokens"] == {"<|eot_id|>": tokenizer["new_tokens"]["<|eot_id|>"]}
    assert "<|eot_id|>■⟧" in forge("preview", "builds/small", "-n", "1").stdout


def test_the_check_prints_what_becomes_of_each_shape(forge: Forge, tiny_base: Path) -> None:
    done = forge("templates", "check", "qwen", "--tokenizer", tiny_base)
    assert done.returncode == 0
    assert "stop     <|im_end|> (2)" in done.stdout
    assert "three turns               one row" in done.stdout
    found = json.loads(forge("templates", "check", "qwen", "--tokenizer", tiny_base, "--json").stdout)
    assert found["holds"]
    assert {shape["outcome"] for shape in found["shapes"]} == {"one row", "refused"}


def test_the_check_fails_where_a_mask_cannot_be_proven(forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(LOSES_ITS_HEADER, encoding="utf-8")
    done = forge("templates", "check", "mine.jinja", "--tokenizer", tiny_base)
    assert done.returncode == 1
    assert "the served prompt ends with 'go', and the template does not tell what ends it" in done.stdout


def test_keywords_of_the_check_are_values_not_words(forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    text = "{% for m in messages %}{{ m.content if on is true }}<|im_end|>{% endfor %}"
    (tmp_path / "mine.jinja").write_text(text, encoding="utf-8")
    check = ("templates", "check", "mine.jinja", "--tokenizer", tiny_base)
    assert "one turn                  one row" in forge(*check, "on=true").stdout
    assert "'on' is not of the form KEY=VALUE" in error(forge(*check, "on"))


def test_a_check_of_nothing_names_the_way_out(forge: Forge, tiny_base: Path) -> None:
    assert "there is no chat template 'qwem'; did you mean 'qwen'?" in error(
        forge("templates", "check", "qwem", "--tokenizer", tiny_base)
    )
    assert "no such base model" in error(forge("templates", "check", "qwen", "--tokenizer", "nope"))


def test_a_page_is_written_or_the_reason_told(forge: Forge, write_recipe: Write, tmp_path: Path) -> None:
    recipe = write_recipe(RECORDS[:3])
    assert "page.html" in forge("preview", recipe, "--html", "page.html").stdout
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "name another file" in error(forge("preview", recipe, "--html", "no/such/page.html"))
