"""``cryotx simulate``: labelled micrographs from physics."""

from pathlib import Path
from typing import Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import SimulateConfig


@settings_flags(SimulateConfig)
def simulate(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the micrographs and their labels.", rich_help_panel="Output"
        ),
    ],
    config: SimulateConfig,
) -> None:
    """Simulate micrographs whose particles are known.

    Examples
    --------
    cryotx simulate --out simulated/ --micrographs 4
    cryotx simulate --out hard/ --structures pdb/ --severity 0.6 --seed 3
    """
    from cryotx_cli.cli.console import progress, status
    from cryotx_cli.wording import counted
    from cryotx_cli.workflows.simulate import SimulatedFile
    from cryotx_cli.workflows.simulate import simulate as run

    with progress(config.micrographs * config.proteins, "micrographs") as report:
        sets: dict[str, list[SimulatedFile]] = {}
        for written in run(out, config):
            sets.setdefault(written.path.parts[-3], []).append(written)
            report.advance()
    for name, files in sets.items():
        labels = counted(sum(file.labels for file in files), "labelled particles")
        status(f"{name}: {counted(len(files), 'micrographs')}, {labels} of {files[0].diameter:.0f} Å")
    status(f"Wrote {counted(config.micrographs * config.proteins, 'micrographs')} with labels to {out}")
