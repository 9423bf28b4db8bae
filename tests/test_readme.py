"""Every command that the README prints is one that the command line takes."""

import re
import shlex
from pathlib import Path

import click
import pytest

from dataforge.cli import forge

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PRINTED = sorted({line[2:].partition("  #")[0] for line in re.findall(r"^\$ forge .*", README, re.M)})


@pytest.mark.parametrize("line", PRINTED)
def test_a_printed_command_parses(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = forge.get_command(click.Context(forge), name)
    assert command is not None
    if isinstance(command, click.Group) and arguments[:1] != ["--help"]:
        command, arguments = command.commands[arguments[0]], arguments[1:]
    try:
        command.make_context(name, arguments)
    except click.exceptions.Exit as left:
        assert left.exit_code == 0


@pytest.mark.parametrize("path", sorted(set(re.findall(r"samples/[\w./-]+", README))))
def test_a_named_sample_is_there(path: str) -> None:
    assert (ROOT / path).exists()
