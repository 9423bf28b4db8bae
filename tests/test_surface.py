"""What users meet is written down: a new command or option is a decision, made here too."""

from pathlib import Path

import click
import pytest

from dataforge import components
from dataforge.cli import forge
from trainkit import objectives

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

OPTIONS = {
    "build": {"recipe", "overrides", "out", "workers", "engine", "work_limit", "explain", "yes", "as_json"},
    "cache": set(),
    "cache export": {"target", "model", "as_json"},
    "cache prune": {"model", "unused_days", "unusable", "to_size", "yes", "as_json"},
    "cache stats": {"as_json"},
    "chat": {"adapter", "prompts", "beside", "system"},
    "demo": set(),
    "export": {"build", "target", "out", "split", "lossy", "force", "push", "private", "as_json"},
    "eval": {"adapter", "questions", "as_json"},
    "list": {"as_json"},
    "preview": {"target", "overrides", "count", "record", "page", "as_json"},
    "templates": set(),
    "templates check": {"template", "kwargs", "tokenizer", "write_empty", "as_json"},
    "train": {"processes", "recipe", "overrides", "out", "plan", "as_json"},
    "init": {"place", "out", "as_json"},
    "validate": {"target", "as_json", "deep", "sample"},
}


def command(name: str) -> click.Command:
    found: click.Command = forge
    for part in name.split():
        assert isinstance(found, click.Group)
        sub = found.get_command(click.Context(found), part)
        assert sub is not None
        found = sub
    return found


def commands() -> list[str]:
    names = forge.list_commands(click.Context(forge))
    groups = [(name, group) for name in names if isinstance(group := command(name), click.Group)]
    return sorted([*names, *(f"{name} {sub}" for name, group in groups for sub in group.commands)])


COMMANDS = commands()


def test_the_commands_are_these() -> None:
    assert sorted(OPTIONS) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_of_a_command_are_these(name: str) -> None:
    assert {parameter.name for parameter in command(name).params} == OPTIONS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_explains_itself(name: str) -> None:
    found = command(name)
    assert found.help
    assert found.short_help
    for parameter in found.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"forge {name}" in README


@pytest.mark.parametrize(
    "name",
    [
        *components.names("sources"),
        *components.names("formats"),
        *components.names("steps"),
        *components.names("exports"),
        *objectives.names(),
    ],
)
def test_every_component_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README
