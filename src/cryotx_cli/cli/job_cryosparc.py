"""``cryotx job cryosparc``: picking as an External job of CryoSPARC."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.exit_codes import DONE, SOME_SKIPPED
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.cli.signals import sigterm_interrupts
from cryotx_cli.config import PickConfig
from cryotx_cli.errors import ConfigError
from cryotx_cli.surroundings import require_memory

if TYPE_CHECKING:
    from cryotx_cli.runs.result import PickResult
    from cryotx_cli.workflows.job_cryosparc import CryosparcPick

_INPUT = "Input"


@settings_flags(PickConfig, without=("exposures", "watch", "stop_after"))
def cryosparc(
    project: Annotated[str, typer.Option(metavar="P1", help="Project of the job.", rich_help_panel=_INPUT)],
    config: PickConfig,
    workspace: Annotated[
        str | None, typer.Option(metavar="W1", help="Workspace of a new job.", rich_help_panel=_INPUT)
    ] = None,
    exposures: Annotated[
        str | None,
        typer.Option(
            metavar="J1:OUTPUT", help="Job and output whose exposures a new job picks.", rich_help_panel=_INPUT
        ),
    ] = None,
    job: Annotated[
        str | None, typer.Option(metavar="J2", help="Go on with this job of cryotx.", rich_help_panel=_INPUT)
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of the instance; unset: CRYOSPARC_BASE_URL, or host and port as cryosparc-tools reads them.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    email: Annotated[
        str | None,
        typer.Option(
            metavar="EMAIL",
            help="Whose login of cryosparc-tools to use; unset: CRYOSPARC_EMAIL, or the only one.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The project's folder on this machine, where it has another path than CryoSPARC knows.",
            rich_help_panel=_INPUT,
        ),
    ] = None,
) -> None:
    """Pick as an External job of CryoSPARC: shown, stopped and used there.

    Examples
    --------
    cryotx job cryosparc --project P3 --workspace W1 --exposures J12:exposures
    cryotx job cryosparc --project P3 --job J15 --diameter 160
    """
    from cryotx_cli.cli.console import status
    from cryotx_cli.workflows.job_cryosparc import start_job

    if job is None and not (workspace and exposures):
        raise ConfigError("--workspace and --exposures are missing", "Give both for a new job, or --job to go on.")
    if config.watch:
        raise ConfigError("watch = true does not go with a job of CryoSPARC", "Leave it out of the settings file.")
    require_memory()
    pick = start_job(project, workspace, exposures, job, folder, url, email, status)
    status(f"Job {project} {pick.job.uid}, in {pick.out.parent}")
    with sigterm_interrupts(), pick.job.running():
        code = _run(pick, config, project)
    if code != DONE:
        raise typer.Exit(code)


def _run(pick: CryosparcPick, config: PickConfig, project: str) -> int:
    """Pick, hand over what is found, and return the exit code."""
    from dataclasses import replace

    from cryotx_cli.cli.console import SECONDS_BETWEEN_LINES, duration, status, typed
    from cryotx_cli.events import Event
    from cryotx_cli.runs.start import note_start
    from cryotx_cli.wording import counted
    from cryotx_cli.workflows.job_cryosparc import hand_over
    from cryotx_cli.workflows.pick import start_pick

    def tell(event: Event) -> None:
        status(event.text)
        pick.job.log(event.text, "warning" if event.level == "warning" else "text")

    pick.job.log(f"{typed()}\nTo go on with it after a stop: the same with --job {pick.job.uid}")
    run = start_pick([pick.inputs], pick.out, replace(config, exposures=pick.inputs), tell=tell)
    note_start(run.summary.folder, typed(), anew=config.restart)
    pick.job.log(f"{counted(len(run), 'micrographs')} on {run.device}; particle diameter {run.diameter:.0f} Å")
    results: list[PickResult] = []
    started, next_line = time.monotonic(), 0.0
    for result in run:
        results.append(result)
        if result.error:
            tell(Event(f"Skipped {result.error}", "warning"))
        if time.monotonic() >= next_line or len(results) == len(run):
            next_line = time.monotonic() + SECONDS_BETWEEN_LINES
            done = f"{len(results)}/{len(run)} micrographs, {duration(time.monotonic() - started)}"
            status(done)
            pick.job.log(done, name="progress")
    summary = run.summary
    hand_over(pick, results, summary)
    false = f", {summary.expected_false:.0f} of them expected to be false" if summary.expected_false is not None else ""
    last = f"{summary.particles} picks on {counted(summary.micrographs, 'micrographs')}{false}"
    report = f"; report: {summary.report}" if summary.report else ""
    status(f"{last}. {project} {pick.job.uid} is completed{report}")
    pick.job.log(f"{last}{report}")
    return SOME_SKIPPED if summary.skipped else DONE
