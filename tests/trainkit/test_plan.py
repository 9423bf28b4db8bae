import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trainkit.config import Train
from trainkit.plan import shares, steps

sizes = st.lists(st.integers(2, 60), min_size=1, max_size=30)


@given(sizes, st.integers(1, 200), st.integers(1, 3))
def test_each_epoch_takes_every_window_once_in_steps_that_are_not_too_large(
    tokens: list[int], limit: int, epochs: int
) -> None:
    planned = steps(Train(base="b", epochs=epochs, tokens_per_step=limit), tokens, [1] * len(tokens), 7)
    for epoch in range(epochs):
        taken = [window for step in planned if step.epoch == epoch for window in step.windows]
        assert sorted(taken) == list(range(len(tokens)))
    for step in planned:
        assert step.tokens == sum(tokens[window] for window in step.windows)
        assert step.trained_tokens == len(step.windows)
        assert step.tokens <= limit or len(step.windows) == 1


@given(sizes, st.integers(1, 200))
def test_no_step_of_an_epoch_could_have_taken_the_next_window(tokens: list[int], limit: int) -> None:
    planned = steps(Train(base="b", epochs=1, tokens_per_step=limit), tokens, tokens, 7)
    for step, later in pairwise(planned):
        assert step.tokens + tokens[later.windows[0]] > limit


def test_epochs_have_orders_of_their_own_which_the_seed_decides() -> None:
    def orders(seed: int) -> list[list[int]]:
        planned = steps(Train(base="b", epochs=2, tokens_per_step=1), [5] * 20, [1] * 20, seed)
        return [[step.windows[0] for step in planned if step.epoch == epoch] for epoch in range(2)]

    first, second = orders(7)
    assert first != second
    assert orders(7) == [first, second]
    assert orders(8) != [first, second]


def test_steps_and_tokens_end_a_run_within_an_epoch() -> None:
    tokens = [10] * 7
    assert len(steps(Train(base="b", steps=9, tokens_per_step=20), tokens, tokens, 7)) == 9
    by_tokens = steps(Train(base="b", tokens=95, tokens_per_step=20), tokens, tokens, 7)
    assert math.isclose(sum(step.tokens for step in by_tokens), 110)
    assert [step.tokens for step in by_tokens] == [20, 20, 20, 10, 20, 20]


def test_no_windows_are_no_steps() -> None:
    assert steps(Train(base="b"), [], [], 7) == []


@given(sizes, st.integers(1, 200), st.integers(1, 4))
def test_every_window_is_in_one_micro_batch_of_one_process(tokens: list[int], limit: int, processes: int) -> None:
    chosen = list(range(len(tokens)))[::2]
    found = shares(chosen, tokens, limit, processes)
    assert len(found) == processes
    assert sorted(window for mine in found for group in mine for window in group) == chosen
    for mine in found:
        assert [window for group in mine for window in group] == sorted(window for group in mine for window in group)
        assert all(len(group) == 1 or sum(tokens[window] for window in group) <= limit for group in mine)


def test_work_is_shared_evenly_and_without_a_limit_windows_go_one_by_one() -> None:
    assert shares([4, 2, 0, 1], [30, 10, 25, 0, 20], None, 2) == [[(0,), (1,)], [(4,), (2,)]]
    loads = [
        sum(tokens for group in mine for tokens in group) for mine in shares(list(range(100)), list(range(100)), 50, 3)
    ]
    assert max(loads) - min(loads) <= 2
    assert shares([1, 0], [5, 5], None, 1) == [[(1,), (0,)]]
