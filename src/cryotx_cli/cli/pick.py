"""``cryotx pick``: micrographs in, particle coordinates and pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli import SOME_SKIPPED
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import PickConfig

if TYPE_CHECKING:
    from cryotx_cli.workflows.pick import PickRun, PickSummary


@settings_flags(PickConfig)
def pick(
    micrographs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Micrographs: files, folders, globs or a micrographs STAR file."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE.star", help="STAR file of all picks; the folder beside it holds the rest."),
    ],
    config: PickConfig,
) -> None:
    """Find particles and write their coordinates."""
    from cryotx_cli.cli.console import progress, status
    from cryotx_cli.workflows.pick import start_pick

    run = start_pick(micrographs, out, config)
    status(_opening(run, config))
    for message in run.messages:
        status(message)
    with progress(len(run), "micrographs") as bar:
        for result in run:
            if result.error:
                bar.note(f"Skipped {result.error}")
            bar.advance()
    _print_summary(run.summary)
    if run.summary.skipped:
        raise typer.Exit(SOME_SKIPPED)


def _opening(run: PickRun, config: PickConfig) -> str:
    from cryotx_cli.cli.console import counted
    from cryotx_cli.data.image import PIXELS_PER_DIAMETER

    if config.device != "auto":
        reason = "as asked"
    else:
        reason = "no GPU that torch can use" if run.device == "cpu" else "found by --device auto"
    measured = "estimated from the micrographs" if config.diameter == "auto" else "as given"
    scale = f", {run.diameter / PIXELS_PER_DIAMETER:.2g} Å per network pixel" if run.scales_to_diameter else ""
    return (
        f"{counted(len(run), 'micrographs')}, weights {config.weights}, on {run.device} ({reason}); particle diameter "
        f"{run.diameter:.0f} Å ({measured}){scale}"
    )


def _print_summary(summary: PickSummary) -> None:
    from cryotx_cli.cli.console import facts

    here = summary.micrographs - summary.resumed
    earlier = f", {summary.resumed} of them by an earlier run" if summary.resumed else ""
    facts(
        f"Wrote {summary.star} and {summary.folder}",
        [
            *([("Report", f"{summary.report}")] if summary.report else []),
            ("Micrographs", f"{summary.micrographs}{earlier}"),
            ("Picks", f"{summary.particles}"),
            ("Picks per micrograph", f"{summary.particles / max(summary.micrographs, 1):.1f}"),
            ("Seconds each", f"{summary.seconds / here:.2f}" if here else "-"),
            ("Dropped at the border", f"{summary.edge}"),
            ("Dropped beside a better pick", f"{summary.distance}"),
            ("Skipped", f"{len(summary.skipped)}"),
            *(("", f"{result.error}") for result in summary.skipped),
        ],
    )
