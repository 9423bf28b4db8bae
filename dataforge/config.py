"""Strict YAML: every fault is told with its file, line and key path, and the nearest known key.

A `Document` is a YAML file with the line of each of its keys; `Document.read` validates a part of it against a
pydantic model whose unknown keys are forbidden. YAML 1.2 rules hold: `1e-3` is a number and `yes` is a string.
"""

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dataforge.errors import ConfigError

KeyPath = tuple[str | int, ...]


class Settings(BaseModel):
    """The base of everything a recipe can set: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


SettingsT = TypeVar("SettingsT", bound=Settings)


def dotted(path: KeyPath) -> str:
    """`("sources", 0, "path")` as a reader writes it: `sources[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class Document:
    """A recipe file as plain data, with the place of each key."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(repr=False)
    overridden: frozenset[KeyPath] = frozenset()

    @property
    def folder(self) -> Path:
        """Relative paths in the file start here."""
        return self.path.parent

    def place(self, path: KeyPath) -> str:
        """`file:line: key.path`, or the command line where the key was given there."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overridden:
                return f"command line: {dotted(path)}"
            if path[:length] in self.lines:
                return f"{self.path}:{self.lines[path[:length]]}: {dotted(path)}"
        return f"{self.path}:1: {dotted(path)}" if path else f"{self.path}:1"

    def error(self, path: KeyPath, message: str) -> ConfigError:
        """A `ConfigError` that points at a key of this file."""
        return ConfigError(f"{self.place(path)}: {message}")

    def read(self, model: type[SettingsT], at: KeyPath = (), ignore: Sequence[str] = ()) -> SettingsT:
        """Validate the mapping at `at` against a model; raise `ConfigError` for the first fault.

        `ignore` names keys of that mapping that somebody else reads.
        """
        found: Any = self.data
        for part in at:
            found = found[part]
        if not isinstance(found, dict):
            raise self.error(at, f"must be a mapping of keys to values, not {_said(found)}")
        wanted = {key: value for key, value in found.items() if key not in ignore}
        try:
            return model.model_validate(wanted)
        except ValidationError as error:
            details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
            raise self._config_error(details[0], model, at, ignore) from None

    def _config_error(
        self, detail: ErrorDetails, model: type[BaseModel], at: KeyPath, ignore: Sequence[str]
    ) -> ConfigError:
        path, owner = _locate(detail["loc"], model, self.data, at)
        if detail["type"] == "extra_forbidden":
            known = [*owner.model_fields, *(ignore if len(path) == len(at) + 1 else ())]
            return self.error(path, f"unknown key; {did_you_mean(str(path[-1]), known)}")
        if detail["type"] == "missing":
            return self.error(path, "is missing")
        message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("should be ")
        if detail["type"] == "value_error":
            return self.error(path, message)
        if detail["type"] in ("too_short", "too_long"):
            ends = detail["ctx"]
            few = detail["type"] == "too_short"
            bound = ends["min_length" if few else "max_length"]
            said = f"at {'least' if few else 'most'} {bound} {'item' if bound == 1 else 'items'}"
            return self.error(path, f"must have {said}, not {ends['actual_length']}")
        return self.error(path, f"must be {message}, not {_said(detail['input'])}")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`did you mean 'x'?`, or the list of what there is."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(sorted(known)) or 'none'}"


def load(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read a YAML file and lay `key.path=value` overrides over it.

    Raises `ConfigError` where the file is missing, is not YAML or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; `forge demo` shows a recipe that works") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; name the recipe file in it") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    try:
        tree = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: a key stands here for the second time") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(tree, CommentedMap):
        raise ConfigError(f"{path}:1: a recipe is a mapping of keys to values, not {_said(tree)}")
    data = _plain(tree)
    overridden = frozenset(_override(data, text) for text in overrides)
    return Document(path, data, dict(_lines(tree, ())), overridden)


def from_mapping(recipe: Mapping[str, Any], folder: Path, name: str = "recipe") -> Document:
    """A recipe that a program holds: its relative paths start in `folder`, and faults name it as a file there."""
    return Document(folder / name, _plain(dict(recipe)), {})


def _override(data: dict[str, Any], text: str) -> KeyPath:
    dotted_key, equals, value = text.partition("=")
    if not equals or not dotted_key:
        raise ConfigError(f"command line: {text!r} is not of the form key.path=value")
    parts: KeyPath = tuple(
        int(part) if part.isdigit() else part for part in dotted_key.replace("[", ".").replace("]", "").split(".")
    )
    try:
        parsed = _plain(YAML(typ="rt").load(value)) if value else None
    except YAMLError:
        raise ConfigError(f"command line: {dotted_key}: {value!r} is not a YAML value") from None
    target: Any = data
    for depth, part in enumerate(parts[:-1]):
        if isinstance(target, list):
            if not isinstance(part, int) or part >= len(target):
                raise ConfigError(f"command line: {dotted(parts[: depth + 1])}: there is no such item")
            target = target[part]
        else:
            target = target.setdefault(part, {})
        if not isinstance(target, dict | list):
            raise ConfigError(f"command line: {dotted(parts[: depth + 1])}: has a value, so it holds no further keys")
    last = parts[-1]
    if isinstance(target, list):
        if not isinstance(last, int):
            first = dotted((*parts[:-1], 0, last))
            message = f"{dotted(parts[:-1])} is a list; name one of it, as in {first}"
            raise ConfigError(f"command line: {dotted(parts)}: {message}")
        if last >= len(target):
            raise ConfigError(f"command line: {dotted(parts)}: there is no such item")
    target[last] = parsed
    return parts


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for scalar in (int, float, str):
        if isinstance(node, scalar):
            return scalar(node)
    return node


def _lines(node: Any, at: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            yield (*at, str(key)), node.lc.key(key)[0] + 1
            yield from _lines(value, (*at, str(key)))
    elif isinstance(node, CommentedSeq):
        for index, value in enumerate(node):
            yield (*at, index), node.lc.item(index)[0] + 1
            yield from _lines(value, (*at, index))


def _said(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)


def _locate(
    loc: tuple[str | int, ...], model: type[BaseModel], data: Any, at: KeyPath
) -> tuple[KeyPath, type[BaseModel]]:
    """The key path in the file that a pydantic location means, and the model that owns its last key.

    pydantic puts the names of union members into its locations; they are no keys and are left out.
    """
    for part in at:
        data = data[part]
    path, owner, annotation = list(at), model, typing.cast(Any, model)
    for position, part in enumerate(loc):
        here = (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int))
        if not here and position < len(loc) - 1:
            continue
        candidates = _models(annotation)
        if isinstance(part, str) and candidates:
            owner = next((m for m in candidates if part in m.model_fields), candidates[0])
            annotation = owner.model_fields[part].annotation if part in owner.model_fields else None
        if here or (isinstance(part, str) and isinstance(data, dict)):
            path.append(part)
        data = data[part] if here else None
    return tuple(path), owner


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models named in an annotation such as `list[A] | B | None`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]
