from dataforge.text import fill


def test_all_four_ways_to_write_a_placeholder_are_filled() -> None:
    filled, used = fill("<NAME> [NAME] {{NAME}} {{name}}", {"NAME": "呱唧"})
    assert filled == "呱唧 呱唧 呱唧 呱唧"
    assert used == {"NAME"}


def test_brackets_are_literal_and_no_character_class() -> None:
    assert fill("My NAME is MEAN: [NAME]", {"NAME": "x"})[0] == "My NAME is MEAN: x"


def test_a_word_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    assert fill("<A> <B>", {"A": "<B>", "B": r"\1"})[0] == r"<B> \1"


def test_texts_inside_lists_and_mappings_are_filled_and_keys_are_not() -> None:
    assert fill({"<A>": [["<A>", 1, None]]}, {"A": "x"})[0] == {"<A>": [["x", 1, None]]}


def test_a_word_that_occurs_nowhere_is_told() -> None:
    assert fill("<A>", {"A": "x", "B": "y"})[1] == {"A"}
    assert fill("<A>", {}) == ("<A>", set())
