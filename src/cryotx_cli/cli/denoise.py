"""``cryotx denoise``: micrographs in, 8-bit images without their noise out."""

from pathlib import Path
from typing import Annotated

import typer

from cryotx_cli.cli.exit_codes import SOME_SKIPPED
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import DenoiseConfig


@settings_flags(DenoiseConfig)
def denoise(
    micrographs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Micrographs: files, folders, globs or a micrographs STAR file."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for the denoised images; they keep their names.",
            rich_help_panel="Output",
        ),
    ],
    config: DenoiseConfig,
) -> None:
    """Denoise micrographs as the CryoTransformer paper does.

    Examples
    --------
    cryotx denoise micrographs/ --out denoised/
    cryotx denoise "day1/*.mrc" --out pictures/ --format png
    """
    from cryotx_cli.cli.console import progress, status
    from cryotx_cli.workflows.denoise import denoise as start_denoise

    run = start_denoise(micrographs, out, config, lambda event: status(event.text))
    skipped = 0
    with progress(len(run), "micrographs") as bar:
        for result in run:
            if result.error:
                skipped += 1
                bar.note(f"Skipped {result.error}")
            bar.advance()
    status(f"Wrote {len(run) - skipped} denoised images to {out}")
    if skipped:
        raise typer.Exit(SOME_SKIPPED)
