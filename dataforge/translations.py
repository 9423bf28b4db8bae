"""What a translation is held against, the parts that long texts are translated in, and the names of languages."""

import itertools
import re
from collections.abc import Mapping, Sequence

from dataforge import languages, made_texts, masks
from dataforge.refusals import refusal
from dataforge.text import normalised, pieces

NAMES: Mapping[str, tuple[str, str]] = {
    "ar": ("Arabic", "阿拉伯语"),
    "bn": ("Bengali", "孟加拉语"),
    "cs": ("Czech", "捷克语"),
    "da": ("Danish", "丹麦语"),
    "de": ("German", "德语"),
    "el": ("Greek", "希腊语"),
    "en": ("English", "英语"),
    "es": ("Spanish", "西班牙语"),
    "fa": ("Persian", "波斯语"),
    "fi": ("Finnish", "芬兰语"),
    "fr": ("French", "法语"),
    "he": ("Hebrew", "希伯来语"),
    "hi": ("Hindi", "印地语"),
    "hu": ("Hungarian", "匈牙利语"),
    "id": ("Indonesian", "印度尼西亚语"),
    "it": ("Italian", "意大利语"),
    "ja": ("Japanese", "日语"),
    "ko": ("Korean", "韩语"),
    "ms": ("Malay", "马来语"),
    "nl": ("Dutch", "荷兰语"),
    "no": ("Norwegian", "挪威语"),
    "pl": ("Polish", "波兰语"),
    "pt": ("Portuguese", "葡萄牙语"),
    "ro": ("Romanian", "罗马尼亚语"),
    "ru": ("Russian", "俄语"),
    "sv": ("Swedish", "瑞典语"),
    "sw": ("Swahili", "斯瓦希里语"),
    "ta": ("Tamil", "泰米尔语"),
    "th": ("Thai", "泰语"),
    "tr": ("Turkish", "土耳其语"),
    "uk": ("Ukrainian", "乌克兰语"),
    "ur": ("Urdu", "乌尔都语"),
    "vi": ("Vietnamese", "越南语"),
    "zh": ("Chinese (simplified characters)", "简体中文"),
}
"""Codes as in BCP 47, with their names in English and Chinese."""

_ASIAN = frozenset(["zh", "ja"])
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\u3040-\u30ff]{4,}")
_LATIN = re.compile(r"[A-Za-z][A-Za-z'\u2019-]*(?:[ ,;:.]+[A-Za-z][A-Za-z'\u2019-]*){5,}")
_LETTERS = re.compile(r"[^\W\d_]")
_SENTENCE = re.compile(r"(?<=[。！？；])|(?<=[.!?;])[ \t]+(?=\S)")
_SURE = 20
_RATIO = 4.0


def name(code: str, language: str) -> str:
    """A language as it is called in Chinese (`zh`) or English; a code that is not known stands for itself."""
    found = NAMES.get(code.lower().split("-")[0])
    return code if found is None else found[1 if language == "zh" else 0]


def says_words(text: str) -> bool:
    """Whether there is anything to translate in a masked text."""
    return bool(_LETTERS.search(masks.unmarked(text)))


def parts(text: str, longest: int) -> list[str]:
    """A text in parts of so many characters at most, which are the text again when they are put together.

    It is cut between paragraphs, or else between lines, or else after sentences; a longer sentence stays whole.
    """
    found = [text]
    for cut in (re.compile(r"(?<=\n)(?=[^\n])(?<=\n\n)"), re.compile(r"(?<=\n)"), _SENTENCE):
        found = [piece for part in found for piece in _cut(part, longest, cut)]
    return found


def _cut(text: str, longest: int, cut: re.Pattern[str]) -> list[str]:
    if len(text) <= longest:
        return [text]
    places = [0, *(place.end() for place in cut.finditer(text)), len(text)]
    found = [""]
    for begin, end in itertools.pairwise(places):
        if found[-1] and len(found[-1]) + end - begin > longest:
            found.append("")
        found[-1] += text[begin:end]
    return [part for part in found if part]


def fault(before: str, after: str, masked: masks.Masked, to: str, terms: Mapping[str, str]) -> tuple[str, str] | None:
    """Why a translation of a masked text does not pass, as a reason and a sentence; None where it does.

    `terms` are those of the glossary that occur in the text, with how they are to be called.
    """
    old, new = masks.unmarked(before), masks.unmarked(after)
    begins = repr(after[:80])
    if not new.strip():
        return "empty", "the reply is empty"
    if refusal(after) and not refusal(before):
        return "refused", f"the reply is a refusal: {begins}"
    if masked.put_back(after) is None:
        return "marks", f"{masked.marks(after)}: {begins}"
    rest = untranslated(old, new, to)
    if rest:
        return "untranslated", rest
    lost = masks.lost_numbers(old, new)
    if lost:
        return "numbers", f"lost {', '.join(lost)}: {begins}"
    if masks.markers(old) != masks.markers(new):
        return "markdown", f"has other headings, points, quotes or tables than before: {begins}"
    for term, wanted in terms.items():
        if normalised(wanted) not in normalised(new):
            return "term", f"does not call {term!r} {wanted!r}: {begins}"
    count, was = len(pieces(new)), len(pieces(old))
    if was >= _SURE and not was / _RATIO <= count <= was * _RATIO:
        return "length", f"has {count} words or characters for {was}: {begins}"
    return None


def untranslated(old: str, new: str, to: str) -> str | None:
    """What of a translation is not in its language, in a sentence; None where all seems to be.

    For Chinese and Japanese six Latin words in a row, for others four Chinese characters in a row that stood in the
    original; beyond that the language of twenty words and more.
    """
    code = to.lower().split("-")[0]
    for rest in (_LATIN if code in _ASIAN else _HAN).findall(new):
        if rest in old:
            return f"holds {rest[:80]!r} as it was"
    count = len(pieces(new))
    if normalised(old) == normalised(new) and count > 3:
        return f"is what it was before: {new.strip()[:80]!r}"
    found = languages.language(new)
    known = code in NAMES and found is not None and (count >= _SURE or "zh" in (code, found))
    if known and count >= 4 and found != code:
        return f"is in {found!r} and not in {code!r}: {new.strip()[:80]!r}"
    return None


def occurring(text: str, terms: Mapping[str, str]) -> dict[str, str]:
    """The terms of a glossary that a text holds: whole words, in any case, where they begin and end with Latin ones."""
    return {term: wanted for term, wanted in terms.items() if _term(term).search(text)}


def _term(term: str) -> re.Pattern[str]:
    before = r"\b" if term[:1].isascii() and term[:1].isalnum() else ""
    after = r"\b" if term[-1:].isascii() and term[-1:].isalnum() else ""
    return re.compile(before + re.escape(term) + after, re.IGNORECASE)


def said_in(texts: Sequence[str]) -> str | None:
    """The language of some texts together, without their code and the like."""
    return languages.language("\n".join(masks.unmarked(masks.masked(text).text) for text in texts))


def words(text: str) -> int:
    """How many words a masked text has."""
    return made_texts.words(masks.unmarked(text))
