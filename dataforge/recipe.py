"""The data half of a recipe file, read and checked; the `train:` half is `trainkit`'s to read."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataforge import charsets, components, places
from dataforge.config import Document, KeyPath, Settings, did_you_mean
from dataforge.data_settings import Data
from dataforge.errors import ConfigError, InputError
from dataforge.source_entry import NOT_BUILT, TOLD, Reading, SourceEntry, resolved

WHERE = ("path", "hub", "modelscope", "frame")
"""The keys of which a source has one."""


@dataclass(frozen=True)
class StepSpec:
    """One step of a recipe."""

    name: str
    """Its station in the funnel: `losses`, or `corpus.losses` where it is a step of the source `corpus` alone."""
    use: str
    settings: Settings
    files: tuple[Path, ...]
    """That it reads."""
    at: KeyPath
    """Where it stands in the recipe."""
    source: str | None = None
    """The source that it is for, or None where it is for all."""

    def normalised(self) -> dict[str, Any]:
        """All of it that decides what is built, without its paths."""
        paths = {name for name, value in self.settings if isinstance(value, Path)}
        return {"use": self.use, **self.settings.model_dump(mode="json", exclude=paths, exclude_none=True)}


@dataclass(frozen=True)
class SourceSpec:
    """One source of a recipe: the common part, and the settings of its shape."""

    name: str
    entry: SourceEntry
    settings: Settings
    places: tuple[str, ...]
    """Paths and URLs, with the recipe's folder before those that are relative; none where the records are no files."""
    reading: Reading
    """How its files are read."""
    steps: tuple[StepSpec, ...] = ()


@dataclass(frozen=True)
class Segment:
    """What is done to one record at a time before a step that needs to see more or that asks, or before the gate."""

    after: StepSpec | None
    """The step that saw more, whose decisions come first, or that asked; None at the head of the line."""
    steps: tuple[StepSpec, ...]


@dataclass(frozen=True)
class Recipe:
    """A recipe's data half with its sources resolved."""

    document: Document
    data: Data
    sources: tuple[SourceSpec, ...]
    tokenizer: str
    steps: tuple[StepSpec, ...] = ()
    """For the records of all sources."""

    @property
    def every_step(self) -> tuple[StepSpec, ...]:
        """The steps of each source, then those for all."""
        return (*(step for spec in self.sources for step in spec.steps), *self.steps)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The steps, cut where one needs to see more than one record, or asks a model."""
        found, after, steps = [], None, list[StepSpec]()
        for spec in self.every_step:
            if components.asks(spec.use) or components.gathers(spec.use, spec.settings):
                found.append(Segment(after, tuple(steps)))
                after, steps = spec, []
            else:
                steps.append(spec)
        return (*found, Segment(after, tuple(steps)))

    @property
    def window(self) -> int:
        """Tokens of a packed window."""
        return self.data.window or self.data.max_tokens

    def normalised(self) -> dict[str, Any]:
        """All that decides what is built, without names and paths: equal for recipes that mean the same.

        The tokenizer and the chat template are not here, since the manifest has hashes of them.
        """
        sources = [
            {
                "name": spec.name,
                **spec.entry.model_dump(mode="json", exclude={*NOT_BUILT, *TOLD, *spec.entry.left_open}),
                **spec.settings.model_dump(mode="json"),
                **_normalised(spec.steps),
            }
            for spec in self.sources
        ]
        models = {name: model.parameters() for name, model in self.data.llm.items()}
        return {
            **self.data.model_dump(mode="json", exclude={"name", "tokenizer", "chat", "steps"}),
            **({"models": models} if models else {}),
            "window": self.window,
            "sources": sources,
            **_normalised(self.steps),
        }


def _normalised(steps: tuple[StepSpec, ...]) -> dict[str, Any]:
    return {"steps": [step.normalised() for step in steps]} if steps else {}


def read(document: Document) -> Recipe:
    """Check the data half of a recipe file.

    Raises `ConfigError` with file, line and key path for the first fault.
    """
    data = document.read(Data, ignore=("sources", "train"))
    if data.window is not None and data.window < data.max_tokens:
        message = f"must be at least max_tokens ({data.max_tokens}), so that every row fits into a window"
        raise document.error(("window",), message)
    sources = document.data.get("sources")
    if not isinstance(sources, list) or not sources:
        raise document.error(("sources",), "must be a list with at least one source")
    taken = Counter[str]()
    specs = tuple(_source(document, position, taken) for position in range(len(sources)))
    for position, spec in enumerate(specs):
        if spec.name in [earlier.name for earlier in specs[:position]]:
            message = f"another source is named {spec.name!r}; give this one a `name:`"
            raise document.error(("sources", position), message)
    steps = _steps(document, ("steps",), data.steps, "", taken)
    read = Recipe(document, _placed(document, data), specs, _tokenizer(document, data), steps)
    for step in read.every_step:
        _check_models(read, step)
    return read


def _placed(document: Document, data: Data) -> Data:
    """The paths of the recipe's top level in its folder."""
    llm = {
        name: model.model_copy(update={"key_file": document.folder / model.key_file.expanduser()})
        if model.key_file
        else model
        for name, model in data.llm.items()
    }
    if data.replay is None:
        return data.model_copy(update={"llm": llm})
    replay = document.folder / data.replay.expanduser()
    if not replay.is_file():
        raise document.error(("replay",), f"there is no file {replay}")
    return data.model_copy(update={"replay": replay, "llm": llm})


def _check_models(read: Recipe, step: StepSpec) -> None:
    if not components.asks(step.use):
        return
    for name in components.models(step.use, step.settings):
        if name not in read.data.llm:
            known = f"; {did_you_mean(name, list(read.data.llm))}" if read.data.llm else ", and the recipe has none"
            raise read.document.error(step.at, f"there is no model {name!r} under `llm:`{known}")


def _source(document: Document, position: int, taken: Counter[str]) -> SourceSpec:
    at = ("sources", position)
    found = document.data["sources"][position]
    if not isinstance(found, dict):
        raise document.error(at, "must be a mapping with `use:` and `path:`")
    use = found.get("use")
    known = components.names("sources")
    if isinstance(use, str) and use not in known:
        raise document.error((*at, "use"), f"there is no source {use!r}; {did_you_mean(use, known)}")
    if isinstance(use, str) and (resolve := components.resolver(use)):
        document = resolved(document, at, resolve)
        found = document.data["sources"][position]
        use = found["use"]
    common = list(SourceEntry.model_fields)
    shape = components.source(use).Settings if isinstance(use, str) else Settings
    for key in found:
        if key not in common and key not in shape.model_fields:
            near = did_you_mean(key, [*common, *shape.model_fields])
            raise document.error((*at, key), f"unknown key; {near}")
    entry = document.read(SourceEntry, at, ignore=list(shape.model_fields))
    settings = document.read(shape, at, ignore=common)
    said = [key for key in WHERE if getattr(entry, key) is not None]
    if len(said) != 1:
        raise document.error(at, f"must say where its records are with one of {', '.join(WHERE)}")
    for key in ("config", "split", "revision"):
        if getattr(entry, key) is not None and said[0] not in ("hub", "modelscope"):
            raise document.error((*at, key), f"is of data sets of a hub, and this one is given by `{said[0]}:`")
    if components.assembler(entry.use) is not None and entry.frame is not None:
        raise document.error((*at, "frame"), f"`use: {entry.use}` joins files; say with `path:` where they are")
    reading = _reading(document, (*at, "format"), entry)
    if entry.encoding is not None and not charsets.known(entry.encoding):
        raise document.error((*at, "encoding"), f"there is no encoding {entry.encoding!r}; utf-8 and gb18030 are two")
    paths = [entry.path] if isinstance(entry.path, str) else entry.path or []
    found_at = tuple(places.resolved(path, document.folder) for path in paths)
    try:
        places.check(found_at, reading.stated)
    except InputError as error:
        raise document.error((*at, "path"), str(error)) from None
    name = entry.name or entry.frame or places.stem(entry.hub or entry.modelscope or paths[0])
    steps = _steps(document, (*at, "steps"), entry.steps, f"{name}.", taken)
    return SourceSpec(name, entry, settings, found_at, reading, steps)


def _reading(document: Document, at: KeyPath, entry: SourceEntry) -> Reading:
    """What the recipe and the source's module say of how its files are read."""
    default, records_at = components.format_of(entry.use)
    own: dict[str, Any] = {"use": default} if isinstance(default, str) else default or {}
    said = {"use": entry.format} if isinstance(entry.format, str) else entry.format
    if components.assembler(entry.use) is not None:
        if said is not None:
            raise document.error(at, f"`use: {entry.use}` reads its files by itself; leave `format:` out")
        return Reading(stated=True)
    if said is None:
        return Reading(own.get("use"), _values(own), False, records_at, entry.encoding)
    use, known = said.get("use"), components.names("formats")
    if not isinstance(use, str):
        raise document.error(at, f"must be a format's name, or a mapping with `use:`; {did_you_mean('', known)}")
    if use not in known:
        raise document.error(at, f"there is no format {use!r}; {did_you_mean(use, known)}")
    if isinstance(entry.format, dict):
        document.read(components.format_(use).Settings, at, ignore=("use",))
    inherited = _values(own) if own.get("use") == use else {}
    return Reading(use, {**inherited, **_values(said)}, True, records_at, entry.encoding)


def _values(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "use"}


def _steps(
    document: Document, at: KeyPath, found: list[dict[str, Any]], prefix: str, taken: Counter[str]
) -> tuple[StepSpec, ...]:
    return tuple(_step(document, (*at, position), item, prefix, taken) for position, item in enumerate(found))


def _step(document: Document, at: KeyPath, found: dict[str, Any], prefix: str, taken: Counter[str]) -> StepSpec:
    use, known = found.get("use"), components.names("steps")
    if not isinstance(use, str):
        raise document.error(at, f"must say which step it is with `use:`; {did_you_mean('', known)}")
    if use not in known:
        raise document.error((*at, "use"), f"there is no step {use!r}; {did_you_mean(use, known)}")
    settings = document.read(components.step(use).Settings, at, ignore=("use",))
    path = getattr(settings, "path", None)
    if path is not None:
        path = document.folder / path.expanduser()
        if not path.is_file():
            raise document.error((*at, "path"), f"there is no file {path}")
        settings = settings.model_copy(update={"path": path})
    taken[prefix + use] += 1
    number = taken[prefix + use]
    name = f"{prefix}{use} {number}" if number > 1 else prefix + use
    try:
        files = tuple(components.reads(use, settings, document.folder))
    except InputError as error:
        raise document.error(at, str(error)) from None
    replay = document.data.get("replay")
    if components.asks(use) and isinstance(replay, str) and (document.folder / replay).is_file():
        files = (*files, document.folder / replay)
    return StepSpec(name, use, settings, files, at, prefix.removesuffix(".") or None)


def _tokenizer(document: Document, data: Data) -> str:
    if data.tokenizer is not None:
        return data.tokenizer
    train = document.data.get("train")
    stages = train if isinstance(train, list) else [train]
    bases = [stage["base"] for stage in stages if isinstance(stage, dict) and isinstance(stage.get("base"), str)]
    if not bases:
        raise ConfigError(f"{document.path}:1: give `tokenizer:` (or `train.base:`, whose tokenizer is then used)")
    return str(bases[0])
