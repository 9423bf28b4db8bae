"""Cut documents into passages: at Markdown headings, paragraphs, lines and sentences, Chinese ones too.

    - use: chunk
      max_tokens: 400
      overlap: 40

A passage is a piece of the document as it stands. As many paragraphs as fit stand together; one that is longer is cut
at its lines, then at its sentences, then at words or characters. Tokens are those of the recipe's tokenizer, counted
piece by piece: of a whole passage they are a few less. What is left at the end of a section joins the passage before
where it is shorter than `min_tokens`, which may make that longer than `max_tokens` by as much.

All passages of a document are one family, so that they stay on one side of the split. Their facts have `chunk`, the
number from 0, and `heading`, the headings above it. A document that is short enough stays as it is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, model_validator

from dataforge import config
from dataforge.context import Context, Depends
from dataforge.records import Record, Reject, Text, derived_id

_CLOSING = "\"'\u201d\u2019」』）)\\]"
_CUTS = (
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(rf"(?<=[。！？；…])[{_CLOSING}]*\s*|(?<=[.!?])[{_CLOSING}]*\s+"),
    re.compile(r"(?<=[，、：,:;])\s*"),
    re.compile(r"\s+"),
)
"""Where a text may be cut: paragraphs, lines, sentences, clauses, words. The blanks stay with what is before."""
_SENTENCES = 2
_HEADING = re.compile(r"[ ]{0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"[ ]{0,3}(```|~~~)")

Span = tuple[int, int]


class Settings(config.Settings):
    """How long passages are, and where they are cut."""

    max_tokens: Annotated[int, Field(ge=16)] = 512
    """Of a passage with its overlap."""
    min_tokens: Annotated[int, Field(ge=0)] = 32
    """What is shorter joins its neighbour."""
    overlap: Annotated[int, Field(ge=0)] = 0
    """How many tokens at the end of a passage, in whole sentences, the next one of its section begins with."""
    headings: bool = True
    """Whether a passage ends where a Markdown heading begins a section."""

    @model_validator(mode="after")
    def _room(self) -> "Settings":
        if 2 * self.overlap > self.max_tokens:
            raise ValueError(f"overlap: {self.overlap} is more than half of max_tokens: {self.max_tokens}")
        if 2 * self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens: {self.min_tokens} is more than half of max_tokens: {self.max_tokens}")
        return self


def depends(settings: Settings) -> tuple[Depends, ...]:
    """The tokenizer, by whose tokens passages are measured."""
    return ("tokenizer",)


@dataclass(frozen=True)
class _Section:
    span: Span
    heading: str
    """With those above it: `Tea > Kinds`."""


@dataclass(frozen=True)
class Step:
    """The cutter; its rejects carry `name`."""

    name: str
    settings: Settings
    context: Context

    def take(self, record: Record) -> Record | Reject | Sequence[Record | Reject]:
        """The passages of a document; other records as they are."""
        if not isinstance(record, Text):
            return record
        if not record.text.strip():
            return Reject(record.id, record.origin, self.name, "empty", "the document has no text")
        passages = list(self._passages(record.text))
        if len(passages) == 1:
            return record
        family = record.family or record.id
        return [
            replace(
                record,
                id=derived_id(record.id, "chunk", str(number)),
                text=text,
                family=family,
                facts={**record.facts, "chunk": number, **({"heading": heading} if heading else {})},
            )
            for number, (text, heading) in enumerate(passages)
        ]

    def _passages(self, text: str) -> Iterator[tuple[str, str]]:
        for section in self._sections(text):
            spans = self._packed(text, section.span)
            for number, (start, stop) in enumerate(spans):
                begin = self._back(text, (spans[number - 1][0], start)) if number and self.settings.overlap else start
                yield text[begin:stop].strip(), section.heading

    def _sections(self, text: str) -> list[_Section]:
        """The sections in order, those too short to stand alone with the next, or the last with the one before."""
        found = _sections(text) if self.settings.headings else [_Section((0, len(text)), "")]
        counts = self._tokens(text, [section.span for section in found])
        joined: list[_Section] = []
        sizes: list[int] = []
        for number, (section, count) in enumerate(zip(found, counts, strict=True)):
            last = number == len(found) - 1 and count < self.settings.min_tokens
            if joined and (sizes[-1] < self.settings.min_tokens or last):
                joined[-1] = replace(joined[-1], span=(joined[-1].span[0], section.span[1]))
                sizes[-1] += count
            else:
                joined.append(section)
                sizes.append(count)
        return joined

    def _packed(self, text: str, span: Span) -> list[Span]:
        """Spans of as many pieces as fit, without overlap; the last is not shorter than `min_tokens`."""
        bound = self.settings.max_tokens
        (whole,) = self._tokens(text, [span])
        if whole <= bound:
            return [span]
        bound -= self.settings.overlap
        packed: list[Span] = []
        size = 0
        for (start, stop), count in self._pieces(text, span, bound, 0):
            if packed and size + count <= bound:
                packed[-1], size = (packed[-1][0], stop), size + count
            else:
                packed.append((start, stop))
                size = count
        if len(packed) > 1 and size < self.settings.min_tokens:
            packed[-2:] = [(packed[-2][0], packed[-1][1])]
        return packed

    def _pieces(self, text: str, span: Span, bound: int, level: int) -> Iterator[tuple[Span, int]]:
        """The largest pieces that are not longer than the bound, with their tokens."""
        spans = _cut(text, span, level)
        for piece, count in zip(spans, self._tokens(text, spans), strict=True):
            if count <= bound or piece[1] - piece[0] == 1:
                yield piece, count
            else:
                yield from self._pieces(text, piece, bound, level + 1)

    def _back(self, text: str, before: Span) -> int:
        """Where the last sentences begin that together are not longer than the overlap."""
        spans = [
            sentence
            for paragraph in _cut(text, before, 0)
            for line in _cut(text, paragraph, 1)
            for sentence in _cut(text, line, _SENTENCES)
        ]
        left, start = self.settings.overlap, before[1]
        for (begin, _), count in reversed(list(zip(spans, self._tokens(text, spans), strict=True))[1:]):
            left -= count
            if left < 0:
                break
            start = begin
        return start

    def _tokens(self, text: str, spans: Sequence[Span]) -> Sequence[int]:
        return self.context.token_counts([text[start:stop] for start, stop in spans])


def start(name: str, settings: Settings, context: Context) -> Step:
    """The step."""
    return Step(name, settings, context)


def _cut(text: str, span: Span, level: int) -> list[Span]:
    """A span cut at a level; below words in halves, which ends at single characters."""
    start, stop = span
    if level >= len(_CUTS):
        middle = (start + stop) // 2
        return [(start, middle), (middle, stop)]
    ends = [match.end() for match in _CUTS[level].finditer(text, start, stop) if start < match.end() < stop]
    return list(zip([start, *ends], [*ends, stop], strict=True))


def _sections(text: str) -> list[_Section]:
    """The text before the first heading, and each heading with what follows it; none in fenced code."""
    found: list[_Section] = []
    above: list[tuple[int, str]] = []
    begun, place, fence = 0, 0, ""
    for line in text.splitlines(keepends=True):
        fenced = _FENCE.match(line)
        if fenced and fence in ("", fenced.group(1)):
            fence = "" if fence else fenced.group(1)
        heading = None if fence else _HEADING.match(line.rstrip("\r\n"))
        if heading:
            if text[begun:place].strip():
                found.append(_Section((begun, place), _path(above)))
            depth = len(heading.group(1))
            above = [*(item for item in above if item[0] < depth), (depth, heading.group(2))]
            begun = place
        place += len(line)
    return [*found, _Section((begun, len(text)), _path(above))]


def _path(above: Sequence[tuple[int, str]]) -> str:
    return " > ".join(heading for _, heading in above)
