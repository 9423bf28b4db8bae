"""`forge validate`: is this recipe, or this build, what it says?"""

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dataforge.deep import Proof

FAULTS_SHOWN = 20


@click.command(short_help="Check a recipe, or a build against its manifest.")
@click.argument("target", metavar="RECIPE_OR_BUILD", type=click.Path(path_type=Path))
@click.option("--deep", is_flag=True, help="Encode the records of a build again and compare every row.")
@click.option("--sample", type=click.IntRange(min=1), help="With --deep, so many records, drawn by the build's seed.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(target: Path, deep: bool, sample: int | None, as_json: bool) -> int:
    """Check a recipe file, or every checksum, count and sum of a build folder.

    With --deep, the records of a build are rendered and encoded again, with the template and the settings of its
    manifest: ids and masks must be those of the shards, and the shards must decode to what was rendered. That needs the
    build's tokenizer, and neither its sources nor its recipe.

    Exit code 1 if a build is not what its manifest says.
    """
    if sample is not None and not deep:
        raise click.UsageError("--sample goes with --deep")
    if target.is_dir():
        faults, more = _build_faults(target)
    elif deep:
        raise click.UsageError(f"{target}: is no build; --deep goes with a build folder")
    else:
        faults, more = _check_recipe(target), 0
    proof = _proof(target, sample) if deep and not faults else None
    if proof is not None:
        faults, more = proof.faults, proof.more
    if as_json:
        found = {"holds": not faults, "faults": faults, "more_faults": more, "deep": proof and _counts(proof)}
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        for fault in faults:
            click.echo(fault)
        if more:
            click.echo(f"and {more:,} more")
        if deep and proof is None:
            click.echo("the records were not encoded again: what they are checked against does not hold")
        if proof is not None:
            _print(proof)
        click.echo(f"{target}: {len(faults) + more:,} faults; build again" if faults else f"{target}: holds")
    return 1 if faults else 0


def _build_faults(folder: Path) -> tuple[list[str], int]:
    from dataforge import check

    found = check.faults(folder)
    shown = list(itertools.islice(found, FAULTS_SHOWN))
    return shown, sum(1 for _ in found)


def _proof(folder: Path, sample: int | None) -> "Proof":
    from dataforge import deep

    return deep.prove(folder, sample, FAULTS_SHOWN)


def _counts(proof: "Proof") -> dict[str, object]:
    return {
        "records": proof.records,
        "rows": proof.rows,
        "decoded": proof.decoded,
        "undecoded": proof.undecoded,
    }


def _print(proof: "Proof") -> None:
    click.echo(
        f"{proof.records:,} records encoded again, {proof.rows:,} rows of them in the shards; "
        f"{proof.decoded:,} rows decode to what was rendered"
    )
    for why, count in proof.undecoded.items():
        click.echo(f"{count:,} rows cannot be shown to decode to what was rendered: {why}")


def _check_recipe(path: Path) -> list[str]:
    from dataforge import config, recipe
    from dataforge.line import Line
    from trainkit.config import stages

    document = config.load(path)
    Line(recipe.read(document)).ready()
    if "train" in document.data:
        stages(document)
    return []
