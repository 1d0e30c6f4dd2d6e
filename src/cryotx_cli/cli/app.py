"""The ``cryotx`` command: its sub-commands, its exit codes and the only ``except``.

Exit codes are those of `exit_codes`.
"""

import sys
import traceback
from copy import copy
from typing import Annotated, Any

import typer

from cryotx_cli.cli.aliases import hint_for
from cryotx_cli.cli.check import check
from cryotx_cli.cli.classes import classes
from cryotx_cli.cli.convert import convert
from cryotx_cli.cli.denoise import denoise
from cryotx_cli.cli.doctor import doctor
from cryotx_cli.cli.evaluate import evaluate
from cryotx_cli.cli.exit_codes import exit_code_of
from cryotx_cli.cli.help import Command, Group
from cryotx_cli.cli.job import job
from cryotx_cli.cli.make_coco import make_coco
from cryotx_cli.cli.pick import pick
from cryotx_cli.cli.review import review
from cryotx_cli.cli.signals import Terminated
from cryotx_cli.cli.simulate import simulate
from cryotx_cli.cli.threshold import threshold
from cryotx_cli.cli.train import train
from cryotx_cli.errors import CryotxError
from cryotx_cli.loading import leave_garbage
from cryotx_cli.streams import Streams, steady_streams
from cryotx_cli.surroundings import explained, require_working_folder

_AFTER_INTERRUPT = {
    "pick": ": the same command goes on where it stopped.",
    "make-coco": ": the same command goes on where it stopped.",
    "train": ": the same command with --resume goes on from the state that was saved last.",
}
_PRINTING = ("check", "evaluate", "doctor")
"""Commands whose result stands on standard output; that of all others is in files."""


class _Commands(Group):
    """Turns errors that a user can repair into one line and an exit code; anything else is a bug and shows as one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # `cryotx pick ... --debug` is how people add it to a command that just failed.
        if "--debug" in args:
            args = ["--debug", *(argument for argument in args if argument != "--debug")]
        # `cryotx help pick` is how people ask other programs.
        plain = [argument for argument in args if argument != "--debug"]
        if plain[:1] == ["help"]:
            args = [*plain[1:], "--help"]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            require_working_folder()
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            how = "Terminated" if isinstance(interrupt, Terminated) else "Interrupted"
            typer.echo(f"{how}{_AFTER_INTERRUPT.get(ctx.invoked_subcommand, '.')}", err=True)
            raise typer.Exit(exit_code_of(interrupt)) from interrupt
        except Exception as exception:
            _add_hint(exception)
            error = explained(exception)
            if error is None:
                raise
            if ctx.params["debug"]:
                traceback.print_exc()
            _show(error)
            raise typer.Exit(exit_code_of(error)) from exception


def _add_hint(exception: Any) -> None:
    """Let Typer's error about an unknown flag say how it is called here, where that is known, and leave out jargon."""
    if isinstance(getattr(exception, "message", None), str):
        exception.message = exception.message.removeprefix("Value error, ")
    context = getattr(exception, "ctx", None)
    hint = hint_for(exception.option_name, context.command) if context and hasattr(exception, "option_name") else ""
    if hint:
        exception.message, exception.possibilities = f"{exception.message}. {hint}", None


def _show(error: CryotxError) -> None:
    typer.secho(f"Error: {error.message}", fg=typer.colors.RED, err=True)
    if error.hint:
        typer.echo(error.hint, err=True)


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
        from cryotx_cli.version import __version__

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


for command in (
    pick,
    review,
    threshold,
    classes,
    check,
    convert,
    evaluate,
    denoise,
    make_coco,
    simulate,
    train,
    doctor,
):
    app.command(cls=Command)(command)
app.add_typer(job, name="job")


def _with_command(typed: list[str]) -> typer.Typer:
    """Return the app with the command alone that is typed first: Typer would make the flags of all of them."""
    if not {_name(one) for one in (*app.registered_commands, *app.registered_groups)} & set(typed):
        return app  # help, a switch or a mistake
    alone = copy(app)
    alone.registered_commands = [one for one in app.registered_commands if _name(one) in typed]
    alone.registered_groups = [one for one in app.registered_groups if _name(one) in typed]
    return alone


def _name(registered: Any) -> str:
    return str(registered.name or registered.callback.__name__.replace("_", "-"))


def main(streams: Streams | None = None) -> None:
    """Run the command line, and end the process with its exit code."""
    streams = streams or steady_streams()
    code: Any = 0
    try:
        _with_command(sys.argv[1:2])(prog_name="cryotx")
    except SystemExit as ended:
        code = ended.code
    except Exception as exception:  # Typer itself loads libraries while it reads flags
        error = explained(exception)
        if error is None:
            raise
        _show(error)
        code = 1
    complaint = streams.complaint()
    if complaint:
        typer.echo(complaint, err=True)
    if code in (0, None) and streams.lost and sys.argv[1:2] and sys.argv[1] in _PRINTING:
        code = 1
    leave_garbage()
    sys.exit(code)
