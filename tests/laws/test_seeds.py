"""Randomness hangs on names, so nothing that comes or goes disturbs the rest."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from dataforge import seeds


@given(st.integers(-(2**63), 2**63), st.lists(st.text(), max_size=4))
def test_the_same_names_draw_the_same(seed: int, names: list[str]) -> None:
    assert seeds.draw(seed, *names) == seeds.draw(seed, *names)
    assert 0 <= seeds.share(seed, *names) < 1


def test_names_are_told_apart_where_they_are_joined() -> None:
    assert seeds.draw(0, "ab", "c") != seeds.draw(0, "a", "bc") != seeds.draw(0, "abc")


def test_the_draw_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "from dataforge import seeds; print(seeds.draw(7, 'split', '记录'))"
    drawn = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert drawn[0] == drawn[1] == f"{seeds.draw(7, 'split', '记录')}\n"


def test_shares_are_even() -> None:
    drawn = [seeds.share(1, str(number)) for number in range(4000)]
    assert all(abs(sum(low <= x < low + 0.25 for x in drawn) / 4000 - 0.25) < 0.03 for low in (0, 0.25, 0.5, 0.75))


@given(st.integers(-(2**63), 2**63), st.lists(st.text(), max_size=3), st.text(), st.text())
def test_a_drawer_draws_what_its_names_draw(seed: int, names: list[str], one: str, other: str) -> None:
    assert seeds.drawer(seed, *names)(one, other) == seeds.draw(seed, *names, one, other)
