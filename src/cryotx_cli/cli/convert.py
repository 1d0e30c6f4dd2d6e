"""``cryotx convert``: coordinate files of one program into those of another."""

from pathlib import Path
from typing import Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import ConvertConfig


@settings_flags(ConvertConfig)
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Coordinates: a file or a folder of files.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to write.", rich_help_panel="Output")],
    config: ConvertConfig,
) -> None:
    """Convert coordinates of one program into those of another.

    Reads and writes those of RELION, CryoSPARC, EMAN, crYOLO, Topaz, and CSV.

    Examples
    --------
    cryotx convert particles.star boxes/ --to box --box 200
    cryotx convert topaz.txt picks.star --scale 8 --micrographs micrographs/
    """
    from cryotx_cli.cli.console import status
    from cryotx_cli.wording import counted
    from cryotx_cli.workflows.convert import convert as run

    done = run(source, out, config)
    for event in done.events:
        status(event.text)
    changes = [f"scaled by {config.scale or 1:g}"] * (config.scale not in (None, 1)) + ["y flipped"] * config.flip_y
    unchanged = "coordinates as read" if done.events else "coordinates as they were"
    status(
        f"Wrote {counted(done.particles, 'particles')} of {counted(done.micrographs, 'micrographs')} as "
        f"{done.file_format} to {done.out}: {' and '.join(changes) or unchanged}"
    )
