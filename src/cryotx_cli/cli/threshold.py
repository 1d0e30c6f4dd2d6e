"""``cryotx threshold``: choose the picks of a finished run anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import ThresholdConfig

if TYPE_CHECKING:
    from cryotx_cli.workflows.threshold import ThresholdRun


@settings_flags(ThresholdConfig)
def threshold(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The STAR file that cryotx pick wrote, or the folder beside it.")
    ],
    config: ThresholdConfig,
) -> None:
    """Choose the picks of a finished run anew, without the network.

    Examples
    --------
    cryotx threshold particles.star --fdr 0.05
    cryotx threshold particles.star --expected-count 300 --min-distance 120
    """
    from cryotx_cli.cli.console import status, typed
    from cryotx_cli.workflows.threshold import threshold as choose_anew

    done = choose_anew(run, config, typed())
    for event in done.events:
        status(event.text)
    _print_summary(done)
    if len(done):
        _draw_pictures(done)


def _print_summary(done: ThresholdRun) -> None:
    from cryotx_cli.cli.console import expected_false, facts, film_left_out

    facts(
        f"Wrote {done.star} and {done.folder}",
        [
            ("Micrographs", f"{done.micrographs}"),
            ("Picks", f"{done.after}, {done.before} before"),
            *([("Out with dropped classes", f"{done.out_with_classes}")] if done.out_with_classes else []),
            *expected_false(done.expected_false, done.after),
            ("Picks per micrograph", f"{done.after / done.micrographs:.1f}"),
            ("Seconds", f"{done.seconds:.2f}"),
            ("Dropped at the border", f"{done.dropped_at_border}"),
            ("Dropped beside a better pick", f"{done.dropped_beside_better}"),
            *film_left_out(done.film, done.micrographs),
        ],
    )


def _draw_pictures(done: ThresholdRun) -> None:
    from cryotx_cli.cli.console import progress, status
    from cryotx_cli.wording import counted

    left_out = []
    with progress(len(done), "pictures") as bar:
        for picture in done:
            left_out += [picture.error] if picture.error else []
            bar.advance()
    if left_out:
        status(f"{counted(len(left_out), 'pictures')} left out, for example: {left_out[0]}")
