"""What a translation is held against, the parts that long texts are translated in, and the names of languages."""

import itertools
import re
from collections.abc import Mapping, Sequence

from dataforge import languages, masks
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
    "zh-hant": ("Chinese (traditional characters)", "繁体中文"),
    "zh-hk": ("Chinese (traditional characters)", "繁体中文"),
    "zh-tw": ("Chinese (traditional characters)", "繁体中文"),
}
"""Codes as in BCP 47, with their names in English and Chinese."""

_ASIAN = frozenset(["zh", "ja"])
_LETTERS = re.compile(r"[^\W\d_]")
_SENTENCE = re.compile(r"(?<=[。！？；])|(?<=[.!?;])[ \t]+(?=\S)")
_REST = 6
"""Latin words in a row that stood in the original are left untranslated; into Chinese or Japanese."""
_FOREIGN = 8
"""The same wherever they are from."""
_HAN_REST = 4
"""Chinese characters in a row that stood in the original; into other languages."""
_SURE = 20
"""Words from which on a language is told with some certainty."""
_RATIO = 4.0


def name(language: str, told: str) -> str:
    """A language as it is called in Chinese (`told` is `zh`) or English; what is not known stands for itself."""
    found = NAMES.get(language.lower()) or NAMES.get(code(language))
    return language if found is None else found[1 if told == "zh" else 0]


def code(language: str) -> str:
    """The first part of a language's code, also where its name in English or Chinese stands in its place."""
    said = language.lower()
    named = (known for known, names in NAMES.items() if said in (names[0].lower().split(" (")[0], names[1]))
    return next(named, said).split("-")[0]


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

    For Chinese and Japanese: six Latin words in a row that stood in the original, or any eight. For others: four
    Chinese characters in a row that stood in the original. Beyond that the language of twenty words and more.
    """
    wanted = code(to)
    there, said = pieces(old), pieces(new)
    for size, own in ((_REST, True), (_FOREIGN, False)) if wanted in _ASIAN else ((_HAN_REST, True),):
        known = set(_runs(there, size))
        for run in _runs(said, size):
            if all(piece.isascii() == (wanted in _ASIAN) and piece.isalpha() for piece in run) and (
                run in known or not own
            ):
                return f"holds {' '.join(run)!r}"
    count = len(pieces(new))
    if normalised(old) == normalised(new) and count > 3:
        return f"is what it was before: {new.strip()[:80]!r}"
    found = languages.language(new)
    told = wanted in NAMES and found is not None and (count >= _SURE or "zh" in (wanted, found))
    if told and count >= 4 and found != wanted:
        return f"is in {found!r} and not in {wanted!r}: {new.strip()[:80]!r}"
    return None


def _runs(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(found[at : at + size]) for at in range(len(found) - size + 1)]


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
