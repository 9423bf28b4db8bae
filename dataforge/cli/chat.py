"""`forge chat`: talk to a trained adapter."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trainkit.assistant import Assistant

Messages = list[dict[str, str]]

LONGEST_ANSWER = 512
"""Tokens."""


@click.command(short_help="Talk to a trained adapter.")
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="Answer this and leave; may be given again.")
@click.option("--base", "beside", is_flag=True, help="Show the untuned model's answer too.")
@click.option("--system", metavar="TEXT", help="The system message; the template's own if not given.")
def command(adapter: Path, prompts: tuple[str, ...], beside: bool, system: str | None) -> None:
    """Talk to the model in the folder ADAPTER.

    /reset forgets the conversation, /exit or the end of input leaves, Ctrl-C stops an answer.
    """
    from dataforge.bases import resolve
    from trainkit.adapters import read_card
    from trainkit.assistant import open_assistant

    assistant = open_assistant(adapter, resolve(read_card(adapter).base))
    speakers = ("base", "tuned") if beside else ("tuned",)
    if prompts:
        for prompt in prompts:
            click.echo(f"you> {prompt}")
            _Talk(assistant, speakers, system).answer(prompt)
    else:
        _converse(_Talk(assistant, speakers, system))


class _Talk:
    """A conversation, of each speaker with its own answers."""

    def __init__(self, assistant: "Assistant", speakers: tuple[str, ...], system: str | None) -> None:
        self._assistant = assistant
        self._start: Messages = [] if system is None else [{"role": "system", "content": system}]
        self._histories: dict[str, Messages] = {speaker: list(self._start) for speaker in speakers}

    def reset(self) -> None:
        self._histories = {speaker: list(self._start) for speaker in self._histories}

    def answer(self, text: str) -> None:
        """Print each speaker's answer as it comes; what was said until Ctrl-C stays in the conversation."""
        for speaker, history in self._histories.items():
            said: list[str] = []
            asked = [*history, {"role": "user", "content": text}]
            click.echo(f"{speaker}> ", nl=False)
            try:
                for piece in self._assistant.stream(asked, LONGEST_ANSWER, tuned=speaker == "tuned"):
                    said.append(piece)
                    click.echo(piece, nl=False)
                    sys.stdout.flush()
            finally:
                click.echo()
                if said:
                    history[:] = [*asked, {"role": "assistant", "content": "".join(said)}]


def _converse(talk: _Talk) -> None:
    from dataforge.errors import InputError

    if sys.stdin.isatty():
        click.echo("/reset forgets the conversation, /exit leaves, Ctrl-C stops an answer")
    for line in _lines():
        text = line.strip()
        if text == "/exit":
            return
        if text == "/reset":
            talk.reset()
            click.echo("(a new conversation)")
        elif text:
            try:
                talk.answer(text)
            except KeyboardInterrupt:
                click.echo("(stopped)")
            except InputError as error:
                click.echo(f"({error})")


def _lines() -> Iterator[str]:
    """Lines as they are typed, until the end of input."""
    prompt = ""
    if sys.stdin.isatty():
        importlib.import_module("readline")  # makes input() editable
        prompt = "you> "
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            click.echo("\n(/exit leaves)")
        except EOFError:
            click.echo()
            return
