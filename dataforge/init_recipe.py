"""A look at a file becomes a recipe with comments: what is there, how it is read, and what is not sure."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataforge import charsets, components, compression, places, reading, shape_guess, table_guess
from dataforge.errors import ForgeError, InputError
from dataforge.records import Reject, Row
from dataforge.shape_guess import Guess

_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_MOST_HEADERS = 4
_LONGEST_NAME = 60
_SHOWN = 40
_LOOKED_AT = 2**24
"""Bytes of a JSON object that are looked through for the list that holds its records."""


@dataclass(frozen=True)
class Written:
    """What came of a look."""

    recipe: str
    said: list[str]


def look(place: str, out: Path) -> Written:
    """A recipe for a file, folder, glob, URL or hub id, as it will stand at `out`.

    Raises `InputError` where nothing can be read or nothing can be made of it.
    """
    folder = out.parent
    where = _where(place, folder)
    where, rows = _sampled(where, folder)
    good = [row for row in rows if isinstance(row, Row)]
    if not good:
        raise InputError(f"{place}: none of its first {len(rows)} records can be read: {_first_fault(rows)}")
    guesses = shape_guess.shapes(where, folder, rows)
    tables = table_guess.of(good)
    guesses = [guess for guess in guesses if guess.trainable] + tables
    if not guesses:
        columns = ", ".join(dict.fromkeys(key for row in good for key in row.columns))
        raise InputError(
            f"{place}: no shape reads it, and no columns ask and answer (there are: {columns}); write `use: columns` "
            "with an expression for each part"
        )
    best, *others = guesses
    close = [guess for guess in others if guess.fit >= best.fit - 0.2][:3]
    return Written(_recipe(place, where, good, best, close), list(_said(place, good, len(rows), best, close)))


def _where(place: str, folder: Path) -> dict[str, Any]:
    """The entry's place: a path relative to the recipe, a URL, or a hub id where no file has that name."""
    if places.is_url(place):
        return {"path": place}
    if not Path(place).exists() and _HUB.fullmatch(place) and not any(mark in place for mark in "*?["):
        return {"hub": place}
    return {"path": os.path.relpath(place, folder)}


def _sampled(where: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[Row | Reject]]:
    """The first records, and where they are with what it takes to read them."""
    path = folder / where.get("path", "")
    alone = "path" in where and path.is_file()
    if alone and reading.by_name(path.name) == "excel":
        return _workbook(where, folder)
    if alone and (key := _list_key(path)) is not None:
        where = {**where, "format": {"use": "json", "records_at": key}}
    elif alone and (told := reading.by_name(path.name)) not in (None, "archive"):
        where = {**where, "format": told}
    if alone and (encoding := _encoding(path)) is not None:
        where = {**where, "encoding": encoding}
    rows = shape_guess.sample({**where, "use": "documents"}, folder)
    if where.get("format") in ("csv", "tsv") and _is_no_header(rows):
        where = {**where, "format": {"use": where["format"], "header": False}}
        rows = shape_guess.sample({**where, "use": "documents"}, folder)
    return where, rows


def _is_no_header(rows: Sequence[Row | Reject]) -> bool:
    """Whether what should be names is more like values: a sentence, or a number."""
    names = {key for row in rows if isinstance(row, Row) for key in row.columns}
    return any(len(name) > _LONGEST_NAME or name.replace(".", "").isdigit() for name in names)


def _workbook(where: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[Row | Reject]]:
    """A workbook with as many rows of headers as it takes until no name is a repetition of another."""
    for count in range(1, _MOST_HEADERS + 1):
        tried = {**where, "format": {"use": "excel", "header_rows": count}}
        rows = shape_guess.sample({**tried, "use": "documents"}, folder)
        names = {key for row in rows if isinstance(row, Row) for key in row.columns}
        if not any(re.sub(r" \d+$", "", name) in names - {name} for name in names):
            break
    else:
        tried = {**where, "format": {"use": "excel", "header_rows": 1}}
        rows = shape_guess.sample({**tried, "use": "documents"}, folder)
    return tried, rows


def _list_key(path: Path) -> str | None:
    """Where a file is one JSON object: the key of its longest list of objects."""
    with path.open("rb") as file:
        if path.stat().st_size > _LOOKED_AT or not file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(
            b"{"
        ):
            return None
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return None
    lists = {
        key: len(value)
        for key, value in found.items()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    }
    return max(lists, key=lambda key: lists[key], default=None)


def _encoding(path: Path) -> str | None:
    """The encoding of a text file where it is not UTF-8."""
    named = reading.by_name(path.name)
    if named == "archive" or (named is not None and components.binary(named)):
        return None
    with path.open("rb") as file:
        if compression.compressed(file.read(6)):
            return None
        file.seek(0)
        told = charsets.told(charsets.sampled(file.read))
    return None if told is None or told.lower().startswith(("utf-8", "utf8", "ascii")) else told


def _first_fault(rows: Sequence[Row | Reject]) -> str:
    return next((row.detail for row in rows if isinstance(row, Reject)), "it holds none")


def _said(place: str, rows: Sequence[Row], looked: int, best: Guess, close: Sequence[Guess]) -> Iterator[str]:
    yield f"{place}: looked at {looked:,} records, with {', '.join(_names(rows))}"
    yield f"  read as `use: {best.entry['use']}`: {best.read:,} of {best.of:,} records"
    for doubt in best.doubts:
        yield f"  not sure: {doubt}"
    for guess in close:
        yield f"  could also be `use: {guess.entry['use']}`: it stands in the recipe as a comment"
    if best.steps:
        made = {"chat": "conversations", "pairs": "pairs"}[best.kind]
        yield f"  followed by {', '.join(f'`use: {step}`' for step in best.steps)}, which makes {made} of it"
    if best.kind != "chat":
        yield f"  built as {best.kind} (`kind: {best.kind}`)"


def _recipe(place: str, where: Mapping[str, Any], rows: Sequence[Row], best: Guess, close: Sequence[Guess]) -> str:
    name = re.sub(r"[^\w.-]+", "-", places.stem(place.rstrip("/"))) or "data"
    lines = [
        f"# Written by `forge init` after a look at {place}. Each of its records has:",
        *(
            f"#   {key}: {_shown(next((row.columns[key] for row in rows if row.columns.get(key)), None))}"
            for key in _names(rows)
        ),
        "#",
        "#   forge preview THIS_FILE     what would be trained, marked",
        "#   forge build   THIS_FILE     all of it",
        f"name: {_scalar(name)}",
        *_KIND[best.kind],
        "tokenizer: smollm2-135m         # that of the model you will train",
        "max_tokens: 1024                # of a row; longer ones are rejected",
        "",
        "sources:",
        *(f"  # Not sure: {doubt}." for doubt in best.doubts),
        *_entry(best, where, "  "),
    ]
    for guess in close:
        lines += ["  # It could also be this:", *_entry(guess, where, "  # ")]
    if best.steps:
        lines += ["", "steps:", *(f"  - use: {step}" for step in best.steps)]
    return "\n".join(lines) + "\n"


_KIND = {
    "chat": (),
    "pairs": (
        "kind: pairs                     # of a better and a worse answer; for conversations with the better one take",
        "                                # this line away and have `- use: best` as the step",
    ),
    "prompts": ("kind: prompts                   # to which a model is to write the answers",),
}


def _entry(guess: Guess, where: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield f"{indent}- use: {guess.entry['use']}"
    for key, value in {**where, **guess.entry}.items():
        if key != "use":
            yield f"{indent}  {key}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    """A value as YAML in one line; JSON is YAML."""
    plain = isinstance(value, str) and re.fullmatch(r"[^\W\d][\w./-]*", value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value, ensure_ascii=False)


_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.columns))


def _first(rows: Sequence[Row], key: str) -> Any:
    """The first value of a column that says something."""
    return next((row.columns[key] for row in rows if row.columns.get(key)), None)


def _shown(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def write(place: str, out: Path) -> Written:
    """Look, and write the recipe. Raises `InputError` where there is a file already."""
    if out.exists():
        raise InputError(f"{out}: is there already; name another file with --out")
    found = look(place, out)
    try:
        out.write_text(found.recipe, encoding="utf-8")
    except OSError as error:
        raise ForgeError(f"{out}: cannot be written ({error.strerror})") from None
    return found
