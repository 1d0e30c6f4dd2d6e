"""``cryotx job relion``: picking as an External job of RELION."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.relion_command import Gpu, JobFolder, Micrographs, PipelineControl, Threads
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import PickConfig
from cryotx_cli.surroundings import require_memory

if TYPE_CHECKING:
    from cryotx_cli.runs.result import PickSummary
    from cryotx_cli.workflows.pick import PickRun


@settings_flags(PickConfig, without=("watch", "stop_after"))
def relion(
    out: JobFolder,
    config: PickConfig,
    in_mics: Micrographs = None,
    in_parts: Annotated[
        Path | None,
        typer.Option(
            "--in_parts",
            metavar="STAR",
            help="Particles STAR file: pick the micrographs that they come from.",
            rich_help_panel="Input",
        ),
    ] = None,
    gpu: Gpu = None,
    threads: Threads = None,
    pipeline_control: PipelineControl = None,
) -> None:
    """Pick as an External job of RELION.

    Examples
    --------
    cryotx job relion --in_mics CtfFind/job003/mics.star --o External/job004/
    cryotx job relion --in_mics mics.star --o External/job004/ --diameter 160
    """
    from cryotx_cli.cli.console import progress, typed
    from cryotx_cli.runs.start import note_start

    require_memory()
    typer.echo("Loading the model and looking at the micrographs")
    from cryotx_cli.workflows.job_relion import RelionJob, settings_of_job, use_threads
    from cryotx_cli.workflows.pick import start_pick

    config = settings_of_job(config, {"--in_mics": in_mics, "--in_parts": in_parts}, gpu)
    if threads:
        use_threads(threads)
    given = in_mics or in_parts
    assert given is not None  # or the settings would have been refused
    job = RelionJob(out, given)
    run = start_pick([str(given)], job.star, config, tell=lambda event: typer.echo(event.text))
    note_start(run.summary.folder, typed(), anew=config.restart)
    typer.echo(_opening(run, config))
    try:
        with progress(len(run), "micrographs", say=typer.echo) as bar:
            for result in run:
                if result.error:
                    typer.echo(f"Skipped {result.error}", err=True)
                bar.advance(earlier=result.resumed)
    finally:
        job.lay_out()
    job.finish(run.summary, run.diameter, typer.echo)
    for line in _closing(run.summary):
        typer.echo(line)


def _opening(run: PickRun, config: PickConfig) -> str:
    from cryotx_cli.wording import counted

    numbers = "" if config.precision == "float32" else f" in {config.precision}"
    measured = f"estimated: {run.estimate}" if run.estimate else "as given"
    return (
        f"{counted(len(run), 'micrographs')}, weights {config.weights}, on {run.device}{numbers}; particle diameter "
        f"{run.diameter:.0f} Å ({measured})"
    )


def _closing(summary: PickSummary) -> list[str]:
    from cryotx_cli.cli.console import expected_false
    from cryotx_cli.wording import counted

    return [
        f"{counted(summary.particles, 'picks')} on {counted(summary.micrographs, 'micrographs')}",
        *(f"{name}: {value}" for name, value in expected_false(summary.expected_false, summary.particles)),
        *([f"Side of a box to extract: {summary.box} px"] if summary.box else []),
        *([f"Skipped: {len(summary.skipped)}; run.err says why"] if summary.skipped else []),
        *([f"Class averages: {summary.classes}"] if summary.classes else []),
        *([f"The whole run in one page: {summary.report}"] if summary.report else []),
    ]
