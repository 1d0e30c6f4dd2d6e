"""How the default model learns: simulated micrographs in, averaged and calibrated weights out; always resumable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cryotx_cli.config import CenterConfig, CenterTrainConfig
from cryotx_cli.detector.center.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.simulator.structures import Structure
from cryotx_cli.training import run
from cryotx_cli.training.center.calibration import fit_calibration
from cryotx_cli.training.center.data import (
    HELD_OUT_SEED,
    Crop,
    SimulatedCrops,
    simulated_batches,
    simulated_crop,
    training_structures,
    unpacked,
)
from cryotx_cli.training.center.loss import center_losses
from cryotx_cli.training.center.optimisation import descend, forward, learning_rate, optimizer_of
from cryotx_cli.training.center.validation import score
from cryotx_cli.training.progress import StepReport

WAY = "center on simulated micrographs"
_VALIDATION_CROPS, _CALIBRATION_CROPS, _NORM_BATCHES = 48, 400, 40


def train_center(out: Path, config: CenterTrainConfig) -> Iterator[StepReport]:
    """Train the default model on simulated micrographs, then write `best.safetensors` and `last.safetensors`.

    The state of the run is saved every few minutes; with `config.resume` the next call goes on from it: the data of
    every step depend on the seed and the step alone. log.csv has a row every 20 steps, with the seconds that a step
    took on average since the last row: waiting for simulated images, forward, backward, and the rest (averaging the
    weights, validation, saving).

    Raises
    ------
    DatasetError
        If the loss stops being finite, or the folder holds another run or cannot be written.
    CheckpointError
        If there is nothing to resume, or the weights to start from cannot be used.
    """
    device = resolve_device(config.device)
    state = run.open_folder(out, config.resume, WAY)
    run.make_folder(out, config)
    torch.manual_seed(config.seed)
    initial = None if config.init is None else load_checkpoint(config.init)
    model = CenterDETR(CenterConfig())
    if initial is not None:
        model.load_state_dict(initial.weights)
    model = model.to(device).to(memory_format=torch.channels_last)
    average = run.WeightAverage(model)
    learner = run.Learner(WAY, model, optimizer_of(model), average)
    progress = run.restore(out, state, learner) if state else run.Progress()
    training, held_out = training_structures(config.structures, config.procedural_structures, config.seed)
    yield from _steps(out, config, learner, average, progress, training, held_out, device)
    for name in ("last", "best"):
        file = out / f"{name}.safetensors"
        if name == "last" or file.is_file():
            rough = _checkpoint(average, progress, config) if name == "last" else load_checkpoint(file)
            finished = _finish(rough, training, held_out, config, device)
            save_checkpoint(replace(finished, film=initial.film if initial else {}), file)


def _steps(
    out: Path,
    config: CenterTrainConfig,
    learner: run.Learner[CenterDETR],
    average: run.WeightAverage,
    progress: run.Progress,
    training: list[Structure],
    held_out: list[Structure],
    device: torch.device,
) -> Iterator[StepReport]:
    """Take the steps of the run that are left."""
    data = SimulatedCrops(
        training,
        batch_size=config.batch_size,
        steps=config.steps,
        seed=config.seed,
        first=progress.step,
        easy_start=config.init is None,
    )
    loader = simulated_batches(data, config.workers)
    validation = _validation_crops(held_out, _VALIDATION_CROPS)
    watch, clock = run.Stopwatch(progress, config.minutes), _Clock()
    with run.StepLog(out / "log.csv", progress.step) as log:
        for packed in loader:
            batch = unpacked(packed)
            clock.lap("waiting")
            rate = learning_rate(config.learning_rate, progress.step, config.steps)
            terms = _step(learner, batch, rate, device, clock)
            average.update(learner.model)
            watch.count_step()
            f1 = None
            if progress.step % config.validate_every == 0 or progress.step == config.steps:
                f1 = _validate(_checkpoint(average, progress, config), validation, progress, out, device)
            if log.is_due(progress, f1):
                log.write(progress, terms | clock.means(), f1)
            ending = progress.step >= config.steps or watch.is_over
            run.keep_state(out, learner, watch, now=ending)
            yield StepReport(progress.step, config.steps, sum(terms.values()), f1, progress.seconds)
            clock.lap("rest")
            if ending:
                break


class _Clock:
    """Seconds that each part of a step takes, from one lap to the next.

    On a GPU the host runs ahead and waits for it twice a step, in the assignment and for the loss: so forward ends with
    the one and backward with the other.
    """

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.seconds = dict.fromkeys(("waiting", "forward", "backward", "rest"), 0.0)
        self.steps = 0

    def lap(self, part: str) -> None:
        """Count the time since the last lap to `part`."""
        now = time.monotonic()
        self.seconds[part] += now - self.last
        self.last = now
        self.steps += part == "waiting"

    def means(self) -> dict[str, float]:
        """Seconds a step, and begin anew."""
        means = {part: seconds / max(self.steps, 1) for part, seconds in self.seconds.items()}
        self.seconds, self.steps = dict.fromkeys(self.seconds, 0.0), 0
        return means


def _step(
    learner: run.Learner[CenterDETR], batch: list[Crop], rate: float, device: torch.device, clock: _Clock
) -> dict[str, float]:
    """One optimiser step; the loss terms."""
    model = learner.model.train()
    output = forward(model, batch, device)
    losses = center_losses(output, batch, model.config.radius)
    values = torch.stack(list(losses.values()))
    clock.lap("forward")
    descend(model, learner.optimizer, values.sum(), rate)
    terms = dict(zip(losses, values.detach().tolist(), strict=True))
    clock.lap("backward")
    run.require_finite(terms)  # once the device is done, and before these weights are averaged or saved
    return terms


def _checkpoint(average: run.WeightAverage, progress: run.Progress, config: CenterTrainConfig) -> Checkpoint:
    record = {"steps": progress.step, "seconds": round(progress.seconds), "settings": run.plain_settings(config)}
    return Checkpoint(weights=dict(average.state), training=record, name="training")


def _validate(
    checkpoint: Checkpoint, crops: list[Crop], progress: run.Progress, out: Path, device: torch.device
) -> float:
    """F1 on crops of structures that are not learned from; weights that are the best so far are written."""
    f1 = score(checkpoint, crops, device).f1
    if f1 > progress.best:
        progress.best, progress.best_step = f1, progress.step
        save_checkpoint(checkpoint, out / "best.safetensors")
    return f1


def _finish(
    checkpoint: Checkpoint,
    training: list[Structure],
    held_out: list[Structure],
    config: CenterTrainConfig,
    device: torch.device,
) -> Checkpoint:
    """Make averaged weights ready to ship: re-estimate batch-norm statistics, then calibrate on held-out structures."""
    model = CenterDETR(checkpoint.model)
    model.load_state_dict(checkpoint.weights)
    model.to(device)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches
    with torch.no_grad():
        for number in range(_NORM_BATCHES):
            rng = np.random.default_rng([config.seed, 2, number])
            batch = [simulated_crop(training, rng, 384, 1.25) for _ in range(4)]
            model(torch.stack([crop.image for crop in batch]).to(device), max_queries=64)
    weights = {k: v.cpu() for k, v in model.state_dict().items()}
    checkpoint = replace(checkpoint, weights=weights)
    scored = score(checkpoint, _validation_crops(held_out, _CALIBRATION_CROPS, first=10_000), device)
    return replace(checkpoint, calibration=fit_calibration(scored.logits, scored.hits))


def _validation_crops(structures: list[Structure], count: int, first: int = 0) -> list[Crop]:
    return [
        simulated_crop(structures, np.random.default_rng([HELD_OUT_SEED, first + i]), 256, 1.25) for i in range(count)
    ]
