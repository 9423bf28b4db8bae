"""What is taken out of a text before a model sees it, and how it comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge import masks


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Run `ls -l` now.", ["`ls -l`"]),
        ("See:\n```python\nprint(1)\n\nx = 2\n```\nDone.", ["```python\nprint(1)\n\nx = 2\n```"]),
        ("Open:\n```\nprint(1)", ["```\nprint(1)"]),
        ("At https://example.org/a?b=c, and (www.example.org/x).", ["https://example.org/a?b=c", "www.example.org/x"]),
        ("见https://example.org/帮助。", ["https://example.org/"]),
        ("请看https://example.org/a，谢谢", ["https://example.org/a"]),
        ("写信给jo@example.org，共$x$元，%s个。", ["jo@example.org", "$x$", "%s"]),
        ("Write to jo@example.org.", ["jo@example.org"]),
        ("[the page](https://example.org/p)", ["https://example.org/p"]),
        (
            "Dear {name}, {{ title }} ${x} %s {} and <NAME> [NAME]",
            ["{name}", "{{ title }}", "${x}", "%s", "{}", "<NAME>", "[NAME]"],
        ),
        ("<|im_start|>user[INST]x[/INST]<<SYS>>", ["<|im_start|>", "[INST]", "[/INST]", "<<SYS>>"]),
        ('<b class="x">bold</b><br/>', ['<b class="x">', "</b>", "<br/>"]),
        ("So $a^2 + b^2$ and $$c^2$$ and \\(d\\).", ["$a^2 + b^2$", "$$c^2$$", "\\(d\\)"]),
        ("It costs $5 and then $6.", []),
        ("A set {a, b} of 50% or less: 3 < 4 > 2", []),
        ("The mark ⟦0⟧ itself.", ["⟦0⟧"]),
        ("[see] the [1] footnote", []),
    ],
)
def test_what_must_stay_is_taken_out(text: str, parts: list[str]) -> None:
    found = masks.masked(text)
    assert list(found.parts) == parts
    assert found.put_back(found.text) == text


@given(st.text(alphabet="`$<>{}[]⟦⟧|/\\%s0a1 \n中。~@.:", max_size=60))
def test_putting_back_undoes_taking_out(text: str) -> None:
    found = masks.masked(text)
    assert found.put_back(found.text) == text
    assert found.part(found.text).put_back(found.part(found.text).text) == text


def test_marks_may_change_places_but_not_their_number() -> None:
    found = masks.masked("First `a`, then `b`.")
    assert found.put_back("Then ⟦1⟧, first ⟦0⟧.") == "Then `b`, first `a`."
    assert found.put_back("First ⟦0⟧.") is None
    assert found.marks("First ⟦0⟧ ⟦0⟧.") == "lost '`b`'; mark ⟦0⟧ too much"


def test_a_part_of_a_text_has_marks_of_its_own() -> None:
    found = masks.masked("`a` and `b` and `c`")
    part = found.part("so ⟦2⟧ before ⟦1⟧")
    assert (part.text, list(part.parts)) == ("so ⟦0⟧ before ⟦1⟧", ["`c`", "`b`"])


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ("In 1984 it was 12.5 degrees.", "1984年气温是12.5度。", []),
        ("In 1984 it was 12.5 degrees.", "1984年气温是12度。", ["12.5"]),
        ("On May 5 we had 3 apples.", "5月5日我们有三个苹果。", []),
        ("5月5日有3个苹果。", "On the fifth of May there were three apples.", []),
        ("It takes 2 days.", "要两天。", []),
        ("It takes 20 days.", "要二十天。", ["20"]),
        ("1,250,000 people", "1250000人", []),
        ("1. First\n2. Second", "其一\n其二", []),
    ],
)
def test_numbers_that_are_lost_are_found(before: str, after: str, lost: list[str]) -> None:
    assert masks.lost_numbers(before, after) == lost


def test_signs_of_markdown_are_read_in_order() -> None:
    text = "# Head\n\n- one\n  * two\n3) three\n> said\n| a | b |\n#hashtag\n-5 degrees"
    assert masks.markers(text) == ["#", "-", "*", "1.", ">", "|"]
