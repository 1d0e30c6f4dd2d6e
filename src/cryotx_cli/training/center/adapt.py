"""How the default model adapts to a lab's own micrographs: few labels, incomplete ones, and minutes on a CPU.

Most crops of a batch stay simulated ones, whose labels are complete: they hold on to what the model knows about
contamination and noise. Batch statistics stay those of its first training: a few micrographs give worse ones. Of the
labelled micrographs some are held back; they choose the step at which the model is best, say whether it is better than
what it began with, and set its probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cryotx_cli.config import AdaptConfig
from cryotx_cli.coordinates.gain import paired_gain
from cryotx_cli.datasets.labelled import LabelSet, find_labels
from cryotx_cli.detector.center.checkpoint import ADAPTED, Checkpoint, load_checkpoint, save_checkpoint
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.events import Event
from cryotx_cli.training import run
from cryotx_cli.training.center.adapt_data import batch_of, read_adapt_data
from cryotx_cli.training.center.data import Crop
from cryotx_cli.training.center.label_agreement import Detected, agreement, best_f1, detect, recalibrated
from cryotx_cli.training.center.labelled_data import LabelledImage
from cryotx_cli.training.center.loss import center_losses
from cryotx_cli.training.center.optimisation import descend, forward, optimizer_of
from cryotx_cli.training.progress import FineTuned, StepReport

WAY = "center on labelled micrographs"
_PATIENCE = 300
_CHANCE = 0.005  # of F1 on one micrograph of 600 labels: what a few dozen picks that come and go may change
_WARM_UP = 50
_SAVE_SECONDS = 60.0  # a whole run is minutes


def fine_tune(
    out: Path, config: AdaptConfig, labels: LabelSet | None = None, known: Sequence[Event] = ()
) -> Iterator[StepReport]:
    """Adapt the weights `config.init` to the labels `config.data`, or to those that are given.

    What is `known` of these already is told with the first step.

    It ends after `config.steps`, or when for 300 steps F1 on the held-back micrographs has been lower
    than its best by more than chance. ``best.safetensors`` then holds the last weights of which that is not so, or
    those it began with if they agree no worse with the labels of the held-back micrographs; ``last.safetensors``
    the last ones.

    Yields
    ------
    StepReport
        One a step; at the end a `FineTuned`, which says how much better the model has become.

    Raises
    ------
    DatasetError
        If there are fewer than two labelled micrographs, labels and micrographs do not fit, the folder holds another
        run or cannot be written, or the loss stops being finite.
    CheckpointError
        If there is nothing to resume, or the weights to start from cannot be used.
    ParticleFileError, MicrographError
        If labels or micrographs cannot be read.
    """
    told = list(known)
    labels = labels or find_labels(config.data, config.micrographs, told.append)
    device = resolve_device(config.device)
    state = run.open_folder(out, config.resume, WAY)
    data = read_adapt_data(labels, config, Picker(load_checkpoint(config.init), device))
    initial = data.initial
    run.make_folder(out, config)
    torch.manual_seed(config.seed)
    model = CenterDETR(initial.model)
    model.load_state_dict(initial.weights)
    model = model.to(device).to(memory_format=torch.channels_last)
    average = run.WeightAverage(model)
    learner = run.Learner(WAY, model, optimizer_of(model), average)
    if state:
        progress = run.restore(out, state, learner)
    else:
        progress = run.Progress(best=best_f1(_detect_all(initial, data.held_back, device)))
    watch = run.Stopwatch(progress, config.minutes, _SAVE_SECONDS)
    event: Event | None = Event(" ".join([*(f"{one.text.rstrip('.')}." for one in told), data.note]))
    with run.StepLog(out / "log.csv", progress.step) as log:
        ending = _is_over(progress, config)
        while not ending:
            batch = batch_of(data, config, progress.step)
            terms = _step(model, learner.optimizer, batch, _learning_rate(config, progress.step), device)
            average.update(model)
            watch.count_step()
            f1 = None
            if progress.step % config.validate_every == 0 or progress.step == config.steps:
                f1 = _validate(_tuned(initial, average, progress, config), data.held_back, progress, out, device)
            if log.is_due(progress, f1):
                log.write(progress, terms, f1)
            ending = _is_over(progress, config) or watch.is_over
            run.keep_state(out, learner, watch, now=ending)
            yield StepReport(progress.step, config.steps, sum(terms.values()), f1, progress.seconds, event)
            event = None
    yield _finish(initial, _tuned(initial, average, progress, config), data.held_back, progress, config, out, device)


# ---- optimisation ----------------------------------------------------------------------------------------------------


def _learning_rate(config: AdaptConfig, step: int) -> float:
    """Warm-up, then constant: the average of the weights settles by itself, and the run may end at any time."""
    return config.learning_rate * min(1.0, (step + 1) / _WARM_UP)


def _step(
    model: CenterDETR,
    optimizer: torch.optim.Optimizer,
    batch: list[Crop],
    learning_rate: float,
    device: torch.device,
) -> dict[str, float]:
    """One optimiser step; the loss terms."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    output = forward(model, batch, device)
    terms = center_losses(output, batch, model.config.radius)
    del terms["junk"]  # nobody labels contamination
    loss = torch.stack(list(terms.values())).sum()
    values = {name: float(value.detach()) for name, value in terms.items()}
    run.require_finite(values)
    descend(model, optimizer, loss, learning_rate)
    return values


def _is_over(progress: run.Progress, config: AdaptConfig) -> bool:
    return progress.step >= config.steps or progress.step - progress.best_step >= _PATIENCE


# ---- judging ---------------------------------------------------------------------------------------------------------


def _tuned(initial: Checkpoint, average: run.WeightAverage, progress: run.Progress, config: AdaptConfig) -> Checkpoint:
    record = {
        ADAPTED: progress.step,
        "seconds": round(progress.seconds),
        "settings": run.plain_settings(config),
        "from": initial.training,
    }
    weights = {name: value.clone() for name, value in average.state.items()}
    return replace(initial, weights=weights, training=record, name="fine-tuned")


def _detect_all(checkpoint: Checkpoint, images: Sequence[LabelledImage], device: torch.device) -> list[Detected]:
    picker = Picker(checkpoint, device)
    return [detect(picker, image) for image in images]


def _validate(
    tuned: Checkpoint, held_back: Sequence[LabelledImage], progress: run.Progress, out: Path, device: torch.device
) -> float:
    """F1 at the best cut on the held-back micrographs; weights that are the best so far, but for chance, are written.

    Of weights that agree equally well with the few labels held back, those that have seen more of the others count.
    """
    f1 = best_f1(_detect_all(tuned, held_back, device))
    progress.best = max(progress.best, f1)
    if f1 >= progress.best - _CHANCE:
        progress.best_step = progress.step
        save_checkpoint(tuned, out / "best.safetensors")
    return f1


def _recalibrated(checkpoint: Checkpoint, initial: Checkpoint, seen: Sequence[Detected]) -> Checkpoint:
    return replace(checkpoint, calibration=recalibrated(initial.calibration, seen))


def _finish(
    initial: Checkpoint,
    last: Checkpoint,
    held_back: Sequence[LabelledImage],
    progress: run.Progress,
    config: AdaptConfig,
    out: Path,
    device: torch.device,
) -> FineTuned:
    """Set the probabilities of the best and the last weights, and keep the initial ones if they are no worse."""
    before = agreement(_detect_all(initial, held_back, device), initial)
    best_file = out / "best.safetensors"
    best = load_checkpoint(best_file) if progress.best_step and best_file.is_file() else initial
    last = _recalibrated(last, initial, _detect_all(last, held_back, device))
    seen = _detect_all(best, held_back, device)
    best = _recalibrated(best, initial, seen)
    after = agreement(seen, best)
    helped = after.counts.f1 > before.counts.f1
    save_checkpoint(last, out / "last.safetensors")
    save_checkpoint(best if helped else initial, best_file)
    return FineTuned(
        progress.step,
        config.steps,
        math.nan,
        None,
        progress.seconds,
        micrographs=tuple(image.name for image in held_back),
        before=before,
        after=after,
        helped=helped,
        gain=paired_gain(before.parts, after.parts),
    )
