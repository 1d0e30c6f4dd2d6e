"""``cryotx pick``: micrographs in, particle coordinates and pictures out."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.exit_codes import DONE, SOME_SKIPPED, exit_code_of
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.cli.signals import sigterm_interrupts
from cryotx_cli.config import PickConfig
from cryotx_cli.surroundings import require_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryotx_cli.events import Event
    from cryotx_cli.monitoring.follow import FollowedPick
    from cryotx_cli.runs.result import PickSummary
    from cryotx_cli.workflows.pick import PickRun


@settings_flags(PickConfig)
def pick(
    micrographs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Micrographs: files, folders, globs, a micrographs STAR file or CryoSPARC exposures.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE.star",
            help="STAR file of all picks; the folder beside it holds the rest.",
            rich_help_panel="Output",
        ),
    ],
    config: PickConfig,
    events: Annotated[
        str | None,
        typer.Option(
            "--events",
            metavar="FILE|-",
            help="Add a JSON line for each event to FILE, or write them on standard output.",
            rich_help_panel="For other programs",
        ),
    ] = None,
    metrics: Annotated[
        int | None,
        typer.Option(
            "--metrics",
            metavar="PORT",
            help="Serve counts for Prometheus on this port, to this machine alone.",
            rich_help_panel="For other programs",
        ),
    ] = None,
) -> None:
    """Find particles and write their coordinates.

    Examples
    --------
    cryotx pick micrographs/ --out particles.star --diameter 160
    cryotx pick micrographs_ctf.star --out picks.star --device cuda:0,1
    """
    require_memory()
    with ExitStack() as context:
        if events == "-":  # belongs to them alone
            context.enter_context(redirect_stdout(sys.stderr))
        context.enter_context(sigterm_interrupts())
        code = _pick(micrographs, out, config, events, metrics)
    if code != DONE:
        raise typer.Exit(code)


def _pick(micrographs: list[str], out: Path, config: PickConfig, events: str | None, metrics: int | None) -> int:
    """Pick, show what is done, and return the exit code."""
    from cryotx_cli.cli.console import said_if_slow, status, typed
    from cryotx_cli.loading import put_off_compilers
    from cryotx_cli.monitoring.follow import followed
    from cryotx_cli.monitoring.pick_events import Asked
    from cryotx_cli.runs.out_name import require_apart
    from cryotx_cli.runs.start import note_start

    if events is not None and events != "-":
        require_apart(Path(events), "--events", out, micrographs)
    asked = Asked(typed(), tuple(micrographs), out, config)
    with followed(asked, events, metrics, status, exit_code_of) as follower:
        lines = _Lines(status, follower)
        with said_if_slow("Loading the model and looking at the micrographs"):
            put_off_compilers()
            from cryotx_cli.workflows.pick import start_pick

            if config.watch and config.diameter == "auto":
                status("Estimating the diameter from the first ten micrographs; --diameter starts without them.")
            run = start_pick(micrographs, out, config, tell=lines)
        note_start(run.summary.folder, typed(), anew=config.restart)
        status(_opening(run, config))
        follower.follow(run)
        if config.watch:
            _watch(run, follower)
        else:
            _show_progress(run, lines)
        _print_summary(run.summary, config.watch)
        code = SOME_SKIPPED if run.summary.skipped else DONE
        follower.finished(code)
    return code


class _Lines:
    """Shows what there is to know, above the bar while there is one, and passes it on to other programs."""

    def __init__(self, show: Callable[[str], None], follower: FollowedPick) -> None:
        self.show, self._follower = show, follower

    def __call__(self, event: Event) -> None:
        self.show(event.text)
        self._follower.said(event)


def _show_progress(run: PickRun, lines: _Lines) -> None:
    """Show a bar while the micrographs are picked."""
    from cryotx_cli.cli.console import progress, status

    with progress(len(run), "micrographs") as bar:
        lines.show = bar.note
        for result in run:
            if result.error:
                bar.note(f"Skipped {result.error}")
            bar.advance(earlier=result.resumed)
    lines.show = status


def _watch(run: PickRun, follower: FollowedPick) -> None:
    """Show a line for each micrograph, or now and then while many wait; end at the first Ctrl-C in good order."""
    from cryotx_cli.cli.console import SECONDS_BETWEEN_LINES, status
    from cryotx_cli.wording import counted

    def stop(number: int, _: object) -> None:
        run.stop()
        follower.by_signal(signal.Signals(number).name)
        for number, handler in before.items():  # a second Ctrl-C does not wait
            signal.signal(number, handler)

    status(f"Watching; Ctrl-C or the file {run.stop_file} ends it.")
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    next_line = 0.0
    try:
        for result in run:
            if result.error:
                status(f"Skipped {result.error}")
            if not result.error and (run.is_idle or time.monotonic() >= next_line):
                next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                waiting, so_far = f", {run.waiting} waiting" if run.waiting else "", run.summary
                status(
                    f"{counted(so_far.micrographs, 'micrographs')}, {so_far.particles} picks{waiting}; "
                    f"{result.file.name}: {len(result.particles or ())}"
                )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _opening(run: PickRun, config: PickConfig) -> str:
    from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER
    from cryotx_cli.wording import counted

    reason = "as asked" if config.device != "auto" and not config.scheduler else run.device_reason
    device = f"{run.device} ({reason})" if reason else run.device
    numbers = "" if config.precision == "float32" else f" in {config.precision}"
    measured = f"estimated: {run.estimate}" if run.estimate else "as given"
    scale = f", {run.diameter / PIXELS_PER_DIAMETER:.2g} Å per network pixel" if run.scales_to_diameter else ""
    return (
        f"{counted(len(run), 'micrographs')}, weights {config.weights}, on {device}{numbers}; particle diameter "
        f"{run.diameter:.0f} Å ({measured}){scale}"
    )


def _print_summary(summary: PickSummary, watched: bool) -> None:
    from cryotx_cli.cli.console import expected_false, facts, film_left_out
    from cryotx_cli.runs.commands import word_of

    here = summary.micrographs - summary.resumed
    earlier = f", {summary.resumed} of them by an earlier run" if summary.resumed else ""
    facts(
        f"Wrote {summary.star} and {summary.folder}",
        [
            *([("Report", f"{summary.report}")] if summary.report else []),
            ("Micrographs", f"{summary.micrographs}{earlier}"),
            ("Picks", f"{summary.particles}"),
            *expected_false(summary.expected_false, summary.particles),
            ("Picks per micrograph", f"{summary.particles / max(summary.micrographs, 1):.1f}"),
            *([] if watched else [("Seconds each", f"{summary.seconds / here:.2f}" if here else "-")]),
            *([("Side of a box to extract", f"{summary.box} px")] if summary.box else []),
            ("Dropped at the border", f"{summary.dropped_at_border}"),
            ("Dropped beside a better pick", f"{summary.dropped_beside_better}"),
            *film_left_out(summary.film, summary.micrographs),
            *_class_averages(summary),
            *([("Left for the next run", f"{summary.left}")] if summary.left else []),
            ("Skipped", f"{len(summary.skipped)}"),
            *(("", f"{result.error}") for result in summary.skipped),
        ],
    )
    if summary.classes is not None:  # in a line of its own, which is copied in one piece
        stack = word_of(summary.folder / "classes" / "classes.star")
        typer.echo(f"To see the averages in RELION: relion_display --i {stack} --display rlnReferenceImage")


def _class_averages(summary: PickSummary) -> list[tuple[str, str]]:
    return [] if summary.classes is None else [("Class averages", f"{summary.classes}; see the report")]
