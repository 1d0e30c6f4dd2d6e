"""``cryotx job``: cryotx as a job of another program, by the rules of that program."""

import typer

from cryotx_cli.cli.help import Command, Group
from cryotx_cli.cli.job_cryosparc import cryosparc
from cryotx_cli.cli.job_relion import relion
from cryotx_cli.cli.job_relion_classes import relion_classes
from cryotx_cli.cli.job_relion_train import relion_train
from cryotx_cli.cli.relion_command import RelionCommand

job = typer.Typer(
    cls=Group, no_args_is_help=True, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)


@job.callback()
def _job() -> None:
    """Run as a job of RELION or CryoSPARC."""


for command in (relion, relion_classes, relion_train):
    job.command(cls=RelionCommand)(command)
job.command(cls=Command)(cryosparc)
