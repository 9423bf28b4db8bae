"""Dumps whose rows are elements with attributes, one a line: read in constant memory, and on behind a broken row.

<posts>
  <row Id="1" PostTypeId="1" Title="Why?" />
</posts>
"""

import contextlib
import io
from collections.abc import Iterator
from xml.parsers import expat

from dataforge.content import Fault
from dataforge.errors import InputError

ROW, _OPENS = "row", b"<row"
_PIECE = 2**18
"""Bytes that are parsed at a time."""
_MOST_FAULTS = 1000
"""Broken rows of one file; one with more is something else."""

Found = tuple[int, dict[str, str] | Fault]
"""The line of a row, from 1, and its attributes or what is wrong with it."""


def root(file: io.BufferedReader) -> str | None:
    """The name of the element around all rows, or None where a file does not begin as XML."""
    names: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: names.append(name)
    with contextlib.suppress(expat.ExpatError):
        parser.Parse(file.read(_PIECE), False)
    return names[0] if names else None


def read(file: io.BufferedReader, shown: str) -> Iterator[Found]:
    """The rows of a file, whose name faults and errors begin with.

    A row that is no XML becomes a fault, and so does the end of a file that comes too early; reading goes on in the
    next line. Raises `InputError` where a thousand rows are broken, and `BrokenOffError` where compressed bytes end.
    """
    rows, faults, first = _Rows(), 0, 1
    while True:
        piece = file.read(_PIECE) + file.readline()  # whole lines, as a parser starts anew behind a broken one
        following = first + piece.count(b"\n")
        rest, ended = piece, not piece
        while True:
            try:
                rows.parse(rest, ended)
                break
            except expat.ExpatError as error:
                bad, behind = _behind(rest, rows.offset(), first)
                faults += 1
                sentence = f"{shown}: what stands in line {bad} is no XML ({expat.ErrorString(error.code)})"
                if ended:
                    sentence = f"{shown}: ends in line {bad}, before the XML does"
                if faults == _MOST_FAULTS:
                    raise InputError(f"{sentence}, as are {faults - 1} lines before it; is it another file?") from None
                rows.found.append((bad, Fault("broken_xml", sentence)))
                if ended:
                    break
                first += rest[:behind].count(b"\n")
                rest = rest[behind:]
                rows.anew(first)
        yield from rows.taken()
        first = following
        if ended:
            return


def _behind(piece: bytes, at: int, first: int) -> tuple[int, int]:
    """The line of a broken row and where the next one starts; it broke `at` a byte, and `first` is the first line.

    A value that does not end is noticed only where the next row opens.
    """
    at = max(at, 0)
    begin = piece.rfind(b"\n", 0, at) + 1
    if begin and piece[begin:at].isspace() | (begin == at) and piece.startswith(_OPENS, at):
        return first + piece.count(b"\n", 0, begin) - 1, begin
    end = piece.find(b"\n", at) + 1
    return first + piece.count(b"\n", 0, begin), end or len(piece)


class _Rows:
    """What a parser finds, and a new one in its place where it cannot go on."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self._outer = ""
        self._above = self._before = self._given = 0
        self._parser = self._started()

    def anew(self, line: int) -> None:
        """Read on in a line as if nothing had come before but the beginning of the file."""
        self._above, self._before, self._given = line - 1, 0, 0
        self._parser = self._started()
        self.parse(f"<{self._outer or ROW + 's'}>".encode(), False)

    def parse(self, piece: bytes, ended: bool) -> None:
        """Read more."""
        self._before, self._given = self._given, self._given + len(piece)
        self._parser.Parse(piece, ended)

    def offset(self) -> int:
        """Where in the piece that was read last it broke."""
        return int(self._parser.ErrorByteIndex) - self._before

    def taken(self) -> list[Found]:
        """What was found since it was last asked."""
        found, self.found = self.found, []
        return found

    def _started(self) -> expat.XMLParserType:
        made = expat.ParserCreate()
        made.StartElementHandler = self._element
        return made

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        if name == ROW:
            self.found.append((self._above + self._parser.CurrentLineNumber, attributes))
        elif not self._outer:
            self._outer = name
