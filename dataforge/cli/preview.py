"""`forge preview`: what a model will be trained on."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dataforge.preview import Preview, ShownRow


@click.command(short_help="Show the first records with their trained tokens marked.")
@click.argument("target", metavar="RECIPE_OR_BUILD", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option("-n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="How many records.")
@click.option("--record", help="Show the record with this id.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(target: Path, overrides: tuple[str, ...], count: int, record: str | None, as_json: bool) -> None:
    """Show the first records of a recipe or a build as the model will see them, ⟦trained tokens⟧ marked.

    Of a recipe, the first 200 records of each source are run through the real line, and nothing is written.
    """
    from dataforge import config, preview

    if target.is_dir():
        if overrides:
            raise click.UsageError("a build stands as it is; overrides go with a recipe")
        shown = preview.of_build(target, count, record)
    else:
        shown = preview.of_recipe(config.load(target, overrides), count, record)
    if as_json:
        click.echo(json.dumps(asdict(shown), ensure_ascii=False))
    else:
        _print(shown)


def _print(shown: "Preview") -> None:
    for item in shown.shown:
        click.secho(f"── {item.place}  (record {item.id})", bold=True)
        for row in item.rows:
            _print_row(row, shown.stop_tokens)
    click.echo(f"{shown.note}; ⟦…⟧ is what the model is trained to write, through its stop token")
    if shown.rejects:
        click.echo(f"rejected: {len(shown.rejects)}, the first of them:")
        for reject in shown.rejects[:5]:
            place = f"{reject.origin.file}:{reject.origin.line}"
            click.echo(f"  {place}: {reject.stage}/{reject.reason}: {_visible(reject.detail)}")


def _print_row(row: "ShownRow", stop_tokens: tuple[str, ...]) -> None:
    text = ""
    for run in row.runs:
        shown = _visible(run.text)
        text += click.style(f"⟦{shown}⟧", fg="green", underline=True) if run.trained else click.style(shown, dim=True)
    click.echo(text.rstrip("\n"))
    click.echo(f"   {row.tokens} tokens, {row.trained_tokens} trained; stops on {' '.join(stop_tokens)}")


def _visible(text: str) -> str:
    """The text with characters that would steer a terminal written out."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)
