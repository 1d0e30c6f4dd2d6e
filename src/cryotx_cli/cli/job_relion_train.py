"""``cryotx job relion-train``: adapting the model as an External job of RELION."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.relion_command import JobFolder, Micrographs, PipelineControl, Threads
from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import RelionTrainConfig
from cryotx_cli.surroundings import require_memory

if TYPE_CHECKING:
    from cryotx_cli.training.progress import FineTuned, StepReport


@settings_flags(RelionTrainConfig)
def relion_train(
    out: JobFolder,
    config: RelionTrainConfig,
    in_mics: Micrographs = None,
    in_parts: Annotated[
        Path | None,
        typer.Option(
            "--in_parts", metavar="STAR", help="Particles to learn from, in micrographs.", rich_help_panel="Input"
        ),
    ] = None,
    in_coords: Annotated[
        Path | None,
        typer.Option(
            "--in_coords", metavar="STAR", help="Coordinates to learn from, as picked by hand.", rich_help_panel="Input"
        ),
    ] = None,
    threads: Threads = None,
    pipeline_control: PipelineControl = None,
) -> None:
    """Adapt the model to particles as a job of RELION.

    Examples
    --------
    cryotx job relion-train --in_mics m.star --in_parts p.star --o J/job007/
    cryotx job relion-train --in_mics m.star --in_coords c.star --o J/job007/
    """
    from cryotx_cli.cli.console import progress

    require_memory()
    typer.echo("Loading libraries, data and weights; the first step follows")
    from cryotx_cli.training.progress import FineTuned
    from cryotx_cli.workflows.job_relion import use_threads
    from cryotx_cli.workflows.job_relion_train import (
        finish_training,
        model_of_job,
        settings_of_training,
        weights_of_job,
    )
    from cryotx_cli.workflows.train import train

    given = {"--in_mics": in_mics, "--in_parts": in_parts, "--in_coords": in_coords}
    asked = settings_of_training(config, out, given)
    if threads:
        use_threads(threads)
    now: StepReport | None = None
    done = 0
    with progress(asked.steps, "steps", say=typer.echo) as bar:
        for now in train(model_of_job(out), asked):
            if now.event:
                typer.echo(now.event.text)
            if isinstance(now, FineTuned):
                break
            bar.advance(now.step - done, earlier=not done and now.step > 1)
            if now.f1 is not None:
                typer.echo(f"Step {now.step}: loss {now.loss:.3f}, F1 {now.f1:.3f} on held-out micrographs")
            done = now.step
    weights = weights_of_job(out)
    lines = _result(now, weights) if isinstance(now, FineTuned) else [f"As far as the run came: {weights}"]
    finish_training(out, lines)
    for line in lines:
        typer.echo(line)


def _result(now: FineTuned, weights: Path) -> list[str]:
    from cryotx_cli.wording import counted

    before, after = now.before.counts, now.after.counts
    held_back = counted(len(now.micrographs), "micrographs")
    return [
        f"Picks on {held_back} held back, with {before.truth} labels:",
        f"before: precision {before.precision:.3f}, recall {before.recall:.3f}, F1 {before.f1:.3f}",
        f"after: precision {after.precision:.3f}, recall {after.recall:.3f}, F1 {after.f1:.3f}",
        f"F1 is higher by {now.gain.difference:.3f} ± {now.gain.spread:.3f}"
        if now.helped
        else "Adapting did not help: the weights are those that it began with. More labels may help.",
        f"Pick with them: label weights, value {weights}",
    ]
