from pathlib import Path

import pytest

from dataforge.errors import InputError
from dataforge.readers import read_rows
from dataforge.records import Reject, Row


def read(tmp_path: Path, content: bytes) -> list[Row | Reject]:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    return list(read_rows(path, "data"))


def test_lines_keep_their_number_and_blank_lines_count(tmp_path: Path) -> None:
    rows = read(tmp_path, b'{"a": 1}\n\n  {"a": 2}\r\n')
    assert [(row.origin.ordinal, row.origin.line) for row in rows] == [(0, 1), (1, 3)]


def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path: Path) -> None:
    (row,) = read(tmp_path, b'\xef\xbb\xbf{"a": 1}\n')
    assert isinstance(row, Row)
    assert row.columns == {"a": 1}


def test_a_line_broken_in_the_middle_is_a_reject_and_reading_goes_on(tmp_path: Path) -> None:
    first, broken, last = read(tmp_path, b'{"a": 1}\n{"a": "half\n{"a": 3}\n')
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(broken, Reject)
    assert (broken.reason, broken.origin.line) == ("broken_json", 2)
    assert "half" in broken.detail


def test_bytes_that_are_no_utf8_are_a_reject(tmp_path: Path) -> None:
    broken, _ = read(tmp_path, b'{"a": "\xff\xfe"}\n{"a": 1}\n')
    assert isinstance(broken, Reject)


def test_a_line_that_is_no_object_is_a_reject(tmp_path: Path) -> None:
    _, number = read(tmp_path, b'{"a": 1}\n7\n')
    assert isinstance(number, Reject)
    assert number.reason == "not_an_object"


def test_an_array_gives_each_record_the_line_it_starts_on(tmp_path: Path) -> None:
    rows = read(tmp_path, b'[\n  {"a": 1},\n  {\n    "a": 2\n  }, {"a": 3}\n]\n')
    assert [row.origin.line for row in rows] == [2, 3, 5]
    assert [row.columns["a"] for row in rows if isinstance(row, Row)] == [1, 2, 3]


@pytest.mark.parametrize("content", [b'[{"a": 1},\n {"a": 2', b'[{"a": 1}\n{"a": 2}]', b'[{"a": 1},\n'])
def test_an_array_that_breaks_off_names_the_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"data\.json:2: the JSON array breaks off in record"):
        read(tmp_path, content)


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xef\xbb\xbf"])
def test_a_file_without_records_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="holds no records"):
        read(tmp_path, content)


def test_equal_rows_share_an_id_and_sources_do_not(tmp_path: Path) -> None:
    one, same = read(tmp_path, b'{"a": 1, "b": 2}\n{"b": 2, "a": 1}\n')
    assert one.id == same.id
    (other,) = (read_rows(tmp_path / "data.json", "elsewhere"),)
    assert next(iter(other)).id != one.id
