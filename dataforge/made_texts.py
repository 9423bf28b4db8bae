"""What is asked of a text that a language model wrote: words, numbers, labels before it, verdicts at its end."""

import re

from dataforge import languages
from dataforge.text import pieces

_ENGLISH = """
    a an the and or but if of to in on at by for with from as is are was were be been being am do does did have has had
    it its this that these those he she they we you i me him her them us my your his their our not no nor so than then
    there here what which who whom when where why how can could will would shall should may might must just very too
"""
_CHINESE = "的了是在和与或也都就而及着吗呢吧啊呀把被我你他她它们这那个之其不没有很会要能"
_STOP_WORDS = frozenset([*_ENGLISH.split(), *_CHINESE])
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MARKED = re.compile(r"(?m)^\s*(?:[-*+]\s+)?\(?\d{1,3}[.)、）]\s*")
_TAGGED = re.compile(
    r"<(?P<tag>text|answer|translation|message|instruction|原文|译文|回答|指令|消息)>(?P<inner>[\s\S]*)</(?P=tag)>",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "\u201c": "\u201d", "「": "」", "『": "』", "`": "`"}
_SURE = 20
"""Words from which on the language of a text is told with some certainty."""


def words(text: str) -> int:
    """How many words a text has; two Chinese characters count as one."""
    found = pieces(text)
    characters = sum(1 for piece in found if len(piece) == 1 and piece >= "\u2e80")
    return len(found) - characters + (characters + 1) // 2


def says_nothing(text: str) -> bool:
    """Whether a text is nothing but punctuation and words that carry no meaning."""
    return all(piece in _STOP_WORDS for piece in pieces(text))


def bare(text: str, labels: tuple[str, ...], *, quotes: bool = True) -> str:
    """A text without what models put around it: a label (`**Instruction:**`), a tag of the request, `quotes`."""
    found = text.strip()
    tagged = _TAGGED.fullmatch(found)
    if tagged:
        found = tagged["inner"].strip()
    if labels:
        named = "|".join(re.escape(label) for label in labels)
        found = re.sub(rf"^[#*\s]*(?:{named})[*#\s]*[:：][*\s]*", "", found, count=1, flags=re.IGNORECASE).strip()
    if not quotes:
        return found
    closing = _QUOTES.get(found[:1])
    if closing and len(found) > 2 and found.endswith(closing) and closing not in found[1:-1]:
        found = found[1:-1].strip()
    return found


def last_line(text: str) -> str:
    """The last line that says something, without Markdown's signs for bold, quotes and headings."""
    lines = [line for line in text.splitlines() if line.strip("*_#>` \t")]
    return lines[-1].strip("*_#>` \t") if lines else ""


def numbers(text: str) -> set[str]:
    """The numbers in a text, without the commas of their thousands and without those that only count its points."""
    return {_plain(number) for number in _NUMBER.findall(_MARKED.sub("", text))}


def _plain(number: str) -> str:
    return number.replace(",", "") if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", number) else number


def another_language(text: str, than: str) -> bool:
    """Whether a text is surely in another language than one beside it.

    Chinese is told from others by its characters; two others only where both texts have twenty words.
    """
    one, other = languages.language(text), languages.language(than)
    if one is None or other is None or one == other:
        return False
    return "zh" in (one, other) or min(len(pieces(text)), len(pieces(than))) >= _SURE
