"""The command line: one module a command, found by its file name and loaded when called.

Exit codes: 0 done; 1 done, but what was checked does not hold; 2 the user's to mend, one line on stderr;
70 anything unexpected, with its traceback; 130 interrupted.
"""

import difflib
import importlib
import pkgutil
import sys
import traceback

import click

from dataforge.errors import ForgeError


class _Commands(click.Group):
    """The commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            raise click.UsageError(f"there is no command {cmd_name!r}; {_nearest(cmd_name, self.list_commands(ctx))}")
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dataforge", prog_name="forge")
def forge() -> None:
    """Build certified training data, see what will be trained, train an adapter, talk to it."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = forge.main(arguments, prog_name="forge", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message())
        return 0
    except click.ClickException as error:
        click.echo(f"error: {_one_line(error.format_message())}", err=True)
        return 2
    except ForgeError as error:
        click.echo(f"error: {_one_line(str(error))}", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt) as error:
        stopped = str(error.__cause__ or error) or "nothing half done is left behind"
        click.echo(f"interrupted: {_one_line(stopped)}; the same command goes on from there", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception:
        traceback.print_exc()
        return 70
    return result if isinstance(result, int) else 0


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else "`forge --help` lists them"


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))
