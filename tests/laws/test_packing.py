"""Packing loses nothing, splits nothing and fills well."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataforge.pack import best_fit, pack, shard_groups
from dataforge.tokenize import Row

LENGTHS = st.lists(st.integers(1, 64), max_size=80)


def rows_of(lengths: list[int]) -> list[Row]:
    return [
        Row(f"{number:04x}#1", 1, np.arange(length, dtype=np.int32) + 100 * number, np.ones(length, dtype=np.int8))
        for number, length in enumerate(lengths)
    ]


@given(LENGTHS)
def test_every_item_is_in_one_bin_and_no_bin_overflows(lengths: list[int]) -> None:
    bins = best_fit(lengths, 64)
    assert sorted(item for members in bins for item in members) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in members) <= 64 for members in bins)


@given(LENGTHS)
def test_no_two_bins_could_be_one(lengths: list[int]) -> None:
    loads = sorted(sum(lengths[item] for item in members) for members in best_fit(lengths, 64))
    assert len(loads) < 2 or loads[0] + loads[1] > 64


@given(LENGTHS)
def test_unpacking_gives_the_same_documents(lengths: list[int]) -> None:
    rows = rows_of(lengths)
    found = {}
    for window in pack(rows, 64, seed=3):
        edges = np.cumsum(window.seq_lengths)[:-1]
        documents = np.split(window.input_ids, edges)
        found.update(zip(window.record_ids, (document.tolist() for document in documents), strict=True))
    assert found == {row.id: row.input_ids.tolist() for row in rows}


@given(LENGTHS, st.randoms(use_true_random=False))
def test_the_windows_do_not_depend_on_the_order_of_the_rows(lengths: list[int], random: object) -> None:
    rows = rows_of(lengths)
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (
        [window.record_ids for group in shard_groups(order, 5) for window in pack(group, 64, 5)]
        for order in (rows, shuffled)
    )
    assert first == second
