"""Every format, against files that other libraries write."""

import bz2
import csv
import datetime
import decimal
import gzip
import hashlib
import io
import json
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dataforge import components, unpack
from dataforge.content import BrokenOffError, Fault
from dataforge.errors import InputError
from dataforge.json_stream import Stream
from dataforge.places import File
from dataforge.source_entry import Reading
from tests.dataforge.unpacked import columns, everything, faults

RECORDS = [
    {"question": f'Why, "{number}",\nand how?', "answer": f"Because;\tof {number}: 小石头，été 😀"}
    for number in range(30)
]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def frame_bytes(suffix: str) -> bytes:
    frame, target = pd.DataFrame(RECORDS), io.BytesIO()
    match suffix:
        case ".csv" | ".tsv":
            return frame.to_csv(index=False, sep="," if suffix == ".csv" else "\t").encode()
        case ".parquet":
            frame.to_parquet(target)
        case ".feather":
            frame.to_feather(target)
        case ".xlsx":
            frame.to_excel(target, index=False)
        case ".jsonl":
            return frame.to_json(orient="records", lines=True).encode()
        case ".json":
            return frame.to_json(orient="records").encode()
        case ".xml":
            rows = ("".join(f" {key}={_attribute(value)}" for key, value in each.items()) for each in RECORDS)
            return f"<rows>{''.join(f'<row{row} />' for row in rows)}</rows>".encode()
    return target.getvalue()


def _attribute(value: str) -> str:
    return quoteattr(value, {"\n": "&#10;", "\t": "&#9;"})


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".feather", ".xlsx", ".jsonl", ".json", ".xml"])
def test_the_same_records_come_of_every_format_however_it_is_compressed(
    tmp_path: Path, suffix: str, compression: str
) -> None:
    path = tmp_path / f"data{suffix}{compression}"
    path.write_bytes(COMPRESS[compression](frame_bytes(suffix)))
    assert columns(path) == RECORDS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_the_same_records_come_of_every_encoding(tmp_path: Path, suffix: str, encoding: str) -> None:
    path = tmp_path / f"data{suffix}"
    text = json.dumps(RECORDS, ensure_ascii=False) if suffix == ".json" else frame_bytes(suffix).decode()
    text = LINES if suffix == ".jsonl" else text
    path.write_bytes(text.encode(encoding))
    assert columns(path) == RECORDS
    _, notes = everything(path, tmp_path / "scratch")
    named = encoding.removesuffix("-sig")
    assert notes == ([] if named == "utf-8" else [f"data{suffix} is read as {named}"])


def test_a_recipe_says_an_encoding_that_bytes_do_not_tell(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes('{"a": "Привет, мир, как дела"}\n'.encode("cp1251"))
    with pytest.raises(InputError, match=r"data\.jsonl: its encoding cannot be told .*say `encoding:`"):
        columns(path)
    assert columns(path, encoding="cp1251") == [{"a": "Привет, мир, как дела"}]


def test_bytes_that_mean_nothing_in_the_encoding_refuse_their_record_alone(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_bytes("小石头\n".encode("gb18030") * 20 + b"a\xff\xffb\n" + "石头\n".encode("gb18030"))
    found, _ = everything(path, tmp_path / "scratch", encoding="gb18030")
    parts = [line for _, content in unpack.parts(found, []) for line in content.splitlines()]
    assert [line for line in parts if b"bad_encoding" in line] == [parts[20]]
    assert json.loads(parts[21]) == [22, {"text": "石头"}]


def test_an_array_a_list_under_a_key_and_lines_hold_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    for indent in (None, 2):
        whole = {"version": {"of": [1]}, "data": RECORDS, "end": "}]"}
        one.write_text(json.dumps(whole, indent=indent, ensure_ascii=False), encoding="utf-8")
        assert columns(one, records_at="data") == RECORDS
        assert columns(one, format="json", settings={"records_at": "data"}) == RECORDS
    other.write_text(LINES, encoding="utf-8")
    assert columns(other, records_at="data") == RECORDS, "a file of lines whose objects have no such list"


def test_records_under_a_key_have_the_lines_they_start_on(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('{"version": 1,\n "data": [\n  {"a": 1},\n\n  {"a":\n 2}]}\n', encoding="utf-8")
    found, _ = everything(path, tmp_path / "scratch", records_at="data")
    assert found == [("", 3, {"a": 1}), ("", 5, {"a": 2})]


@pytest.mark.parametrize("indent", [None, 2])
def test_every_value_of_an_object_is_a_record_that_keeps_its_key(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "data.json"
    whole = {"Q_1": {"a": 1}, "Q_2": {"a": "}", "key": "own"}, "Q_3": 7}
    path.write_text(json.dumps(whole, indent=indent), encoding="utf-8")
    expected = [{"key": "Q_1", "a": 1}, {"key": "own", "a": "}"}, 7]
    found, _ = everything(path, tmp_path / "scratch", records_at="*")
    assert [value for _, _, value in found] == expected
    assert [line for _, line, _ in found] == ([2, 5, 9] if indent else [1, 1, 1])
    stated, _ = everything(path, tmp_path / "other", format="json", settings={"records_at": "*"})
    assert stated == found


def test_objects_of_records_one_a_line_are_read_through_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"Q_1": {"a": 1}}\n\n{"Q_2": {"a": 2}, "Q_3": {"a": 3}}\n', encoding="utf-8")
    found, notes = everything(path, tmp_path / "scratch", records_at="*")
    assert [(line, value["key"]) for _, line, value in found] == [(1, "Q_1"), (3, "Q_2"), (3, "Q_3")]
    assert not notes


@pytest.mark.parametrize("first", [{"q": "x", "e": {"a": 1}}, {"e": {"a": 1}, "q": "x"}, {}])
def test_lines_whose_values_are_no_records_are_read_as_lines(tmp_path: Path, first: dict[str, object]) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f'{json.dumps(first)}\n{{"q": "y"}}\n', encoding="utf-8")
    assert columns(path, records_at="*") == [first, {"q": "y"}]


def test_an_object_of_records_that_breaks_off_gives_what_stands_before(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text('{"Q_1": {"a": 1},\n"Q_2": {"a": 2},\n"Q_3": {"a"', encoding="utf-8")
    found, notes = everything(path, tmp_path / "scratch", records_at="*")
    assert [value for _, _, value in found[:2]] == [{"key": "Q_1", "a": 1}, {"key": "Q_2", "a": 2}]
    assert isinstance(found[-1][2], Fault)
    assert len(notes) == 1


@pytest.mark.parametrize("ending", ["", ",", "]", ', "x": 1', '{"a": 2', '{"a": "'])
def test_json_that_breaks_off_gives_what_stands_before_and_says_so(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "data.json"
    path.write_text('{"data": [{"a": 1},\n{"a": 2}\n' + ending, encoding="utf-8")
    found, notes = everything(path, tmp_path / "scratch", records_at="data")
    assert [value for _, _, value in found[:2]] == [{"a": 1}, {"a": 2}]
    assert isinstance(found[-1][2], Fault)
    assert found[-1][2].reason == "breaks_off"
    assert len(notes) == 1


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=8), st.integers(1, 7), st.sampled_from([None, 1]))
def test_json_in_pieces_is_what_it_is_as_a_whole(values: list[Any], size: int, indent: int | None) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    assert [value for _, value in Stream(pieces).items()] == json.loads(text)


def test_a_fault_early_in_a_large_file_is_found_without_reading_on() -> None:
    read = 0

    def pieces() -> Iterator[str]:
        nonlocal read
        yield '[{"a": 1}, {"a": oops}, '
        while read < 1000:
            read += 1
            yield '{"a": 1}, ' * 100

    with pytest.raises(BrokenOffError, match="line 1"):
        list(Stream(pieces()).items())
    assert read < 5


FIELDS = st.text(st.sampled_from('a,;"\n\r\t 猫'), max_size=6)


@given(st.lists(st.tuples(FIELDS, FIELDS, st.just("x")), min_size=1, max_size=20))
def test_rows_are_read_as_pythons_own_writer_wrote_them(tmp_path_factory: Any, rows: list[tuple[str, ...]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("a", "b", "c"), *rows])
    found = columns(path, format="csv", settings={"delimiter": ","}, encoding="utf-8")
    assert [tuple(row.values()) for row in found] == rows


def test_a_row_that_does_not_fit_is_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('a,b\n1,2\n1\n"open,3\n4,5\n"x"y,6\n7,8\n', encoding="utf-8")
    assert faults(path) == [(3, "bad_row"), (4, "bad_quotes"), (6, "bad_quotes")]
    found, _ = everything(path, tmp_path / "scratch")
    good = [(line, value["a"]) for _, line, value in found if isinstance(value, dict)]
    assert good == [(2, "1"), (5, "4"), (7, "7")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_rows(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "data.csv"
    for records in (RECORDS, [{"a": f"{number}, {number}", "b": "x"} for number in range(50)]):
        path.write_text(pd.DataFrame(records).to_csv(index=False, sep=delimiter), encoding="utf-8")
        assert columns(path) == records


def test_columns_are_named_by_the_recipe_where_no_row_does(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text('Why?\tBecause "so"\n"Quoted" or not\tYes\n', encoding="utf-8")
    settings = {"header": False, "columns": ["question", "answer"]}
    first, second = columns(path, format="tsv", settings=settings)
    assert first == {"question": "Why?", "answer": 'Because "so"'}
    assert second == {"question": '"Quoted" or not', "answer": "Yes"}
    assert columns(path, format="tsv", settings={"header": False})[0] == {"1": "Why?", "2": 'Because "so"'}


def test_text_is_a_record_a_line_a_block_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_bytes(b"EU\tB-ORG\r\nsays\tO\r\n\t\r\n\r\nBonn\tB-LOC\t\n")
    assert [row["text"] for row in columns(path)] == ["EU\tB-ORG", "says\tO", "Bonn\tB-LOC"]
    found, _ = everything(path, tmp_path / "scratch", format="blocks")
    assert found == [("", 1, {"text": "EU\tB-ORG\nsays\tO"}), ("", 5, {"text": "Bonn\tB-LOC\t"})]
    assert columns(path, format="text") == [{"text": "EU\tB-ORG\nsays\tO\n\t\n\nBonn\tB-LOC"}]


def test_the_name_gives_way_to_the_recipe_and_a_weak_name_to_the_shape(tmp_path: Path) -> None:
    weak, strong = tmp_path / "data.txt", tmp_path / "data.jsonl"
    weak.write_text("a\nb\n\nc\n", encoding="utf-8")
    strong.write_text('{"a": 1}\n', encoding="utf-8")
    assert len(columns(weak, format="blocks")) == 2
    assert columns(strong, format="blocks") == [{"a": 1}]
    assert columns(strong, format="blocks", stated=True) == [{"text": '{"a": 1}'}]


def test_values_that_json_lacks_become_json(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    moment = datetime.datetime(2024, 5, 1, 12, 30, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "moment": pa.array([moment, None], pa.timestamp("us", "UTC")),
            "day": pa.array([datetime.date(2024, 5, 1), None], pa.date32()),
            "price": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(10, 2)),
            "bytes": pa.array([b"\xff\x00", "été".encode()], pa.binary()),
            "number": pa.array([float("nan"), 1.5], pa.float64()),
            "large": pa.array([2**64 - 1, 1], pa.uint64()),
            "list": pa.array([[{"a": 1}], []], pa.list_(pa.struct([("a", pa.int32())]))),
        }
    )
    pq.write_table(table, path)
    found, _ = everything(path, tmp_path / "scratch")
    lines = [json.loads(line)[1] for _, content in unpack.parts(found, []) for line in content.splitlines()]
    assert lines[0] == {
        "moment": "2024-05-01T12:30:00+00:00",
        "day": "2024-05-01",
        "price": "1.10",
        "bytes": "/wA=",
        "number": None,
        "large": 2**64 - 1,
        "list": [{"a": 1}],
    }
    assert lines[1]["bytes"] == "été"


def test_a_workbook_names_merged_columns_and_reads_all_sheets(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    first = book.active
    first.title = "scores"
    for row in (["name", "score", None], [None, "then", "now"], ["Pebble", 1, 2.5], [None], ["Stone", None, 3]):
        first.append(row)
    first.merge_cells("B1:C1")
    book.create_sheet("more").append(["name"])
    book["more"].append(["Rock"])
    path = tmp_path / "data.xlsx"
    book.save(path)
    rows = columns(path, format="excel", settings={"sheet": "scores", "header_rows": 2})
    assert rows[0] == {"name": "Pebble", "score then": 1, "score now": 2.5}
    assert rows[1] == {"name": "Stone", "score then": None, "score now": 3}
    assert columns(path)[0] == {"name": None, "score": "then", "score 2": "now"}
    assert columns(path)[-1] == {"name": "Rock"}
    with pytest.raises(InputError, match="has no sheet 'other'; there are scores, more"):
        columns(path, format="excel", settings={"sheet": "other"})


def test_xml_breaks_off_behind_the_records_that_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    text = '<?xml version="1.0"?>\n<posts>\n<row Id="1" Body="&lt;p&gt;" />\n<row Id="2"><Tag>a</Tag>'
    path.write_text(text, encoding="utf-8-sig")
    found, notes = everything(path, tmp_path / "scratch")
    assert found[0] == ("", 3, {"Id": "1", "Body": "<p>"})
    assert isinstance(found[1][2], Fault)
    assert "no XML any more" in notes[0]
    path.write_text('<posts><row Id="2"><Tag>a &amp; b</Tag></row></posts>', encoding="utf-8")
    assert columns(path) == [{"Id": "2", "Tag": "a & b"}]


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_a_compressed_file_that_breaks_off_gives_what_can_be_read(
    tmp_path: Path, suffix: str, compression: str
) -> None:
    records = [{"a": hashlib.sha256(str(number).encode()).hexdigest(), "b": "x"} for number in range(30_000)]
    text = {
        ".jsonl": "".join(json.dumps(record) + "\n" for record in records),
        ".json": json.dumps(records),
        ".csv": pd.DataFrame(records).to_csv(index=False),
    }[suffix].encode()
    path = tmp_path / f"data{suffix}{compression}"
    packed = COMPRESS[compression](text)
    path.write_bytes(packed[: len(packed) * 9 // 10])
    found, notes = everything(path, tmp_path / "scratch")
    good = [value for _, _, value in found[:-1]]
    assert good == records[: len(good)]
    assert len(good) > 10_000
    assert isinstance(found[-1][2], Fault)
    assert "breaks off" in notes[0]


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".xlsx", ".jsonl.gz", ".zip", ".tar.gz"])
def test_a_file_that_is_not_what_its_name_says_ends_in_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_bytes(b"\x1f\x8b" + b"nothing of the kind" * 10)
    with pytest.raises(InputError, match=str(path)) as caught:
        columns(path)
    assert "\n" not in str(caught.value)


def archive(path: Path, members: dict[str, bytes]) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in members.items():
                packed.writestr(name, content)
        return
    with tarfile.open(path, f"w:{path.suffix[1:].replace('tgz', 'gz')}") as packed_:
        for name, content in members.items():
            told = tarfile.TarInfo(f"./{name}")
            told.size = len(content)
            packed_.addfile(told, io.BytesIO(content))


@pytest.mark.parametrize("name", ["data.zip", "data.tar.gz", "data.tgz", "data.tar.xz"])
def test_the_files_of_an_archive_are_files_of_their_own(tmp_path: Path, name: str) -> None:
    members = {
        "z/b.jsonl": LINES.encode(),
        "a.csv.gz": gzip.compress(frame_bytes(".csv")),
        ".hidden.json": b"{}",
        "__MACOSX/a.json": b"{}",
        "README.md": b"Read me.",
        "picture.png": b"\x89PNG",
    }
    archive(tmp_path / name, members)
    found, _ = everything(tmp_path / name, tmp_path / "scratch")
    by_file = {file: [value for of, _, value in found if of == file] for file, _, _ in found}
    assert by_file == {"z/b.jsonl": RECORDS, "a.csv.gz": RECORDS}


def test_parts_are_bounded_and_the_same_however_records_come(tmp_path: Path) -> None:
    records = [("", number, {"a": "x" * 9000}) for number in range(1, 5001)]
    facts: list[dict[str, Any]] = []
    parts = list(unpack.parts(iter(records), facts))
    assert all(len(content) < 2**23 + 10_000 for _, content in parts)
    assert [fact["ordinal"] for fact in facts] == [fact["line"] - 1 for fact in facts]
    assert sum(fact["records"] for fact in facts) == 5000


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".xml"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    def peak(count: int) -> int:
        record = {"a": "x" * 500, "b": "y"}
        one = json.dumps(record)
        path = tmp_path / f"{count}{suffix}.zst"
        with zstandard.open(path, "wb") as file:
            before, item, after = {
                ".jsonl": (b"", f"{one}\n".encode(), b""),
                ".json": (b"[" + one.encode(), f",\n{one}".encode(), b"]"),
                ".csv": (b"a,b\n", f"{record['a']},y\n".encode(), b""),
                ".xml": (b"<rows>", f'<row a="{record["a"]}" b="y" />\n'.encode(), b"</rows>"),
            }[suffix]
            file.write(before)
            for _ in range(count):
                file.write(item)
            file.write(after)
        tracemalloc.start()
        found = unpack.records(File(path.name, str(path)), path, Reading(), tmp_path, unpack.Notes())
        total = sum(len(content) for _, content in unpack.parts(found, []))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total > 500 * count
        return highest

    small, large = peak(6_000), peak(60_000)
    assert large < small + 2**22, (small, large)


def test_a_zstandard_file_may_look_back_two_gibibytes(tmp_path: Path) -> None:
    path = tmp_path / "RC_2023-01.jsonl.zst"
    parameters = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path.write_bytes(packer.compress(LINES.encode()) + packer.flush())
    assert zstandard.get_frame_parameters(path.read_bytes()).window_size == 2**31
    assert columns(path) == RECORDS


def test_no_two_formats_claim_the_same_ending() -> None:
    claimed = [suffix for name in components.names("formats") for suffix in components.format_(name).SUFFIXES]
    assert len(claimed) == len(set(claimed))
