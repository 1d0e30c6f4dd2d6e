"""``cryotx train``: teach the picker."""

import math
import os
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import (
    TRAIN_SETTINGS,
    CryotransformerTrainConfig,
    MakeCocoConfig,
    RefitConfig,
    TrainConfig,
    load_train_config,
)
from cryotx_cli.errors import ConfigError
from cryotx_cli.surroundings import require_memory

if TYPE_CHECKING:
    from cryotx_cli.training.progress import Agreement, FineTuned, StepReport


@settings_flags(*TRAIN_SETTINGS, load=load_train_config)
def train(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="RUN", help="Folder for checkpoints, log and settings.", rich_help_panel="Output"
        ),
    ],
    config: TrainConfig,
) -> None:
    """Train a model, or adapt the default one to your labels.

    Examples
    --------
    cryotx train --data labels/ --micrographs micrographs/ --out runs/mine
    cryotx train --simulate --out runs/center
    """
    from cryotx_cli.cli.console import duration, progress, said_if_slow, status
    from cryotx_cli.wording import counted

    require_memory()
    config = _with_coco_folder(config, out)
    with said_if_slow("Loading libraries, data and weights; the first step follows"):
        from cryotx_cli.training.progress import FineTuned
        from cryotx_cli.workflows.train import train as run

        reports = iter(run(out, config))
        first = next(reports, None)
    if first is None:  # or another process reports
        if int(os.environ.get("RANK", 0)) == 0:
            status(f"Nothing to do: the run in {out} has come to its end before.")
        return
    now, done = first, max(first.step - 1, 0)
    with progress(first.steps, "micrographs" if isinstance(config, RefitConfig) else "steps", done) as bar:
        for now in chain([first], reports):
            if now.event:
                bar.note(now.event.text)
            if isinstance(now, FineTuned):
                break
            bar.advance(now.step - done, f"loss {now.loss:.3f}" if math.isfinite(now.loss) else "")
            if now.f1 is not None:
                bar.note(_validation(now, config))
            done = now.step
    if isinstance(now, FineTuned):
        _show_fine_tuned(now, out)
    elif isinstance(config, RefitConfig):
        status(f"Class layer refitted in {duration(now.seconds)}: {out / 'last.safetensors'}")
    elif now.step >= now.steps:
        status(f"Finished: {counted(now.steps, 'steps')} in {duration(now.seconds)}; cryotx pick --weights {out}")
    else:
        status(
            f"Stopped at step {now.step} of {now.steps} after {duration(now.seconds)}, its minutes being over: the "
            f"same command with --resume goes on, and cryotx pick --weights {out} has the weights so far"
        )


def _with_coco_folder(config: TrainConfig, out: Path) -> TrainConfig:
    """Make a dataset folder below `out` of a CryoPPP tree; refitting and adapting read the tree itself."""
    from cryotx_cli.cli.console import progress, status
    from cryotx_cli.datasets.cryoppp import cryoppp_tree

    if not isinstance(config, CryotransformerTrainConfig) or cryoppp_tree(config.data) is None:
        return config
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError(
            f"--data {config.data}: several processes need a folder that is ready",
            "Make it with cryotx make-coco first and give that to --data.",
        )
    from cryotx_cli.workflows.make_coco import make_coco

    folder = out / "dataset"
    status(f"Denoising the labelled micrographs of {config.data} into {folder}")
    run = make_coco(config.data, folder, MakeCocoConfig(seed=config.seed))
    with progress(len(run), "micrographs") as bar:
        for result in run:
            if result.error:
                bar.note(f"Skipped {result.error}")
            bar.advance()
    return replace(config, data=folder)


def _show_fine_tuned(now: "FineTuned", out: Path) -> None:
    """Print how picks agree with the held-back labels before and after, and what to do with the weights."""
    from cryotx_cli.cli.console import duration, status, table
    from cryotx_cli.wording import counted

    table(
        f"Picks on {counted(len(now.micrographs), 'micrographs')} held back, with {now.before.counts.truth} labels",
        ("Weights", "Picks", "Precision", "Recall", "F1", "Chance", "Dice", "AP"),
        [_agreement("before", now.before)],
        total=_agreement("after", now.after),
    )
    best, gain = out / "best.safetensors", now.gain
    if now.helped and gain.is_shown:
        status(
            f"Adapted in {duration(now.seconds)}: F1 is higher by {gain.difference:.3f} ± {gain.spread:.3f}; "
            f"cryotx pick --weights {best}"
        )
    elif now.helped:
        status(
            f"Adapted in {duration(now.seconds)}, but no gain is shown: F1 is higher by {gain.difference:.3f}, within "
            f"the spread of {counted(len(now.micrographs), 'held-back micrographs')}, ± {gain.spread:.3f}. More "
            f"labelled ones would tell; {best} holds the adapted weights."
        )
    else:
        status(
            f"Adapting did not help on the held-back micrographs ({duration(now.seconds)}): {best} holds the weights "
            f"it began with, {out / 'last.safetensors'} the adapted ones. More labelled micrographs may help."
        )


def _agreement(name: str, agreement: "Agreement") -> tuple[str, ...]:
    counts = agreement.counts
    rates = (counts.precision, counts.recall, counts.f1, agreement.chance, agreement.dice, agreement.average_precision)
    return name, f"{counts.picks}", *(f"{rate:.3f}" for rate in rates)


def _validation(now: "StepReport", config: TrainConfig) -> str:
    if isinstance(config, RefitConfig):
        return f"Loss of the class layer {now.loss:.3f}, F1 {now.f1:.3f} on held-out micrographs"
    return f"Step {now.step}: loss {now.loss:.3f}, F1 {now.f1:.3f} on held-out micrographs"
