"""``cryotx convert``: coordinate files of one program into those of another."""

from pathlib import Path
from typing import Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import ConvertConfig


@settings_flags(ConvertConfig)
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Coordinates: a file or a folder of files.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to write.")],
    config: ConvertConfig,
) -> None:
    """Convert coordinates between RELION, CryoSPARC, EMAN, crYOLO, Topaz and CSV."""
    from cryotx_cli.cli.console import status
    from cryotx_cli.wording import counted
    from cryotx_cli.workflows.convert import convert as run

    done = run(source, out, config)
    changes = [f"scaled by {config.scale:g}"] * (config.scale != 1) + ["y flipped"] * config.flip_y
    status(
        f"Wrote {counted(done.particles, 'particles')} of {counted(done.micrographs, 'micrographs')} as "
        f"{done.file_format} to {done.out}: {' and '.join(changes) or 'coordinates as they were'}"
    )
