"""The parts of the README that are made from the code: `make docs` writes them, `make test` checks them."""

import importlib
import io
import itertools
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import get_args, get_origin

import click
import jinja2
from jinja2 import meta

from dataforge import components, templates
from dataforge import task_templates as words
from dataforge.cli import forge, run
from dataforge.config import Settings
from dataforge.data_settings import Data, Split
from dataforge.source_entry import SourceEntry
from trainkit import objectives
from trainkit.config import LoraAdapter, Train


def command_help() -> str:
    """Every command's `--help`."""
    text = ""
    for name in commands():
        with redirect_stdout(io.StringIO()) as printed:
            run([*name.split(), "--help"])
        text += f"```\n$ forge {name} --help\n{printed.getvalue().strip()}\n```\n\n"
    return text


def commands() -> list[str]:
    """Every command; of a group its members."""
    names: list[str] = []
    for name in forge.list_commands(click.Context(forge)):
        found = forge.get_command(click.Context(forge), name)
        names += [f"{name} {sub}" for sub in found.commands] if isinstance(found, click.Group) else [name]
    return names


def chat_templates() -> str:
    """Our own chat templates with what they write."""
    escaped = {name: templates.summary(name).replace("|", "\\|") for name in templates.names()}
    lines = [f"| `{name}` | {summary} |" for name, summary in escaped.items()]
    return "| `chat:` | writes |\n|---|---|\n" + "\n".join(lines) + "\n"


def task_templates() -> str:
    """The tasks that there are words for, with the fields that the words are about."""
    lines = []
    for task, (languages, names) in words.overview().items():
        fields = sorted({field for path in words.builtin().glob(f"{task}/*.jinja") for field in _fields(path)})
        listed = (", ".join(f"`{name}`" for name in group) for group in (fields, names, languages))
        lines.append(f"| `{task}` | {' | '.join(listed)} |")
    return "| task | fields | phrasings | languages |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"


def _fields(path: Path) -> set[str]:
    environment = jinja2.Environment()
    environment.filters.update(dict.fromkeys(("word", "lettered", "letter_in", "tagged"), str))
    return meta.find_undeclared_variables(environment.parse(path.read_text(encoding="utf-8"))) - {"options"}


def bench(name: str, section: str | None = None) -> str:
    """A section of a benchmark's table as the command that made it wrote it; the first one if none is named."""
    text = (Path(__file__).parent / "bench" / name).read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in text[2:].split("\n## ")}
    return (sections[section] if section else next(iter(sections.values()))) + "\n"


def sources() -> str:
    """The sources with what they read, a record of theirs, and the least that a recipe says."""
    lines = [
        f"| `{name}` | {components.summary('sources', name)} | {_sample(name)} | `{_least(name)}` |"
        for name in components.names("sources")
    ]
    return "| `use:` | reads | such as | in a recipe |\n|---|---|---|---|\n" + "\n".join(lines) + "\n"


def _sample(name: str) -> str:
    """The first record in the docstring of a source, or nothing."""
    doc = importlib.import_module(f"dataforge.sources.{name}").__doc__ or ""
    found = next((part for part in doc.split("\n\n") if part.lstrip().startswith("{")), "")
    text = " ".join(found.split("\n    {")[0].split()).replace("|", "\\|")
    return f"`{text}`" if text else ""


def _least(name: str) -> str:
    """The item that a source's docstring shows for `sources:`, else the keys that a recipe must give."""
    doc = importlib.import_module(f"dataforge.sources.{name}").__doc__ or ""
    shown = next((part for part in doc.split("\n\n") if part.lstrip().startswith("- use:")), None)
    if shown is not None:
        lines = (re.sub(r"\s+#.*", "", line).strip().removeprefix("- ") for line in shown.strip().splitlines())
        return f"{{{', '.join(lines)}}}".replace("|", "\\|")
    fields = components.source(name).Settings.model_fields
    needed = "".join(f", {key}: ..." for key, field in fields.items() if field.is_required())
    return f"{{use: {name}, path: FILE{needed}}}"


def recipes() -> str:
    """The samples' recipes with what each shows: the first paragraph of its comments."""
    lines = []
    for path in sorted((Path(__file__).parent.parent / "samples" / "recipes").glob("*.yaml")):
        said = itertools.takewhile(lambda line: line.strip("# "), path.read_text(encoding="utf-8").splitlines())
        text = " ".join(line.strip("# ") for line in said).rstrip(":.")
        lines.append(f"| `{path.name}` | {text}. |")
    return "| `samples/recipes/` | shows |\n|---|---|\n" + "\n".join(lines) + "\n"


def formats() -> str:
    """The formats of files with what they read, and the endings of names that mean them."""
    lines = [
        f"| `{name}` | {components.summary('formats', name)} | {' '.join(components.format_(name).SUFFIXES)} |"
        for name in components.names("formats")
    ]
    return "| `format:` | reads | files named |\n|---|---|---|\n" + "\n".join(lines) + "\n"


def steps() -> str:
    """The steps with what they do."""
    lines = [f"| `{name}` | {components.summary('steps', name)} |" for name in components.names("steps")]
    return "| `use:` | does |\n|---|---|\n" + "\n".join(lines) + "\n"


def source_keys() -> str:
    """What each source may be told beside what all are."""
    settings = [(name, components.source(name).Settings) for name in components.names("sources")]
    return "".join(_keys(model, f"sources[].({name}).", header=False) for name, model in settings if model.model_fields)


def format_keys() -> str:
    """What each format may be told."""
    settings = [(name, components.format_(name).Settings) for name in components.names("formats")]
    return "".join(_keys(model, f"format.({name}).", header=False) for name, model in settings if model.model_fields)


def exports() -> str:
    """The export shapes with what they write."""
    lines = [f"| `{name}` | {components.summary('exports', name)} |" for name in components.names("exports")]
    return "| `--to` | writes |\n|---|---|\n" + "\n".join(lines) + "\n"


def step_keys() -> str:
    """What each step may be told."""
    names = components.names("steps")
    settings = [(name, components.step(name).Settings) for name in names]
    return "| key | default | what it says |\n|---|---|---|\n" + "".join(
        _nested_keys(model, f"steps[].({name}).") for name, model in settings
    )


def _nested_keys(model: type[Settings], prefix: str) -> str:
    """The keys of a model and of the models in it."""
    text = _keys(model, prefix, header=False)
    for name, field in model.model_fields.items():
        for kind in _models(field.annotation):
            dots = "[]." if get_origin(field.annotation) is list else "."
            text += _nested_keys(kind, f"{prefix}{name}{dots}")
    return text


def objective_table() -> str:
    """The objectives with what they eat."""
    lines = []
    for name in objectives.names():
        module = objectives.load(name)
        lines.append(f"| `{name}` | {module.EATS} | {(module.__doc__ or '').strip().splitlines()[0]} |")
    return "| `objective:` | shards | minimises |\n|---|---|---|\n" + "\n".join(lines) + "\n"


def data_keys() -> str:
    """The keys of a recipe's data half."""
    return _keys(Data) + _keys(SourceEntry, "sources[].", header=False) + _keys(Split, "split.", header=False)


def train_keys() -> str:
    """The keys of a recipe's `train:` half."""
    return _keys(Train, "train.") + _keys(LoraAdapter, "train.adapter.", header=False)


def _keys(model: type[Settings], prefix: str = "", *, header: bool = True) -> str:
    lines = ["| key | default | what it says |", "|---|---|---|"] if header else []
    for name, field in model.model_fields.items():
        if _is_model(field.annotation):
            continue
        default = "required" if field.is_required() else f"`{_written(field.get_default(call_default_factory=True))}`"
        lines.append(f"| `{prefix}{name}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def _is_model(annotation: object) -> bool:
    return bool(_models(annotation))


def _models(annotation: object) -> list[type[Settings]]:
    kinds = (annotation, *get_args(annotation))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)]


def _written(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
