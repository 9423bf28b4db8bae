"""What commands ask their user, and how a size is said."""

import re
import sys

import click

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Size(click.ParamType[int]):
    """Bytes, as in `20GB`."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A number of bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", str(value).strip(), re.IGNORECASE)
        if not found:
            self.fail(f"{value!r} is not a size; write it like 20GB or 500MB", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].upper()])


def agreed(sentence: str) -> None:
    """Say what will be done."""
    click.echo(sentence, err=True)


def confirm(sentence: str) -> None:
    """Have it confirmed on a terminal; elsewhere nobody can. Raises `BuildError` where it may not be done."""
    from dataforge.errors import BuildError

    if not sys.stdin.isatty():
        raise BuildError(f"{sentence}; say --yes to have it done")
    if not click.confirm(f"{sentence}. Go on?", err=True):
        raise BuildError("nothing was done")
