"""``cryotx make-coco``: a CryoPPP tree in, a COCO dataset folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.exit_codes import SOME_SKIPPED
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import MakeCocoConfig

if TYPE_CHECKING:
    from cryotx_cli.workflows.make_coco import DatasetCounts


@settings_flags(MakeCocoConfig)
def make_coco(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="DIR",
            help="CryoPPP tree: the folder of one data set or of several.",
            rich_help_panel="Input",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the COCO dataset.", rich_help_panel="Output")
    ],
    config: MakeCocoConfig,
    denoise: Annotated[
        bool,
        typer.Option(
            "--denoise/--raw",
            help="Denoise the images as the paper does, or keep their pixels.",
            rich_help_panel="Output",
        ),
    ] = True,
) -> None:
    """Make a COCO dataset of labelled micrographs.

    Examples
    --------
    cryotx make-coco --data CryoPPP/10017/ --out coco/10017/
    cryotx make-coco --data CryoPPP/ --out coco/ --split 0.7,0.2,0.1 --seed 7
    """
    from cryotx_cli.cli.console import progress, status
    from cryotx_cli.workflows.make_coco import make_coco as prepare

    run = prepare(data, out, config, denoise, lambda event: status(event.text))
    resumed = 0
    with progress(len(run), "micrographs") as bar:
        for result in run:
            resumed += result.resumed
            if result.error:
                bar.note(f"Skipped {result.error}")
            bar.advance()
    _print_counts(out, run.counts)
    outside = sum(counts.outside for counts in run.counts)
    if resumed:
        status(f"Images of an earlier run: {resumed}")
    if outside:
        status(f"Labels left out because they lie outside their micrographs: {outside}")
    if any(counts.skipped for counts in run.counts):
        raise typer.Exit(SOME_SKIPPED)


def _print_counts(out: Path, datasets: list[DatasetCounts]) -> None:
    from cryotx_cli.cli.console import table

    columns = ("Data set", "Micrographs", "Labelled", "Left out", "Skipped", "Particles", "Train", "Val", "Test")
    numbers = [
        (c.micrographs, c.labelled, c.micrographs - c.labelled, c.skipped, c.particles, c.train, c.val, c.test)
        for c in datasets
    ]
    table(
        f"Wrote {out}",
        columns,
        [(c.dataset, *map(str, row)) for c, row in zip(datasets, numbers, strict=True)],
        total=("All", *(str(sum(column)) for column in zip(*numbers, strict=True))),
    )
