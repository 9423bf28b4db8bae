from pathlib import Path

import numpy as np
import pytest
import torch

from dataforge.errors import BuildError
from dataforge.shards import Build, Window
from trainkit.data import Windows, micro_batch, parts, trained_places

from .conftest import random_windows, write_build

CPU = torch.device("cpu")


def window(ids: list[int], masks: list[int], lengths: list[int]) -> Window:
    return Window(
        np.array(ids, np.int32),
        np.array(masks, np.int8),
        np.array(lengths, np.int32),
        tuple(f"r{index}#1" for index in range(len(lengths))),
    )


def test_positions_restart_and_places_move_with_their_window() -> None:
    first, second = window([5, 6, 7, 8, 9], [0, 1, 0, 0, 1], [2, 3]), window([10, 11], [0, 1], [2])
    batch = micro_batch([first, second], CPU)
    assert batch.input_ids_T.tolist() == [5, 6, 7, 8, 9, 10, 11]
    assert batch.position_ids_T.tolist() == [0, 1, 0, 1, 2, 0, 1]
    assert batch.cu_seqlens.tolist() == [0, 2, 5, 7]
    assert batch.trained_P.tolist() == [1, 4, 6]
    assert batch.record_ids == ("r0#1", "r1#1", "r0#1")


def test_the_first_token_of_a_document_is_never_predicted_from_the_one_before() -> None:
    assert trained_places(window([5, 6, 7, 8], [1, 1, 1, 1], [2, 2])).tolist() == [1, 3]


def test_the_sizes_of_a_split_are_counted(build: Build) -> None:
    windows = Windows(build, "train")
    expected = random_windows(12, 1, "t")
    assert windows.tokens_W.tolist() == [len(w.input_ids) for w in expected]
    assert windows.trained_W.tolist() == [len(trained_places(w)) for w in expected]
    assert windows.largest_id == max(int(w.input_ids.max()) for w in expected)
    assert [w.record_ids for w in windows] == [w.record_ids for w in expected]


def test_a_window_with_nothing_to_train_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    build = write_build(tmp_path / "build", tiny_base, [window([5, 6], [0, 0], [2])], [])
    with pytest.raises(BuildError, match=r"r0#1.*no trained token"):
        Windows(build, "train")


def test_a_window_is_cut_between_documents_only() -> None:
    whole = window(list(range(5, 15)), [0, 1, 0, 1, 1, 0, 1, 0, 0, 1], [2, 3, 1, 4])
    cut = parts(whole, 5)
    assert [part.input_ids.tolist() for part in cut] == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert [part.assistant_masks.tolist() for part in cut] == [[0, 1, 0, 1, 1], [0, 1, 0, 0, 1]]
    assert [part.seq_lengths.tolist() for part in cut] == [[2, 3], [1, 4]]
    assert [part.record_ids for part in cut] == [("r0#1", "r1#1"), ("r2#1", "r3#1")]
    assert [part.seq_lengths.tolist() for part in parts(whole, 1)] == [[2], [3], [1], [4]]
    assert [part.input_ids.tolist() for part in parts(whole, 100)] == [whole.input_ids.tolist()]
