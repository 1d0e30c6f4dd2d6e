"""``cryotx job relion``: picking as an External job of RELION."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from cryotx_cli.cli.help import Command
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import PickConfig
from cryotx_cli.hosts.relion_marks import failure_marked, marked


class RelionCommand(Command):
    """A command that marks in the folder of its job how it has ended, wrong usage included."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the flags."""
        with failure_marked(_folder_in(args)):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Do the job."""
        with marked(ctx.params["out"]):
            return super().invoke(ctx)


def _folder_in(args: list[str]) -> Path:
    return next((Path(after) for flag, after in pairwise(args) if flag == "--o"), Path("/dev/null"))


@settings_flags(PickConfig)
def relion(
    out: Annotated[
        Path,
        typer.Option("--o", metavar="DIR", help="Folder of the job, as RELION names it.", rich_help_panel="Output"),
    ],
    mics: Annotated[
        Path,
        typer.Option(
            "--in_mics", metavar="STAR", help="STAR file of the micrographs to pick.", rich_help_panel="Input"
        ),
    ],
    config: PickConfig,
) -> None:
    """Pick as an External job of RELION: started, stopped and shown by it.

    Examples
    --------
    cryotx job relion --in_mics CtfFind/job003/mics.star --o External/job004/
    cryotx job relion --in_mics mics.star --o External/job004/ --diameter 160
    """
    from cryotx_cli.workflows.job_relion import run_of_job
    from cryotx_cli.workflows.pick import start_pick

    for result in start_pick([str(mics)], run_of_job(out), config, tell=lambda event: typer.echo(event.text)):
        typer.echo(result.error or f"{result.file.name}: {len(result.particles or ())} picks")
