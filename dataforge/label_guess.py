"""What a column of labels labels: feelings, whether one text follows from another, or topics. Told by the words of the
labels and the names of the columns, for `forge init` to write with what is not sure about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FEELINGS = {
    "positive": ("positive", "pos", "good", "正面", "正向", "积极", "好评", "正"),
    "negative": ("negative", "neg", "bad", "负面", "负向", "消极", "差评", "负"),
    "neutral": ("neutral", "中性", "中立", "中评"),
}
_FOLLOWS = {
    "entailment": ("entailment", "entails", "entailed", "entail", "蕴含", "蕴涵"),
    "neutral": ("neutral", "neutrality", "中立", "中性", "无关"),
    "contradiction": ("contradiction", "contradicts", "contradictory", "contradict", "矛盾"),
}
_FEELING_COLUMNS = ("sentiment", "polarity", "emotion", "feeling", "star", "rating", "情感", "情绪", "评分", "星级")
_REVIEW_COLUMNS = ("review", "comment", "评论", "评价", "影评", "点评", "书评")
_FEELING_NUMBERS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("0", "1"): ("negative", "positive"),
    ("-1", "1"): ("negative", "positive"),
    ("-1", "0", "1"): ("negative", "neutral", "positive"),
    ("0", "1", "2"): ("negative", "neutral", "positive"),
    ("0", "4"): ("negative", "positive"),
    ("1", "2", "3", "4", "5"): ("negative", "negative", "neutral", "positive", "positive"),
}
_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("前提", "假设"),
    ("句子1", "句子2"),
    ("文本1", "文本2"),
)
_UNDECIDED = {"-", "-1"}
"""What `use: nli` refuses by itself."""


@dataclass(frozen=True)
class Labelled:
    """What is labelled, as keys of a source, with what somebody should look at."""

    entry: dict[str, Any]
    doubts: list[str]
    words: bool
    """Whether the words of the labels say it."""


def told(label: str, values: Sequence[str], texts: Sequence[str]) -> Labelled:
    """What the values of the column `label` say of the columns `texts`, of which the first has the longest texts."""
    return _follows(label, values, texts) or _feelings(label, values, texts) or _topics(label, values, texts[0])


def _follows(label: str, values: Sequence[str], texts: Sequence[str]) -> Labelled | None:
    """Natural language inference: two texts, and labels that are its words, or three numbers under known names."""
    if len(texts) < 2:
        return None
    pair = next((found for names in _PAIRS if (found := _both(names, texts)) is not None), None)
    decided = [value for value in values if value not in _UNDECIDED]
    words = _words(decided, _FOLLOWS)
    doubts = []
    if words is None or set(words.values()) == {"neutral"}:
        if pair is None or sorted(decided) != ["0", "1", "2"]:
            return None
        words = dict(zip("012", _FOLLOWS, strict=True))
        doubts.append("that 0, 1, 2 are entailment, neutral and contradiction is how SNLI and XNLI count")
    if pair is None:
        pair = (texts[0], texts[1])
        doubts.append(f"that {pair[0]!r} is the premise and {pair[1]!r} the hypothesis is told by their length alone")
    entry: dict[str, Any] = {"use": "nli", "premise": pair[0], "hypothesis": pair[1], "label": label}
    return Labelled({**entry, **_named(words)}, doubts, not decided[0].isdigit())


def _feelings(label: str, values: Sequence[str], texts: Sequence[str]) -> Labelled | None:
    """Sentiment: labels that are its words, or numbers where a column is named for feelings or reviews."""
    entry = {"use": "classification", "task": "sentiment", "text": texts[0], "label": label}
    words = _words(values, _FEELINGS)
    if words is not None:
        return Labelled({**entry, **_named(words)}, [], words=True)
    why = _has(label, _FEELING_COLUMNS) or _has(texts[0], _REVIEW_COLUMNS)
    codes = tuple(sorted(values, key=_order))
    if not why or codes not in _FEELING_NUMBERS:
        return None
    numbers = dict(zip(codes, _FEELING_NUMBERS[codes], strict=True))
    said = ", ".join(f"{code} {feeling}" for code, feeling in numbers.items())
    doubts = [
        f"that {label!r} tells a sentiment is told by the word {why!r} in a column's name",
        f"the numbers: {said}",
    ]
    return Labelled({**entry, "labels": numbers}, doubts, words=False)


def _topics(label: str, values: Sequence[str], text: str) -> Labelled:
    entry: dict[str, Any] = {"use": "classification", "task": "topic", "text": text, "label": label}
    doubts = [
        f"that {label!r} is a label of {text!r} is told by its {len(values)} values; that they are topics is not told "
        "at all (task: topic or sentiment; `use: nli` where it is about two texts)"
    ]
    if all(value.lstrip("-").isdigit() for value in values):
        entry["labels"] = {value: f"label {value}" for value in sorted(values)}
        doubts.append("the labels are numbers: write what they are called")
    return Labelled(entry, doubts, words=False)


def _words(values: Sequence[str], known: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """What each value is called in the task's own words; None where one is not known."""
    called = {form: name for name, forms in known.items() for form in forms}
    found = {value: called.get(value.strip().lower()) for value in values}
    named = {value: name for value, name in found.items() if name is not None}
    return named if named and len(named) == len(found) else None


def _named(words: Mapping[str, str]) -> dict[str, Any]:
    """`labels`, where the file calls one otherwise."""
    return {} if all(value == name for value, name in words.items()) else {"labels": dict(sorted(words.items()))}


def _both(names: tuple[str, str], texts: Sequence[str]) -> tuple[str, str] | None:
    by_name = {text.strip().lower(): text for text in texts}
    first, second = (by_name.get(name) for name in names)
    return (first, second) if first is not None and second is not None else None


def _has(name: str, words: Sequence[str]) -> str:
    """The first of some words that stands in a name, or nothing."""
    return next((word for word in words if word in name.lower()), "")


def _order(value: str) -> tuple[int, str]:
    return (int(value), value) if value.lstrip("-").isdigit() else (0, value)
