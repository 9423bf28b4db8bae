"""What a file's first records look like: which shapes read them, and how surely. Only `forge init` asks; a build never
guesses.

A shape is tried by letting its source read the records. Where several do, the one whose sample (in the docstring of its
module) has most of the same keys comes first. A table that no shape reads is taken apart by the names of its columns.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataforge import components, config, heads, readers, recipe
from dataforge.errors import ForgeError
from dataforge.records import Chat, Example, Preference, Prompt, Ranking, Record, Reject, Row, Text

RECORDS = 200
_ENOUGH = 0.95
"""The share of records that a shape must read."""
_GENERIC = {"columns", "documents", "llamafactory"}
_KEY = re.compile(r'"([^"\\]+)":')
_IDEOGRAPH = re.compile("[\u3400-\u9fff]")
_LATIN = re.compile("[A-Za-z]")


@dataclass(frozen=True)
class Guess:
    """One way to read the records."""

    entry: dict[str, Any]
    """As an item of `sources:`, without where it is."""
    read: int
    of: int
    fit: float
    """The share of keys that the records have in common with the shape's sample."""
    values: int = 0
    """How many short values of the records stand in the shape's docstring, such as the names of labels."""
    steps: list[str] = field(default_factory=list)
    """What has to follow before it can be trained on."""
    kind: str = "chat"
    """What a build of it is of."""
    doubts: list[str] = field(default_factory=list)
    """What somebody should look at."""
    trainable: bool = True


def sample(entry: Mapping[str, Any], folder: Path) -> list[Row | Reject]:
    """The first records of a source. Raises `ForgeError` where it cannot be read."""
    said = {"name": "init", "tokenizer": "smollm2-135m", "sources": [dict(entry)]}
    (spec,) = recipe.read(config.from_mapping(said, folder)).sources
    return [
        row
        for head in heads.of(spec, RECORDS, {})
        for row in (readers.read(head.part) if head.unpacked is None else readers.unpacked(head.part, head.unpacked))
    ]


def shapes(where: Mapping[str, Any], folder: Path, rows: Sequence[Row | Reject]) -> list[Guess]:
    """The shapes that read nearly all of the records, the best fit first."""
    found = []
    for name in components.names("sources"):
        module = components.source(name)
        if name in _GENERIC or any(each.is_required() for each in module.Settings.model_fields.values()):
            continue
        mine = rows
        if any(components.format_of(name)):
            try:
                mine = sample({**where, "use": name}, folder)
            except ForgeError:
                continue
        guess = _tried(name, mine)
        if guess is not None:
            found.append(guess)
    return sorted(found, key=lambda guess: (-guess.fit, -guess.values, -guess.read, guess.entry["use"]))


def language(texts: Sequence[str]) -> str:
    """`zh` or `en`, whichever the script of some texts speaks for."""
    text = "".join(texts)[:100_000]
    return "zh" if len(_IDEOGRAPH.findall(text)) * 3 > len(_LATIN.findall(text)) else "en"


def _tried(name: str, rows: Sequence[Row | Reject]) -> Guess | None:
    module = components.source(name)
    settings = module.Settings()
    made = [row if isinstance(row, Reject) else module.convert(row, settings) for row in rows]
    filters = getattr(module, "FILTERS", ())
    pieces = [
        piece
        for each in made
        for piece in (each if isinstance(each, Sequence) else [each])
        if not (isinstance(piece, Reject) and piece.reason in filters)
    ]
    kept = [piece for piece in pieces if isinstance(piece, Chat | Example | Text | Ranking | Preference | Prompt)]
    if not kept or len(kept) < _ENOUGH * len(pieces):
        return None
    entry: dict[str, Any] = {"use": name}
    doubts = []
    if "language" in module.Settings.model_fields and not getattr(settings, "language", ""):
        entry["language"] = language(
            [str(value) for row in rows if isinstance(row, Row) for value in _texts(row.columns)]
        )
        doubts.append(f"language: {entry['language']} is told by the script alone")
    if len(kept) < len(pieces):
        reasons = sorted({piece.reason for piece in pieces if isinstance(piece, Reject)})
        doubts.append(f"{len(pieces) - len(kept)} of the {len(pieces)} are rejected: {', '.join(reasons)}")
    keys = {key for row in rows if isinstance(row, Row) for key in row.columns}
    return Guess(
        entry,
        len(kept),
        len(pieces),
        _fit(keys, _sample_keys(module.__doc__ or "")),
        _values(rows, module.__doc__ or ""),
        *_followed(kept),
        doubts,
        not all(isinstance(piece, Text) for piece in kept),
    )


def _followed(kept: Sequence[Record]) -> tuple[list[str], str]:
    """The steps that have to follow, and what the build is of."""
    if any(isinstance(each, Example) for each in kept):
        return ["instruct"], "chat"
    rankings = [each for each in kept if isinstance(each, Ranking)]
    if any(isinstance(each, Preference) for each in kept):
        return (["pairs"] if rankings else []), "pairs"
    if rankings:
        several = any(len(each.replies) > 1 or any(reply.replies for reply in each.replies) for each in rankings)
        return (["pairs"], "pairs") if several else (["best"], "chat")
    return [], "prompts" if any(isinstance(each, Prompt) for each in kept) else "chat"


def _sample_keys(doc: str) -> list[set[str]]:
    """The keys of each sample record in a docstring."""
    samples = re.split(r"\n\s*\n|\n(?=    \{)", doc)
    return [set(_KEY.findall(text)) for text in samples if text.lstrip().startswith("{")]


def _fit(keys: set[str], samples: Sequence[set[str]]) -> float:
    return max((len(keys & each) / len(keys | each) for each in samples if each), default=0.0)


def _values(rows: Sequence[Row | Reject], doc: str) -> int:
    said = {value for row in rows if isinstance(row, Row) for value in row.columns.values() if isinstance(value, str)}
    return sum(1 for value in said if value and f'"{value}"' in doc)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
