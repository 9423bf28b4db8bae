"""`forge init` on files as people have them: the recipe that it writes builds what it was written for."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml

from dataforge import config, init_recipe, recipe
from dataforge.build import build
from dataforge.errors import InputError
from dataforge.shards import Manifest

CORPORA = Path(__file__).parents[2] / "samples" / "corpora"
Made = tuple[recipe.SourceSpec, Manifest, str]


def made(place: Path, folder: Path) -> Made:
    """The one source of the recipe that is written for a file, what it builds, and the recipe's text."""
    out = folder / "written.yaml"
    found = init_recipe.write(str(place), out)
    document = config.load(out, ())
    (source,) = recipe.read(document).sources
    return source, build(document, folder / "built", lambda text: None).manifest, found.recipe


def questions(count: int) -> list[dict[str, str]]:
    return [
        {
            "编号": str(n),
            "客户问题": f"订单{n}什么时候发货？\n已经等了{n % 5}天。",
            "客服回复": f"预计{n % 3 + 1}天内发出，请稍候。",
        }
        for n in range(count)
    ]


def as_csv(rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize(
    ("sample", "use", "steps"),
    [
        ("self_cognition.jsonl", "alpaca", []),
        ("tools.jsonl", "openai", []),
        ("squad.json", "squad", ["instruct"]),
        ("nli.jsonl", "nli", ["instruct"]),
        ("ner.conll", "conll", ["instruct"]),
        ("gsm8k.jsonl", "cot", ["instruct"]),
    ],
)
def test_a_shape_that_has_a_source_is_told(sample: str, use: str, steps: list[str], tmp_path: Path) -> None:
    rows = (CORPORA / sample).read_text(encoding="utf-8")
    place = tmp_path / sample
    place.write_text(rows, encoding="utf-8")
    found = init_recipe.look(str(place), tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text(found.recipe, encoding="utf-8")
    read = recipe.read(config.load(tmp_path / "r.yaml", ()))
    assert [spec.entry.use for spec in read.sources] == [use]
    assert [spec.use for spec in read.steps] == steps


CHAT = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}
PAIR = {name: f"\n\nHuman: Hi\n\nAssistant: {said}" for name, said in (("chosen", "Hello!"), ("rejected", "What?"))}
LIST = {"instruction": "Name a river.", "responses": ["The Rhine.", "Rhine"], "scores": [0.9, 0.4]}


LABEL = {"prompt": "Name a river.", "completion": "The Rhine.", "label": True}
PROMPT = {"question_id": 81, "category": "writing", "turns": ["Write a poem.", "Make it shorter."]}


@pytest.mark.parametrize(
    ("row", "use", "steps", "kind"),
    [
        (CHAT, "sharegpt", [], "chat"),
        (PAIR, "hh_rlhf", [], "pairs"),
        (LIST, "ranked_list", ["pairs"], "pairs"),
        (LABEL, "prompt_completion", ["best"], "chat"),
        (PROMPT, "mt_bench", [], "prompts"),
    ],
)
def test_what_needs_a_step_or_a_kind_gets_it(
    row: dict[str, Any], use: str, steps: list[str], kind: str, tmp_path: Path
) -> None:
    (tmp_path / "x.jsonl").write_text("\n".join([json.dumps(row)] * 5))
    source, manifest, _ = made(tmp_path / "x.jsonl", tmp_path)
    assert source.entry.use == use
    assert [step["use"] for step in manifest.recipe.get("steps", [])] == steps
    assert manifest.kind == kind
    assert manifest.funnel[-1].passed == 5


def test_customer_questions_in_gb18030(tmp_path: Path) -> None:
    (tmp_path / "客户问题.csv").write_bytes(as_csv(questions(60)).encode("gb18030"))
    source, manifest, text = made(tmp_path / "客户问题.csv", tmp_path)
    assert (source.entry.use, source.entry.encoding, source.entry.format) == ("columns", "gb18030", "csv")
    assert 'question: "{{ 客户问题 }}"' in text
    assert 'answer: "{{ 客服回复 }}"' in text
    assert manifest.funnel[-1].passed == 60


def test_a_workbook_with_merged_headers(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet: Any = book.active
    sheet.append(["产品知识库", None, None])
    sheet.merge_cells("A1:C1")
    sheet.append(["型号", "问题", "答案"])
    for number in range(30):
        sheet.append([f"X{number}", f"X{number}的电池多大？", f"{3000 + number}毫安时。"])
    book.save(tmp_path / "faq.xlsx")
    source, manifest, text = made(tmp_path / "faq.xlsx", tmp_path)
    assert source.entry.format == {"use": "excel", "header_rows": 2}
    assert "产品知识库 问题" in text
    assert manifest.funnel[-1].passed == 30


def test_a_nested_export_of_chats(tmp_path: Path) -> None:
    rooms = [
        {
            "room": number,
            "messages": [
                {"author": {"kind": kind}, "body": {"text": f"{kind} says {number}-{turn}"}, "at": 17 + turn}
                for turn in range(2)
                for kind in ("customer", "agent")
            ],
        }
        for number in range(25)
    ]
    (tmp_path / "export.json").write_text(json.dumps({"version": 2, "rooms": rooms}))
    source, manifest, text = made(tmp_path / "export.json", tmp_path)
    assert source.entry.format == {"use": "json", "records_at": "rooms"}
    assert "# Not sure: the messages in 'messages' are taken to alternate" in text
    assert manifest.funnel[-1].passed == 25
    assert manifest.turns.certified == 50


def test_labels_in_a_table_without_a_header(tmp_path: Path) -> None:
    lines = [
        f'"{n % 3 + 1}","The growers of valley {n} met on a long and rainy day to talk about tea."' for n in range(60)
    ]
    (tmp_path / "topics.csv").write_text("\n".join(lines))
    source, manifest, text = made(tmp_path / "topics.csv", tmp_path)
    assert source.entry.format == {"use": "csv", "header": False}
    assert source.entry.use == "classification"
    assert "the labels are numbers: write what they are called" in text
    assert manifest.funnel[-1].passed == 60


LABELLED: list[tuple[dict[str, list[str]], dict[str, Any], str]] = [
    (
        {"正文": ["这家店的面很好吃，下次还来。", "等了一个小时，菜还是凉的。"], "标签": ["好评", "差评"]},
        {"use": "classification", "task": "sentiment", "labels": {"好评": "positive", "差评": "negative"}},
        "",
    ),
    (
        {"review": ["The soup was warm and rich.", "We waited for an hour."], "label": ["1", "0"]},
        {"use": "classification", "task": "sentiment", "labels": {"0": "negative", "1": "positive"}},
        "0 negative, 1 positive",
    ),
    (
        {"text": ["The team won.", "Prices rise again.", "A new star is found."], "kind": ["sport", "trade", "sky"]},
        {"use": "classification", "task": "topic", "labels": None},
        "that they are topics is not told",
    ),
    (
        {
            "前提": ["孩子们在河边放风筝。", "店里只卖茶，不卖咖啡。", "老人坐在树下。"],
            "假设": ["有人在户外。", "这家店卖咖啡。", "老人在下棋。"],
            "关系": ["蕴含", "矛盾", "中立"],
        },
        {"use": "nli", "labels": {"蕴含": "entailment", "矛盾": "contradiction", "中立": "neutral"}},
        "",
    ),
    (
        {
            "text_a": ["Children fly kites by the river.", "The shop sells only tea.", "An old man sits there."],
            "text_b": ["People are outside.", "It sells coffee.", "He plays chess."],
            "gold": ["0", "2", "1"],
        },
        {"use": "nli", "labels": {"0": "entailment", "1": "neutral", "2": "contradiction"}},
        "how SNLI and XNLI count",
    ),
]


@pytest.mark.parametrize(("columns", "expected", "doubt"), LABELLED)
def test_what_is_labelled_is_told_apart(
    columns: dict[str, list[str]], expected: dict[str, Any], doubt: str, tmp_path: Path
) -> None:
    """Labels of feelings, of inference and of topics, by their words and by the names of columns."""
    rows = [{"no": str(n), **{name: values[n % len(values)] for name, values in columns.items()}} for n in range(24)]
    text = next(iter(columns))
    rows = [{**row, text: f"{row[text]} {n}"} for n, row in enumerate(rows)]
    (tmp_path / "table.csv").write_text(as_csv(rows), encoding="utf-8")
    _, manifest, written = made(tmp_path / "table.csv", tmp_path)
    (said,) = yaml.safe_load(written)["sources"]
    assert {key: said.get(key) for key in expected} == expected
    assert manifest.funnel[-1].passed == 24
    doubts = [line for line in written.splitlines() if "# Not sure" in line]
    assert any(doubt in line for line in doubts) if doubt else not doubts


def test_what_fits_equally_stands_beside_it(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{n}", "input": "", "output": f"a{n}"} for n in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = init_recipe.look(str(tmp_path / "a.jsonl"), tmp_path / "r.yaml")
    assert "  - use: alpaca\n" in found.recipe
    assert "  # - use: belle\n" in found.recipe
    assert any("could also be `use: belle`" in text for text in found.said)


@pytest.mark.parametrize(
    ("content", "told"),
    [("[1, 2, 3]", "none of its first 3 records can be read"), ('[{"a": 1}, {"a": 2}]', "no columns ask and answer")],
)
def test_what_nothing_can_be_made_of_is_one_line(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=told) as error:
        init_recipe.look(str(tmp_path / "x.json"), tmp_path / "r.yaml")
    assert "\n" not in str(error.value)


def test_a_recipe_that_stands_is_not_written_over(tmp_path: Path, forge: Callable[..., Any]) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction": "q", "output": "a"}\n')
    assert forge("init", "a.jsonl").returncode == 0
    again = forge("init", "a.jsonl")
    assert again.returncode == 2
    assert again.stderr == "error: recipe.yaml: is there already; name another file with --out\n"
