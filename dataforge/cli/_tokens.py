"""Tokens on a terminal: what is trained, what differs, and two answers beside one another."""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dataforge.preview import Token

Piece = tuple[str, tuple[str, ...]]
"""A text with its style: a colour and names of `click.style`."""
GIVEN = ("dim",)
TRAINED = ("green", "underline")
STOP = ("green", "bold")
MARK = ("green",)
ALONE = ("yellow", "underline", "bold")
BAR = " │ "
_OPENS, _CLOSES = ("Ps", "Pi"), ("Pe", "Pf", "Po")


def pieces(tokens: Sequence["Token"], *, differing: bool = False) -> list[Piece]:
    """⟦Trained⟧ runs with ■ after a stop; with `differing`, also ⟪where the answers differ⟫."""
    found: list[Piece] = []
    for trained, run in groupby(tokens, key=lambda token: token.trained):
        found += [("⟦", MARK)] if trained else []
        for (stop, alone), same in groupby(run, key=lambda token: (token.stop, differing and token.differs)):
            text = visible("".join(token.text for token in same))
            style = STOP if stop else ALONE if alone else TRAINED if trained else GIVEN
            found.append((f"⟪{text}⟫" if alone else text, style))
            found += [("■", STOP)] if stop else []
        found += [("⟧", MARK)] if trained else []
    return found


def styled(said: Sequence[Piece]) -> str:
    """Pieces as a terminal takes them."""
    return "".join(_styled(text, style) for text, style in said if text)


def beside(heads: Sequence[str], columns: Sequence[Sequence[Piece]], width: int) -> Iterator[str]:
    """The lines of two columns under their heads."""
    half = (width - len(BAR)) // 2
    yield f"{click.style(heads[0].ljust(half), fg='cyan')}{BAR}{click.style(heads[1], fg='cyan')}"
    for left, right in zip_longest(*(_lines(column, half) for column in columns), fillvalue=[]):
        blank = " " * (half - sum(_cells(char) for char, _ in left))
        yield f"{_line(left)}{blank}{BAR}{_line(right)}".rstrip()


def visible(text: str) -> str:
    """The text with characters that would steer a terminal written out."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def _lines(said: Sequence[Piece], width: int) -> Iterator[list[Piece]]:
    """Pieces cut into lines of at most so many cells, where they may be; a character each."""
    line: list[Piece] = []
    used = 0
    for text, style in said:
        for char in text.replace("\t", "    "):
            if char == "\n":
                yield line
                line, used = [], 0
                continue
            if used + _cells(char) > width:
                chars = [*(each for each, _ in line), char]
                cut = max((at for at in range(1, len(chars)) if _parts(*chars[at - 1 : at + 1])), default=len(line))
                yield line[:cut]
                line = line[cut:]
                used = sum(_cells(each) for each, _ in line)
            line.append((char, style))
            used += _cells(char)
    if line:
        yield line


def _parts(before: str, after: str) -> bool:
    """Whether a line may end between two characters: at a blank, or at a Chinese one unless punctuation holds on."""
    if before == " ":
        return True
    held = unicodedata.category(before) in _OPENS or unicodedata.category(after) in _CLOSES or after in "■ "
    return max(_cells(before), _cells(after)) > 1 and not held


def _line(line: Sequence[Piece]) -> str:
    return styled([("".join(char for char, _ in run), style) for style, run in groupby(line, key=lambda each: each[1])])


def _styled(text: str, style: tuple[str, ...]) -> str:
    colour = style[0] if style[0] in ("green", "yellow") else None
    switches: dict[str, Any] = {name: True for name in style if name != colour}
    return click.style(text, fg=colour, **switches)


def _cells(char: str) -> int:
    """The columns that a character takes: two of a Chinese one, none of a mark on the one before."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
