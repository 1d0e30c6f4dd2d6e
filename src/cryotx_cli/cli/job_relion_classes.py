"""``cryotx job relion-classes``: class averages as an External job of RELION."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryotx_cli.cli.relion_command import JobFolder, PipelineControl, Threads
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import ClassesConfig


@settings_flags(ClassesConfig)
def relion_classes(
    out: JobFolder,
    config: ClassesConfig,
    in_coords: Annotated[
        Path | None,
        typer.Option(
            "--in_coords", metavar="STAR", help="Coordinates of a job that cryotx picked.", rich_help_panel="Input"
        ),
    ] = None,
    threads: Threads = None,
    pipeline_control: PipelineControl = None,
) -> None:
    """Average picks in classes as a job of RELION.

    Examples
    --------
    cryotx job relion-classes --in_coords J/job004/autopick.star --o J/job005/
    cryotx job relion-classes --in_coords autopick.star --o J/job005/ --j 8
    """
    from cryotx_cli.cli.classes import print_summary

    typer.echo("Sorting the picks of the job into classes")
    from cryotx_cli.workflows.classes import classes
    from cryotx_cli.workflows.job_relion import use_threads
    from cryotx_cli.workflows.job_relion_classes import finish_classes, run_to_average

    run = run_to_average(in_coords)
    if threads:
        use_threads(threads)
    made = classes(run, config, lambda event: typer.echo(event.text))
    finish_classes(out, made.folder, made.rows)
    print_summary(made)
