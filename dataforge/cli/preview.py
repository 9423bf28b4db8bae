"""`forge preview`: what a model will be trained on."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dataforge.preview import Preview, Shown, ShownRow

REJECTS_SHOWN = 5


@click.command(short_help="Show the first records with their trained tokens marked.")
@click.argument("target", metavar="RECIPE_OR_BUILD", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option("-n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="How many records.")
@click.option("--record", help="Show the record with this id, kept or rejected.")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one self-contained page, with token ids and the lengths of all rows.",
)
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(
    target: Path, overrides: tuple[str, ...], count: int, record: str | None, page: Path | None, as_json: bool
) -> None:
    """Show the first records of a recipe or a build as the model will see them, ⟦trained tokens⟧ marked.

    Of a recipe, the first 200 records of each source are run through the real line, and nothing is written.
    """
    import orjson

    from dataforge import config, preview, preview_page

    if target.is_dir():
        if overrides:
            raise click.UsageError("a build stands as it is; overrides go with a recipe")
        shown = preview.of_build(target, count, record)
    else:
        shown = preview.of_recipe(config.load(target, overrides), count, record)
    if page is not None:
        try:
            page.write_text(preview_page.page(shown), encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"{page}: cannot be written ({error.strerror}); name another file") from None
    if as_json:
        click.echo(orjson.dumps(shown, default=lambda part: part.model_dump()))
    else:
        _print(shown)
        if page is not None:
            click.echo(f"the same with token ids: {page}")


def _print(shown: "Preview") -> None:
    for item in shown.shown:
        _print_record(item)
    click.echo(f"{shown.note}; ⟦…⟧ is what the model is trained to write, ■ its stop ({' '.join(shown.stop_tokens)})")
    turns = shown.turns
    click.echo(f"turns: {turns.certified:,} certified in one row, {turns.forked:,} in rows of their own", nl=False)
    click.echo(f" ({turns.fork_tokens:,} tokens), {turns.refused:,} records refused")
    if shown.rejects:
        click.echo(f"rejected: {len(shown.rejects)}, the first of them:")
        for reject in shown.rejects[:REJECTS_SHOWN]:
            click.echo(f"  {reject.place}: {reject.reason}: {_visible(reject.detail)}")


def _print_record(item: "Shown") -> None:
    click.secho(f"── {item.place}  (record {item.id})", bold=True)
    for message in item.messages:
        first, *more = _visible(message.text).split("\n")
        click.echo(f"   {message.role:9} {'▸' if message.trained else ' '} {first}{' …' if more else ''}")
    for number, row in enumerate(item.rows, start=1):
        several = f"row {number} of {len(item.rows)}: " if len(item.rows) > 1 else ""
        click.secho(f"   {several}{len(row.tokens)} tokens, {row.trained} trained", fg="cyan")
        click.echo(_marked(row).rstrip("\n"))


def _marked(row: "ShownRow") -> str:
    text = ""
    for trained, tokens in groupby(row.tokens, key=lambda token: token.trained):
        run = list(tokens)
        if not trained:
            text += click.style(_visible("".join(token.text for token in run)), dim=True)
            continue
        shown = _visible("".join(token.text for token in run if not token.stop))
        stop = _visible("".join(token.text for token in run if token.stop))
        text += click.style(f"⟦{shown}", fg="green", underline=True)
        text += (click.style(f"{stop}■", fg="green", bold=True) if stop else "") + click.style("⟧", fg="green")
    return text


def _visible(text: str) -> str:
    """The text with characters that would steer a terminal written out."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)
