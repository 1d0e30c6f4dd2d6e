"""``cryotx train``: teach the picker."""

from pathlib import Path
from typing import Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import TrainConfig


@settings_flags(TrainConfig)
def train(
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder for checkpoints, log and settings.")],
    simulate: Annotated[bool, typer.Option("--simulate", metavar="", help="Train on simulated micrographs.")],
    config: TrainConfig,
) -> None:
    """Train the default model on simulated micrographs."""
    from cryotx_cli.cli.console import duration, progress, status
    from cryotx_cli.workflows.train import train as run

    done, seconds = 0, 0.0
    with progress(config.steps, "steps") as bar:
        for now in run(out, config):
            bar.advance(now.step - done, f"loss {now.loss:.3f}")
            if now.f1 is not None:
                bar.note(f"Step {now.step}: loss {now.loss:.3f}, F1 {now.f1:.3f} on held-out micrographs")
            done, seconds = now.step, now.seconds
    status(f"Stopped at step {done} of {config.steps} after {duration(seconds)}; the run is in {out}")
