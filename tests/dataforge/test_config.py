from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from dataforge.config import Document, Settings, load
from dataforge.errors import ConfigError


class Inner(Settings):
    rank: int = 8


class Outer(Settings):
    name: str
    rate: float = 0.1
    inner: Inner = Inner()
    items: tuple[Inner, ...] = ()
    either: int | Inner = 0


def document(tmp_path: Path, text: str, *overrides: str) -> Document:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, overrides)


def error_of(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        document(tmp_path, text, *overrides).read(Outer)
    return str(caught.value).replace(f"{tmp_path}/", "")


class Listed(Settings):
    words: Annotated[list[str], Field(min_length=2, max_length=3)]


@pytest.mark.parametrize(
    ("words", "said"),
    [("[a]", "must have at least 2 items, not 1"), ("[a, b, c, d]", "must have at most 3 items, not 4")],
)
def test_a_list_of_a_wrong_length_says_how_long_it_may_be(tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "r.yaml").write_text(f"words: {words}\n")
    with pytest.raises(ConfigError, match=f"r.yaml:1: words: {said}"):
        load(tmp_path / "r.yaml").read(Listed)


def test_a_number_with_an_exponent_is_a_number(tmp_path: Path) -> None:
    assert document(tmp_path, "name: a\nrate: 1e-3\n").read(Outer).rate == 0.001


def test_yes_is_a_word_and_not_a_truth_value(tmp_path: Path) -> None:
    assert document(tmp_path, "name: yes\n").read(Outer).name == "yes"


def test_an_unknown_key_names_its_line_and_the_nearest_known_one(tmp_path: Path) -> None:
    assert error_of(tmp_path, "name: a\n\nrat: 1\n") == "r.yaml:3: rat: unknown key; did you mean 'rate'?"


def test_an_unknown_inner_key_is_compared_with_the_inner_keys(tmp_path: Path) -> None:
    said = error_of(tmp_path, "name: a\ninner:\n  rnak: 1\n")
    assert said == "r.yaml:3: inner.rnak: unknown key; did you mean 'rank'?"


def test_a_key_far_from_all_lists_what_there_is(tmp_path: Path) -> None:
    said = error_of(tmp_path, "name: a\nzzz: 1\n")
    assert said == "r.yaml:2: zzz: unknown key; known: either, inner, items, name, rate"


def test_a_wrong_value_in_a_list_names_its_place(tmp_path: Path) -> None:
    said = error_of(tmp_path, "name: a\nitems:\n  - rank: 1\n  - rank: x\n")
    assert said.startswith("r.yaml:4: items[1].rank: must be a valid integer")
    assert said.endswith("not 'x'")


def test_a_missing_key_names_the_file(tmp_path: Path) -> None:
    assert error_of(tmp_path, "rate: 1\n") == "r.yaml:1: name: is missing"


def test_a_fault_inside_an_alternative_names_only_keys_of_the_file(tmp_path: Path) -> None:
    assert error_of(tmp_path, "name: a\neither:\n  rnk: 1\n").startswith("r.yaml:3: either.rnk: unknown key")


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    assert error_of(tmp_path, "name: a\nname: b\n") == "r.yaml:2: a key stands here for the second time"


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    assert error_of(tmp_path, "name: a\nrate: [1\nx: 2\n").startswith("r.yaml:3: not valid YAML")


def test_a_file_that_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    assert error_of(tmp_path, "- a\n") == "r.yaml:1: a recipe is a mapping of keys to values, not a list"
    assert error_of(tmp_path, "") == "r.yaml:1: a recipe is a mapping of keys to values, not nothing"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_an_override_wins_and_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    assert document(tmp_path, "name: a\n", "inner.rank=3").read(Outer).inner.rank == 3
    assert document(tmp_path, "name: a\nitems: [{rank: 1}]\n", "items[0].rank=3").read(Outer).items[0].rank == 3
    assert error_of(tmp_path, "name: a\n", "inner.rnk=3").startswith("command line: inner.rnk: unknown key")


@pytest.mark.parametrize("override", ["name", "=1", "name.x=1", "items[4].rank=1", "rate=[1"])
def test_an_override_that_cannot_be_laid_over_the_file_is_an_error(tmp_path: Path, override: str) -> None:
    assert error_of(tmp_path, "name: a\nitems: [{rank: 1}]\n", override).startswith("command line: ")
