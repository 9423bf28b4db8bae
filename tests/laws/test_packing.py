"""Packing loses nothing, splits nothing and fills well."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge import gathers, row_table, seeds
from dataforge.pack import best_fit, pack
from dataforge.row_table import Rows
from dataforge.tokenize import Row

LENGTHS = st.lists(st.integers(1, 64), max_size=80)


def rows_of(lengths: list[int]) -> list[Row]:
    return [
        Row(f"{number:04x}#1", np.arange(length, dtype=np.int32) + 100 * number, np.ones(length, dtype=np.int8))
        for number, length in enumerate(lengths)
    ]


def in_order(lengths: list[int]) -> Rows:
    return row_table.in_order(((row, 1) for row in rows_of(lengths)), 5)


@given(LENGTHS)
def test_every_item_is_in_one_bin_and_no_bin_overflows(lengths: list[int]) -> None:
    bins = best_fit(lengths, 64)
    assert sorted(item for members in bins for item in members) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in members) <= 64 for members in bins)


@given(LENGTHS)
def test_no_two_bins_could_be_one(lengths: list[int]) -> None:
    loads = sorted(sum(lengths[item] for item in members) for members in best_fit(lengths, 64))
    assert len(loads) < 2 or loads[0] + loads[1] > 64


@given(LENGTHS.filter(bool))
def test_unpacking_gives_the_same_documents(lengths: list[int]) -> None:
    rows = in_order(lengths)
    windows = pack(rows, np.arange(len(lengths)), 64, 5)
    found = np.split(windows.input_ids, np.cumsum(windows.seq_lengths)[:-1])
    ids = {identity: ids.tolist() for identity, ids in zip(windows.record_ids, found, strict=True)}
    assert ids == {row.id: row.input_ids.tolist() for row in rows_of(lengths)}
    _, edges = windows.edges()
    assert max(np.diff(edges)) <= 64


@given(LENGTHS, st.integers(1, 9))
@settings(deadline=None)
def test_rows_of_parts_come_into_one_order(lengths: list[int], part: int) -> None:
    """However the rows were cut into parts, the order is that of their draws, which a sort of all of them gives."""
    rows = rows_of(lengths)
    pieces = [
        row_table.in_order(((row, 2) for row in rows[start : start + part]), 5) for start in range(0, len(rows), part)
    ]
    wanted = sorted(
        (seeds.draw(5, "order", row.id, copy), row.id, row.input_ids.tolist()) for row in rows for copy in ("1", "2")
    )
    merged = row_table.in_order((), 5)
    if pieces:
        laid, order = row_table.together(pieces)
        merged = laid.take(order)
    assert list(merged.ids) == [identity for _, identity, _ in wanted]
    assert merged.input_ids.tolist() == [number for _, _, ids in wanted for number in ids]


@given(st.lists(st.integers(1, 600), min_size=1, max_size=300), st.data())
@settings(deadline=None, max_examples=30)
def test_a_range_of_rows_reads_back(lengths: list[int], data: st.DataObject) -> None:
    rows = in_order(lengths)
    start = data.draw(st.integers(0, len(lengths) - 1))
    stop = data.draw(st.integers(start + 1, len(lengths)))
    found = row_table.read(pa.BufferReader(row_table.write(rows)), start, stop)
    wanted = rows.take(np.arange(start, stop))
    assert list(found.ids) == list(wanted.ids)
    assert found.draws.tolist() == wanted.draws.tolist()
    assert found.input_ids.tolist() == wanted.input_ids.tolist()
    assert found.masks.tolist() == wanted.masks.tolist()


@pytest.mark.parametrize("cuts", [1, 2, 7])
def test_shards_are_ranges_of_the_order_of_a_bounded_size(cuts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathers, "TOKENS_PER_SHARD", 2_000)
    rng = np.random.default_rng(3)
    parts = [in_order(rng.integers(1, 700, 50).tolist()) for _ in range(3)]
    cost = [max(int(length), 256) for part in parts for length in part.lengths]
    order = np.argsort(np.concatenate([part.draws for part in parts]), kind="stable")
    begins = np.cumsum([0, *(cost[row] for row in order)])[:-1]
    wanted: dict[int, set[int]] = {}
    for row, begin in zip(order.tolist(), begins.tolist(), strict=True):
        wanted.setdefault(begin // 2_000, set()).add(row)
    found: dict[int, set[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        thin = [(number, Path(folder) / f"{number}.parquet") for number in range(3)]
        for (_, path), part in zip(thin, parts, strict=True):
            path.write_bytes(row_table.write_thin(part))
        for cut in range(cuts):
            for line in gathers.shards_of_rows(thin, cut, cuts, Path(folder)).to_pylist():
                rows = range(50 * line["part"] + line["start"], 50 * line["part"] + line["stop"])
                found.setdefault(line["shard"], set()).update(rows)
    assert found == wanted


def test_many_short_and_few_long_rows_fill_their_windows() -> None:
    """Lengths as conversations have them, drawn log-normal."""
    lengths = np.clip(np.random.default_rng(1).lognormal(5.2, 0.8, 20_000), 8, 1024).astype(int).tolist()
    bins = best_fit(lengths, 1024)
    assert sum(lengths) / (len(bins) * 1024) > 0.995
