"""What is written is read back, and no changed bit goes unseen."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge.errors import BuildError
from dataforge.shards import Shard, Window, sha256_of
from tests.build_files import write_chat_shard

DOCUMENT = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 1)), min_size=1, max_size=9)
WINDOWS = st.lists(st.lists(DOCUMENT, min_size=1, max_size=4), min_size=1, max_size=5)


def window_of(documents: list[list[tuple[int, int]]]) -> Window:
    tokens = [token for document in documents for token in document]
    return Window(
        input_ids=np.asarray([number for number, _ in tokens], dtype=np.int32),
        assistant_masks=np.asarray([mask for _, mask in tokens], dtype=np.int8),
        seq_lengths=np.asarray([len(document) for document in documents], dtype=np.int32),
        record_ids=tuple(f"记录{number}#1" for number in range(len(documents))),
    )


@given(WINDOWS)
@settings(deadline=None)
def test_a_shard_reads_back_as_it_was_written(drawn: list[list[list[tuple[int, int]]]]) -> None:
    windows = [window_of(documents) for documents in drawn]
    with tempfile.TemporaryDirectory() as name:
        entry = write_chat_shard(Path(name), "train-00000", "train", windows)
        shard = Shard(Path(name) / entry.file)
        assert len(shard) == entry.windows == len(windows)
        for written, read in zip(windows, shard, strict=True):
            assert written.input_ids.tolist() == read.input_ids.tolist()
            assert written.assistant_masks.tolist() == read.assistant_masks.tolist()
            assert written.seq_lengths.tolist() == read.seq_lengths.tolist()
            assert written.record_ids == read.record_ids


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_any_flipped_bit_changes_the_checksum(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        entry = write_chat_shard(Path(name), "train-00000", "train", [window_of([[(1, 1), (2, 0)]])])
        path = Path(name) / entry.file
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        assert sha256_of(path) != entry.sha256


def test_a_file_that_is_no_chat_shard_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    path = tmp_path / "x.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, pa.schema([("a", pa.int8())])) as writer:
        writer.write_batch(pa.record_batch({"a": pa.array([1], pa.int8())}))
    with pytest.raises(BuildError, match="not a chat shard"):
        Shard(path)
