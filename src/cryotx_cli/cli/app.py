"""The ``cryotx`` command: its sub-commands, its exit codes and the only ``except``.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 finished but some micrographs were skipped, 130 interrupted.
"""

import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cryotx_cli.cli.check import check
from cryotx_cli.cli.convert import convert
from cryotx_cli.cli.denoise import denoise
from cryotx_cli.cli.doctor import doctor
from cryotx_cli.cli.evaluate import evaluate
from cryotx_cli.cli.help import Command
from cryotx_cli.cli.make_coco import make_coco
from cryotx_cli.cli.pick import pick
from cryotx_cli.cli.simulate import simulate
from cryotx_cli.cli.threshold import threshold
from cryotx_cli.cli.train import train
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.version import __version__


class _Commands(TyperGroup):
    """Turns errors that a user can repair into one line and an exit code; anything else is a bug and shows as one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # `cryotx pick ... --debug` is how people add it to a command that just failed.
        if "--debug" in args:
            args = ["--debug", *(argument for argument in args if argument != "--debug")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CryotxError as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            typer.secho(f"Error: {error.message}", fg=typer.colors.RED, err=True)
            if error.hint:
                typer.echo(error.hint, err=True)
            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
        except KeyboardInterrupt as interrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from interrupt


app = typer.Typer(
    name="cryotx",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich alone takes half of the time that --help may take
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cryotx {__version__}")
        raise typer.Exit


@app.callback()
def cryotx(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Find particles in cryo-EM micrographs."""


for command in (pick, threshold, check, convert, evaluate, denoise, make_coco, simulate, train, doctor):
    app.command(cls=Command)(command)


def main() -> None:
    """Run the command line; the entry point of ``cryotx`` and ``python -m cryotx_cli``."""
    app(prog_name="cryotx")
