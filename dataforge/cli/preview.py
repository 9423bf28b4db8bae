"""`forge preview`: what a model will be trained on."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dataforge.preview import Preview, Shown

REJECTS_SHOWN = 5
_WIDE = 100
"""From so many columns on, two answers stand beside one another."""
_SIDES = ("chosen", "rejected")
_HOW_TO_READ = {
    "chat": "⟦…⟧ is what the model is trained to write, ■ its stop ({stops})",
    "pairs": "⟦…⟧ is what the model learns to prefer (chosen) or not (rejected), ■ its stop ({stops}), ⟪…⟫ where the "
    "two differ",
    "prompts": "all of it is given to the model, which writes the answer itself, up to a stop ({stops})",
}


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

    Of a pair, both answers stand side by side, and ⟪what differs⟫ is marked too. Of a recipe, the first 200 records of
    each source are run through the real line, and nothing is written.
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
    from dataforge.cli import _tokens

    for item in shown.shown:
        _print_record(item, shown.kind)
    click.echo(f"{shown.note}; {_HOW_TO_READ[shown.kind].format(stops=' '.join(shown.stop_tokens))}")
    turns = shown.turns
    if shown.kind == "pairs":
        click.echo(f"answers: {turns.certified:,} certified, two of each pair; {turns.refused:,} records refused")
    elif shown.kind == "chat":
        click.echo(f"turns: {turns.certified:,} certified in one row, {turns.forked:,} in rows of their own", nl=False)
        click.echo(f" ({turns.fork_tokens:,} tokens), {turns.refused:,} records refused")
    if shown.rejects:
        click.echo(f"rejected: {len(shown.rejects)}, the first of them:")
        for reject in shown.rejects[:REJECTS_SHOWN]:
            click.echo(f"  {reject.place}: {reject.reason}: {_tokens.visible(reject.detail)}")


def _print_record(item: "Shown", kind: str) -> None:
    from dataforge.cli import _tokens

    click.secho(f"── {_tokens.visible(item.place)}  (record {item.id})", bold=True)
    pair = kind == "pairs"
    for message in item.messages[: -len(_SIDES)] if pair else item.messages:
        first, *more = _tokens.visible(message.text).split("\n")
        click.echo(f"   {message.role:9} {'▸' if message.trained else ' '} {first}{' …' if more else ''}")
    if pair:
        _print_pair(item)
        return
    for number, row in enumerate(item.rows, start=1):
        several = f"row {number} of {len(item.rows)}: " if len(item.rows) > 1 else ""
        click.secho(f"   {several}{len(row.tokens)} tokens, {row.trained} trained", fg="cyan")
        click.echo(_tokens.styled(_tokens.pieces(row.tokens)).rstrip("\n"))


def _print_pair(item: "Shown") -> None:
    """The prompt once, and both answers beside one another where there is room, else under one another."""
    from dataforge.cli import _tokens

    if item.judged:
        click.echo(f"   {_tokens.visible(item.judged)}")
    prompt = [token for token in item.rows[0].tokens if not token.trained]
    click.secho(f"   prompt: {len(prompt)} tokens", fg="cyan")
    click.echo(_tokens.styled(_tokens.pieces(prompt)).rstrip("\n"))
    answers = [[token for token in row.tokens if token.trained] for row in item.rows]
    heads = [f"   {side}: {len(tokens)} tokens" for side, tokens in zip(_SIDES, answers, strict=True)]
    said = [_tokens.pieces(tokens, differing=True) for tokens in answers]
    width = shutil.get_terminal_size().columns
    if width >= _WIDE:
        for line in _tokens.beside(heads, said, width):
            click.echo(line)
        return
    for head, answer in zip(heads, said, strict=True):
        click.secho(head, fg="cyan")
        click.echo(_tokens.styled(answer).rstrip("\n"))
