"""A pair is shown with its prompt once and both answers beside one another, and what differs is marked."""

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge import config, preview
from dataforge.build import build
from dataforge.cli import _tokens
from dataforge.pair_view import differing, judged
from dataforge.preview_page import page
from dataforge.records import Message, Origin, Preference
from tests.dataforge.conftest import Forge
from tests.dataforge.test_preview_page import read

IDS = st.lists(st.integers(0, 4), max_size=30)


def recipe_of(folder: Path, base: Path, *rows: tuple[str, str, str], kind: str = "pairs", **more: Any) -> Path:
    """A recipe of questions with a better and a worse answer."""
    lines = [json.dumps(dict(zip(("instruction", "chosen", "rejected"), row, strict=True))) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    said = {"name": "p", "tokenizer": str(base), "kind": kind, "max_tokens": 10_000, "split": {"eval": 0}}
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({**said, "sources": [{"use": "alpaca", "path": "rows.jsonl"}], **more}))
    return path


@given(IDS, IDS)
def test_what_is_not_marked_is_the_same_in_both(one: list[int], other: list[int]) -> None:
    marks = differing(one, other)
    common = [
        [id_ for id_, mark in zip(*side, strict=True) if not mark] for side in ((one, marks[0]), (other, marks[1]))
    ]
    assert common[0] == common[1]
    if one and other and one[0] == other[0]:
        assert not marks[0][0] and not marks[1][0]
    if not set(one) & set(other):
        assert all(marks[0]) and all(marks[1])


@given(IDS)
def test_equal_answers_have_no_mark(ids: list[int]) -> None:
    assert differing(ids, ids) == ([False] * len(ids), [False] * len(ids))


def test_words_that_were_put_in_and_taken_out_are_marked() -> None:
    assert differing([1, 2, 3, 4, 5], [1, 9, 3, 5]) == ([False, True, False, True, False], [False, True, False, False])


def test_a_word_in_common_amid_longer_differences_is_marked_with_them() -> None:
    one, other = [1, 2, 3, 0, 4, 5, 7, 8, 9], [11, 12, 0, 13, 14, 7, 8, 9]
    assert differing(one, other) == ([True] * 6 + [False] * 3, [True] * 5 + [False] * 3)
    assert differing([1, 2, 0, 6, 4, 5], [11, 12, 0, 6, 13]) == (
        [True, True, False, False, True, True],
        [True, True, False, False, True],
    )


def answers(shown: preview.Shown) -> list[list[tuple[str, bool]]]:
    """The characters of both answers, each with whether it is marked."""
    return [
        [(char, token.differs) for token in row.tokens if token.trained for char in token.text] for row in shown.rows
    ]


def test_chinese_is_marked_by_whole_characters(tmp_path: Path, tiny_base: Path) -> None:
    """Both characters begin with the same byte, which is a token of its own."""
    assert "猫".encode()[:1] == "狗".encode()[:1]
    recipe = recipe_of(tmp_path, tiny_base, ("谁？", "小猫在家。", "小狗在家。"))
    build(config.load(recipe), tmp_path / "b", lambda _: None)
    (shown,) = preview.of_build(tmp_path / "b", 1).shown
    assert preview.of_recipe(config.load(recipe), 1).shown == (shown,)
    better, worse = answers(shown)
    assert [char for char, differs in better if differs] == ["猫"]
    assert [char for char, differs in worse if differs] == ["狗"]
    for row in shown.rows:
        assert not any(token.differs for token in row.tokens if not token.trained)


def test_a_character_differs_if_one_of_its_tokens_does(tmp_path: Path, tiny_base: Path) -> None:
    one, other = "\u4e00", "\u5e00"
    assert one.encode()[1:] == other.encode()[1:]
    (shown,) = preview.of_recipe(config.load(recipe_of(tmp_path, tiny_base, ("q", one, other))), 1).shown
    assert [[char for char, differs in side if differs] for side in answers(shown)] == [[one], [other]]
    (row, _) = shown.rows
    assert [token.differs for token in row.tokens if token.trained][-2:] == [True, False]


def pair(margin: float | None, facts: dict[str, Any]) -> Preference:
    said = (Message("assistant", "a"),)
    return Preference("r", Origin("s", "f", 0, 1), (Message("user", "q"),), said, said, margin=margin, facts=facts)


@pytest.mark.parametrize(
    ("margin", "facts", "line"),
    [
        (None, {}, ""),
        (
            2.5,
            {"score_chosen": 8.0, "score_rejected": 5.5, "rule": "pairs/all"},
            "margin 2.5, scores 8 and 5.5, rule pairs/all",
        ),
        (None, {"rank_chosen": 0, "rank_rejected": 2}, "ranks 0 and 2"),
        (
            3.0,
            {
                "score_chosen": 30,
                "score_rejected": 10,
                "score_ratio": 3.0,
                "seconds_later": 5400,
                "created_chosen": 1_600_005_400,
                "created_rejected": 1_600_000_000,
                "rule": "shp",
            },
            "margin 3, scores 30 and 10, ratio 3, chosen written 1.5 hours later, "
            "at 2020-09-13 13:56 and 2020-09-13 12:26 UTC, rule shp",
        ),
        (
            None,
            {"seconds_later": -1, "created_chosen": "soon", "created_rejected": 10**30},
            "chosen written 1 seconds earlier",
        ),
    ],
)
def test_how_a_pair_was_judged_is_one_line(margin: float | None, facts: dict[str, Any], line: str) -> None:
    assert judged(pair(margin, facts)) == line


def cells(text: str) -> int:
    """Columns of a terminal, of text without marks that take none."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def test_a_wide_terminal_has_two_columns_and_a_narrow_one_has_one(
    tmp_path: Path, tiny_base: Path, forge: Forge
) -> None:
    row = ("What is it?", "It is a small 模型 and it is called Pebble. " * 4, "It is 巴黎. " * 9)
    recipe = recipe_of(tmp_path, tiny_base, row)
    wide = forge("preview", recipe, COLUMNS="120").stdout.splitlines()
    assert wide.count("user") == 0
    assert sum("What is it?" in line for line in wide) == 2, "the message, and the prompt's tokens once"
    assert all(cells(line) <= 120 for line in wide if " │" in line)
    columns = [line.split(" │") for line in wide if " │" in line]
    assert {cells(left) for left, _ in columns} == {(120 - 3) // 2}
    said = ["".join(each[side] for each in columns[1:]).replace(" ", "") for side in (0, 1)]
    narrow = forge("preview", recipe, COLUMNS="60").stdout.splitlines()
    assert not any(" │" in line for line in narrow)
    at = [
        next(n for n, line in enumerate(narrow) if line.startswith(f"   {side}: ")) for side in ("chosen", "rejected")
    ]
    assert [narrow[n + 1].replace(" ", "") for n in at] == said
    for side, text in zip(said, row[1:], strict=True):
        assert side.translate(str.maketrans("", "", "⟦⟧⟪⟫■")).removesuffix("<|im_end|>") == text.replace(" ", "")
        assert side.startswith("⟦") and side.endswith("<|im_end|>■⟧")


@given(st.lists(st.sampled_from(["中文", "猫，", "在家。", "（好）", "name", " and ", "x = 1;", "\n"]), max_size=40))
def test_lines_lose_nothing_and_no_punctuation_begins_one(words: list[str]) -> None:
    text = "".join(words)
    lines = list(_tokens.beside(["", ""], [[(text, _tokens.GIVEN)], []], 43))[1:]
    left = [re.sub("\x1b\\[[0-9;]*m", "", line).split(" │")[0].rstrip() for line in lines]
    assert "".join(left).replace(" ", "") == text.replace("\n", "").replace(" ", "")
    assert all(cells(line) <= 20 for line in left)
    if "name" not in text.replace("name ", ""):  # a word of many pieces is cut where it must be
        assert not [line for line in left if line.startswith(("，", "。", "）", ";"))]


def test_long_answers_and_control_characters_are_shown_sanely(tmp_path: Path, tiny_base: Path, forge: Forge) -> None:
    rows = ("q", "hello " * 2000, "hello " * 1999 + "\x1b[31m\u202e\x07"), ("<script>", "<b>a</b>", "\x1b]0;x\x07")
    recipe = recipe_of(tmp_path, tiny_base, *rows)
    done = forge("preview", recipe, "--html", "p.html", COLUMNS="120")
    assert done.returncode == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout + (tmp_path / "p.html").read_text(encoding="utf-8"))
    assert "\\x1b[31m\\u202e\\x07" in done.stdout
    tree = read((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert len(tree.all("div", "sides")) == 2
    spans = tree.all("div", "sides")[0].all("span")
    assert len(spans) > 4000
    assert sum(span.classes == "t d" for span in spans) < 60, "all that is the same is not marked"


def test_the_page_has_the_prompt_once_and_both_answers_after_it(tmp_path: Path, tiny_base: Path) -> None:
    recipe = recipe_of(tmp_path, tiny_base, ("who are you?", "I am Pebble", "I am Paris"))
    shown = preview.of_recipe(config.load(recipe), 1)
    tree = read(page(shown))
    (article,) = tree.all("article")
    prompt, better, worse = (row.all("span") for row in article.all("div", "tokens"))
    rows = shown.shown[0].rows
    given = sum(not token.trained for token in rows[0].tokens)
    assert [span.words for span in prompt] == [token.text for token in rows[0].tokens[:given]]
    for spans, row in zip((better, worse), rows, strict=True):
        assert [span.words for span in spans] == [token.text for token in row.tokens[given:]]
        assert [span.classes for span in spans] == ["t d" if token.differs else "t" for token in row.tokens[given:]]
        assert spans[0].attributes["title"] == f"id {row.tokens[given].id}, position {given}"
        assert spans[-1].all("b")
    assert {span.classes for span in better} == {"t", "t d"}
    assert [" ".join(found.words.split()) for found in article.all("h4")] == [
        f"Prompt: {given} tokens",
        f"Chosen: {len(better)} tokens",
        f"Rejected: {len(worse)} tokens",
    ]
    assert "answers certified, two of each pair: 2" in tree.one("header").words


def test_prompts_are_shown_as_what_a_model_is_given(tmp_path: Path, tiny_base: Path, forge: Forge) -> None:
    recipe = recipe_of(tmp_path, tiny_base, ("who?", "a", "b"), kind="prompts", steps=[{"use": "to_prompts"}])
    said = forge("preview", recipe, "--html", "p.html").stdout
    assert "⟦" not in said
    assert "all of it is given to the model, which writes the answer itself" in said
    assert "prompts only: the model writes the answers itself" in (tmp_path / "p.html").read_text(encoding="utf-8")
    found = json.loads(forge("preview", recipe, "--json").stdout)
    assert (found["kind"], found["shown"][0]["rows"][0]["tokens"][0]["trained"]) == ("prompts", False)


def test_json_carries_what_differs_and_how_it_was_judged(tmp_path: Path, tiny_base: Path, forge: Forge) -> None:
    found = json.loads(forge("preview", recipe_of(tmp_path, tiny_base, ("q", "yes", "no")), "--json").stdout)
    assert found["kind"] == "pairs"
    (shown,) = found["shown"]
    assert shown["judged"] == ""
    sides: Sequence[Any] = [[token for token in row["tokens"] if token["trained"]] for row in shown["rows"]]
    assert all(any(token["differs"] for token in side) and not side[-1]["differs"] for side in sides)
