"""Parts of a text that must come through a rewriting as they are: taken out before it, put back and checked after it.

A part is replaced by a mark such as `⟦3⟧`. Taken out are code (fenced and in backquotes), formulas, URLs and addresses,
the markup of chats (`<|im_end|>`, `[INST]`), tags, and placeholders (`{name}`, `{{ name }}`, `${x}`, `%s`, `<NAME>`,
`[NAME]`). Numbers and Markdown stay, since what a sentence does with them depends on the language, and are checked.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dataforge import made_texts

_KEPT = re.compile(
    r"⟦\d+⟧"
    r"|(?P<fence>```|~~~)[\s\S]*?(?:(?P=fence)|\Z)"
    r"|``[^`\n][^\n]*?``|`[^`\n]+`"
    r"|\$\$[\s\S]+?\$\$|\\\[[\s\S]+?\\\]|\\\([\s\S]+?\\\)"
    r"|(?<![\\$\w])\$(?=[^\s$])[^$\n]*?(?<=[^\s\\$])\$(?![\d$])"
    r"|\b(?:https?|ftp)://[^\s<>\"'，。；：！？、（）《》“”「」\u4e00-\u9fff]*[^\s<>\"'.,;:!?)\]}*_，。；：！？、（）《》“”「」\u4e00-\u9fff]"
    r"|\bwww\.[\w-]+(?:\.[\w-]+)+(?:/[\w./?=&%#~+-]*[\w/])?"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|<\|[^|\n]{1,40}\|>|\[/?INST\]|<</?SYS>>"
    r"|</?[A-Za-z][\w-]*(?:\s[^<>\n]*)?/?>"
    r"|\{\{[^{}\n]*\}\}|\{%[^\n]*?%\}|\$\{[^{}\n]*\}|\{\w*\}"
    r"|%(?:\(\w+\))?[sdifg]\b"
    r"|\[[A-Z][A-Z0-9_]+\]",
)
_MARK = re.compile(r"⟦(\d+)⟧")
_LINE = re.compile(r"(?m)^[ \t]*(#{1,6}(?=[ \t])|[-*+](?=[ \t])|\d{1,3}[.)](?=[ \t])|>|\|)")
_SMALL = (
    ("zero", "零"),
    ("one", "first", "once", "an", "a", "january", "一"),
    ("two", "second", "twice", "both", "pair", "couple", "february", "二", "两", "双"),
    ("three", "third", "march", "三"),
    ("four", "fourth", "april", "quarter", "四"),
    ("five", "fifth", "may", "五"),
    ("six", "sixth", "june", "六"),
    ("seven", "seventh", "july", "七"),
    ("eight", "eighth", "august", "八"),
    ("nine", "ninth", "september", "九"),
    ("ten", "tenth", "october", "十"),
    ("eleven", "eleventh", "november", "十一"),
    ("twelve", "twelfth", "dozen", "december", "十二"),
)
"""How numbers up to 12 are also written, and the months that they stand for."""


@dataclass(frozen=True)
class Masked:
    """A text without its parts that must stay."""

    text: str
    parts: Sequence[str]

    def part(self, text: str) -> "Masked":
        """A part of the text by itself, with marks that begin at 0."""
        held = list(dict.fromkeys(int(mark) for mark in _MARK.findall(text)))
        places = {number: place for place, number in enumerate(held)}
        renamed = _MARK.sub(lambda mark: f"⟦{places[int(mark[1])]}⟧", text)
        return Masked(renamed, [self.parts[number] for number in held])

    def put_back(self, text: str) -> str | None:
        """What became of the text, with the parts in it again; None unless it holds each mark once."""
        marks = Counter(int(mark) for mark in _MARK.findall(text))
        if marks != Counter(range(len(self.parts))):
            return None
        return _MARK.sub(lambda mark: self.parts[int(mark[1])], text)

    def marks(self, text: str) -> str:
        """Which marks a text lacks, or has too often."""
        marks = Counter(int(mark) for mark in _MARK.findall(text))
        wanted = Counter(range(len(self.parts)))
        lost, more = sorted((wanted - marks).elements()), sorted((marks - wanted).elements())
        said = [f"lost {self.parts[number]!r}" for number in lost]
        return "; ".join((*said, *(f"mark ⟦{number}⟧ too much" for number in more)))[:300]


def masked(text: str) -> Masked:
    """Take the parts out that must stay."""
    parts: list[str] = []

    def mark(found: re.Match[str]) -> str:
        parts.append(found.group())
        return f"⟦{len(parts) - 1}⟧"

    return Masked(_KEPT.sub(mark, text), parts)


def unmarked(text: str) -> str:
    """A masked text without its marks."""
    return _MARK.sub(" ", text)


def lost_numbers(before: str, after: str) -> list[str]:
    """Numbers that a text no longer holds, neither in digits nor, up to 12, in words or as months; sorted."""
    lost = made_texts.numbers(before) - made_texts.numbers(after)
    return sorted(number for number in lost if not _in_words(number, after.lower()))


def new_numbers(before: str, after: str) -> list[str]:
    """Numbers that a text holds and did not before, in digits or words; sorted."""
    return lost_numbers(after, before)


def markers(text: str) -> list[str]:
    """The signs of Markdown at the beginnings of lines, in order: headings, points, quotes, rows of tables."""
    return ["1." if sign[0].isdigit() else sign for sign in _LINE.findall(text)]


def _in_words(number: str, text: str) -> bool:
    if not number.isdecimal() or int(number) >= len(_SMALL):
        return False
    spelt = _SMALL[int(number)]
    return any(re.search(rf"\b{word}\b", text) if word.isascii() else word in text for word in spelt)
