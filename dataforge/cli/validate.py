"""`forge validate`: is this recipe, or this build, what it says?"""

import json
from pathlib import Path

import click


@click.command(short_help="Check a recipe, or a build against its manifest.")
@click.argument("target", metavar="RECIPE_OR_BUILD", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(target: Path, as_json: bool) -> int:
    """Check a recipe file, or every checksum, count and sum of a build folder.

    Exit code 1 if a build is not what its manifest says.
    """
    faults = _build_faults(target) if target.is_dir() else _check_recipe(target)
    if as_json:
        click.echo(json.dumps({"holds": not faults, "faults": faults}, ensure_ascii=False))
    else:
        for fault in faults:
            click.echo(fault)
        click.echo(f"{target}: {len(faults)} faults; build again" if faults else f"{target}: holds")
    return 1 if faults else 0


def _build_faults(folder: Path) -> list[str]:
    from dataforge import check

    return list(check.faults(folder))


def _check_recipe(path: Path) -> list[str]:
    from dataforge import config, recipe
    from dataforge.line import Line
    from trainkit.config import stages

    document = config.load(path)
    Line(recipe.read(document)).ready()
    if "train" in document.data:
        stages(document)
    return []
