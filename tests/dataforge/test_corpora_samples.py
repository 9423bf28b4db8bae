"""The sample of every corpus shape is read without loss, but for what it holds to show that it is refused."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataforge import components
from dataforge.records import Example, Reject
from tests.rows import row

CORPORA = Path(__file__).parent.parent.parent / "samples" / "corpora"
CASES: list[tuple[str, str, dict[str, Any], dict[str, int]]] = [
    ("squad.json", "squad", {}, {"extractive_qa": 6}),
    ("cmrc.json", "cmrc", {}, {"extractive_qa": 4}),
    ("webqa.jsonl", "webqa", {}, {"Chat": 3}),
    ("webqa_passages.jsonl", "webqa", {}, {"extractive_qa": 3}),
    ("webqa_by_id.json", "webqa", {}, {"extractive_qa": 3}),
    ("pclue.jsonl", "pclue", {}, {"Chat": 4}),
    ("ner.conll", "conll", {"separator": "tab"}, {"ner": 4}),
    ("words.conllu", "conllu", {}, {"tagging": 3}),
    (
        "topics.csv",
        "classification",
        {
            "task": "topic",
            "text": ["title", "description"],
            "labels": {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"},
            "backslashes": "line_breaks",
        },
        {"topic": 4},
    ),
    (
        "sentiment.jsonl",
        "classification",
        {"task": "sentiment", "text": "sentence", "labels": {"Positive": "positive", "Negative": "negative"}},
        {"sentiment": 4},
    ),
    ("nli.jsonl", "nli", {}, {"nli": 3, "no_gold_label": 1}),
    ("paraphrase.jsonl", "paraphrase", {"labels": ["different", "same"]}, {"paraphrase": 4}),
    (
        "choices.csv",
        "choices",
        {"choices": ["A", "B", "C", "D"], "explanation": "explanation", "answer_is": "letter"},
        {"choice_qa": 3},
    ),
    ("choices.jsonl", "choices", {}, {"choice_qa": 3}),
    ("summaries.jsonl", "summaries", {}, {"summary": 3}),
    ("translation.tsv", "translation", {"languages": ["en", "zh"]}, {"translation": 3}),
    ("gsm8k.jsonl", "cot", {}, {"reasoning": 3}),
    ("reasoning.tsv", "cot", {}, {"reasoning": 3}),
    ("csl.jsonl", "csl", {}, {"keywords": 2, "false_keywords": 1}),
    ("flan.jsonl", "flan", {}, {"Chat": 3}),
    ("p3.jsonl", "p3", {}, {"Chat": 2, "wrong_choice": 1}),
    ("documents.jsonl", "documents", {}, {"Text": 3}),
    ("articles.csv", "columns", {"question": "{{ 标题 }}\n{{ 正文 }}", "answer": "{{ 摘要 }}"}, {"Chat": 3}),
    ("dialogues.jsonl", "columns", {"task": "dialogue", "fields": {"turns": "{{ said }}"}}, {"dialogue": 3}),
]
HEADERS = {
    "topics.csv": ["label", "title", "description"],
    "translation.tsv": ["en", "zh"],
    "reasoning.tsv": ["question", "answer", "rationale"],
}


def rows(name: str) -> Iterator[dict[str, Any]]:
    """The rows of a sample, read by nothing that the program reads by."""
    text = (CORPORA / name).read_text(encoding="utf-8")
    if name.endswith((".conll", ".conllu")):
        yield from ({"text": block} for block in re.split(r"\n(?:[ \t]*\n)+", text) if block.strip())
    elif name.endswith(".json"):
        found = orjson.loads(text)
        yield from found.get("data", found.values()) if isinstance(found, dict) else found
    elif name.endswith(".jsonl"):
        yield from (orjson.loads(line) for line in text.splitlines())
    else:
        tabs = name.endswith(".tsv")
        cells = list(csv.reader(text.splitlines(), "excel-tab" if tabs else "excel"))
        header = HEADERS.get(name) or cells.pop(0)
        yield from (dict(zip(header, line, strict=True)) for line in cells)


@pytest.mark.parametrize(("name", "use", "settings", "expected"), CASES, ids=[name for name, *_ in CASES])
def test_a_sample_is_read_whole(name: str, use: str, settings: dict[str, Any], expected: dict[str, int]) -> None:
    module = components.source(use)
    found = Counter[str]()
    for columns in rows(name):
        made = module.convert(row(columns), module.Settings(**settings))
        for record in made if isinstance(made, list) else [made]:
            if isinstance(record, Reject):
                found[record.reason] += 1
            else:
                found[record.task if isinstance(record, Example) else type(record).__name__] += 1
    assert found == expected
