"""``cryotx classes``: what the picks of a run average to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import ClassesConfig

if TYPE_CHECKING:
    from cryotx_cli.workflows.classes import ClassesMade


@settings_flags(ClassesConfig)
def classes(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The STAR file that cryotx pick wrote, or the folder beside it.")
    ],
    config: ClassesConfig,
) -> None:
    """Average the picks of a run in classes, without a reference.

    Examples
    --------
    cryotx classes particles.star
    cryotx classes particles.star --classes 20 --sample 5000
    """
    from cryotx_cli.cli.console import said_if_slow, status
    from cryotx_cli.workflows.classes import classes as average

    with said_if_slow("Sorting the picks of the run into classes"):
        made = average(run, config, lambda event: status(event.text))
    print_summary(made)


def print_summary(made: ClassesMade) -> None:
    """Print the table of classes and where they are."""
    from cryotx_cli.averages.output import LEFTOVER, TOO_FEW, UNCLEAR
    from cryotx_cli.cli.console import facts, table

    more = sum(row.picks for row in made.rows if row.resolution is not None)
    few = sum(row.picks for row in made.rows if row.told == TOO_FEW)
    unclear = sum(row.picks for row in made.rows if row.told == UNCLEAR)
    left = sum(row.picks for row in made.rows if row.told == LEFTOVER)
    rows = [
        (
            f"{row.number}",
            f"{row.picks}",
            f"{row.share:.1%}",
            f"{row.mean_score:.2f}",
            "" if row.told == LEFTOVER else f"{row.agreement:.2f}",
            row.in_words,
        )
        for row in made.rows
    ]
    columns = ("Class", "Picks", "Share", "Mean score", "Halves agree", "To")
    table("Classes", columns, rows, ("all", f"{made.picks}", "", "", "", ""))
    facts(
        f"Wrote {made.folder}",
        [
            ("Picks", f"{made.picks}"),
            ("Classes made with", f"{made.trained} of them"),
            ("In classes that are more than noise", f"{more}"),
            *([("In classes of too few picks to tell", f"{few}")] if few else []),
            *([("In unclear classes: noise by averages, not by scores", f"{unclear}")] if unclear else []),
            *([("That fit no average", f"{left}; --drop-classes auto drops them")] if left else []),
            ("Seconds", f"{made.seconds:.1f}"),
        ],
    )
