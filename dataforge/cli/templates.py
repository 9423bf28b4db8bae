"""`forge templates`: what chat templates do."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dataforge.template_check import Report


@click.group(short_help="Check what a chat template makes of conversations.")
def command() -> None:
    """Look into chat templates: the tokenizer's, the project's own, or a file."""


@command.command(short_help="Say for each shape of conversation whether its mask can be proven.")
@click.argument("template", metavar="FILE_OR_NAME")
@click.argument("kwargs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--tokenizer", required=True, help="A bundled name, a folder or a hub id.")
@click.option("--write-empty", is_flag=True, help="As with `reasoning: write_empty` in a recipe.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def check(template: str, kwargs: tuple[str, ...], tokenizer: str, write_empty: bool, as_json: bool) -> int:
    """Certify one conversation of each shape under a chat template, and say which rows it takes.

    FILE_OR_NAME is the path of a .jinja file, a name that `forge list` shows, or `tokenizer` for the template that
    the tokenizer carries. KEY=VALUE are given to the template, such as enable_thinking=false.

    Exit code 1 if a conversation that the template renders has no provable mask.
    """
    import datetime

    from dataforge import template_check
    from dataforge.bases import load_tokenizer
    from dataforge.chat_format import ChatFormat

    format_ = ChatFormat(
        load_tokenizer(tokenizer),
        template,
        Path(),
        date=datetime.date(2026, 1, 1),
        kwargs=dict(_pair(text) for text in kwargs),
        reasoning="write_empty" if write_empty else "keep",
        missing_tokens="as_text",
        lawful=False,
    )
    report = template_check.check(format_)
    if as_json:
        click.echo(json.dumps({**asdict(report), "holds": report.holds}, ensure_ascii=False))
    else:
        _print(report)
    return 0 if report.holds else 1


def _pair(text: str) -> tuple[str, Any]:
    from ruamel.yaml import YAML

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"{text!r} is not of the form KEY=VALUE")
    return key, YAML(typ="safe").load(value)


def _print(report: "Report") -> None:
    click.echo(f"{report.template} on {report.tokenizer}")
    click.echo(f"  stop     {', '.join(f'{token} ({number})' for token, number in report.stop_tokens.items())}")
    if report.missing:
        click.echo(f"  missing  {' '.join(report.missing)}: no control tokens of this tokenizer, written as text")
    way = "one rendering serves all prompts" if report.left_to_right else "each prompt is rendered"
    click.echo(f"  renders  {way}")
    for law, detail in report.laws.items():
        click.echo(f"  law      {law}: {'holds' if detail is None else f'broken: {detail}'}")
    for shape in report.shapes:
        outcome = f"{shape.forked} of {shape.turns} turns forked" if shape.forked else shape.outcome
        tokens = f"{shape.tokens} tokens" if shape.tokens else ""
        tokens += f", {shape.overhead} more than in one row" if shape.overhead else ""
        click.echo(f"  {shape.name:26}{outcome:24}{tokens}")
        if shape.detail:
            click.echo(f"      {': '.join(part for part in (shape.reason, shape.detail) if part)}")
