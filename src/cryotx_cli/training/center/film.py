"""How the film finder learns: simulated micrographs of many sizes, half of them with film, and its mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import IterableDataset

from cryotx_cli.config import FilmTrainConfig
from cryotx_cli.detector.center.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cryotx_cli.detector.center.film import CELL, FilmFinder, film_features
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, normalise
from cryotx_cli.simulator.camera import develop
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.structures import Structure
from cryotx_cli.training import run
from cryotx_cli.training.center.data import simulated_batches, training_structures
from cryotx_cli.training.center.optimisation import descend, learning_rate, optimizer_of
from cryotx_cli.training.progress import StepReport

WAY = "film on simulated micrographs"
_SIDES = (96, 128, 192, 256, 320, 448, 640, 832)  # network px: micrographs are 4 to 35 diameters wide
_JITTER = 1.4
_FILM, _EDGE = 0.5, (-0.3, 0.48)
_MOST = 0.85  # share of film beyond which nothing tells film from ice, so that nothing is learned from it
_VALIDATION = 64
_HELD_OUT_SEED = 7_000_029


class FilmBatch(NamedTuple):
    """Cells of micrographs of one size: `features` (n, 2, h, w), `film` (n, h, w) in 0..1, and `weight` of the loss."""

    features: Tensor
    film: Tensor
    weight: Tensor


class SimulatedFilm(IterableDataset[FilmBatch]):
    """Endless batches of simulated micrographs for the film finder; batch i depends on the seed and i alone."""

    def __init__(self, structures: list[Structure], *, batch_size: int, steps: int, seed: int, first: int = 0) -> None:
        self.structures, self.batch_size = structures, batch_size
        self.steps, self.seed, self.first = steps, seed, first

    def __iter__(self) -> Iterator[FilmBatch]:
        worker = torch.utils.data.get_worker_info()
        step, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in range(self.first + step, self.steps, stride):
            yield self.batch(number)

    def batch(self, number: int) -> FilmBatch:
        """Simulate one batch of micrographs of one size."""
        rng = np.random.default_rng([self.seed, 5, number])
        side = int(rng.choice(_SIDES))
        return FilmBatch(*map(torch.stack, zip(*[self._one(rng, side) for _ in range(self.batch_size)], strict=True)))

    def _one(self, rng: np.random.Generator, side: int) -> tuple[Tensor, Tensor, Tensor]:
        structure, distractor = (self.structures[i] for i in rng.integers(len(self.structures), size=2))
        factor = math.exp(rng.uniform(-1, 1) * math.log(_JITTER))
        conditions = replace(draw_conditions(rng), film=_FILM, film_edge=_EDGE)
        pixel_size = structure.diameter / (PIXELS_PER_DIAMETER * factor)
        micrograph = simulate_micrograph(structure, distractor, conditions, (side, side), pixel_size, rng)
        features, shown = film_features(normalise(develop(micrograph.image, rng)))
        film = F.avg_pool2d(torch.from_numpy(micrograph.film)[None], CELL)[0]
        weight = shown.float() * (film[shown].mean() <= _MOST)
        return features, film, weight


def train_film(out: Path, config: FilmTrainConfig) -> Iterator[StepReport]:
    """Train the film finder of the `center` weights in `config.init`, then write them with it to `last.safetensors`.

    The state of the run is saved every few minutes; with `config.resume` the next call goes on from it.

    Raises
    ------
    DatasetError
        If the loss stops being finite, or the folder holds another run or cannot be written.
    CheckpointError
        If there is nothing to resume, or the weights to add it to cannot be used.
    """
    device = resolve_device(config.device)
    initial = load_checkpoint(config.init)
    state = run.open_folder(out, config.resume, WAY)
    run.make_folder(out, config)
    torch.manual_seed(config.seed)
    model = FilmFinder().to(device)
    average = run.WeightAverage(model)
    learner = run.Learner(WAY, model, optimizer_of(model), average)
    progress = run.restore(out, state, learner) if state else run.Progress()
    training, held_out = training_structures(config.structures, config.procedural_structures, config.seed)
    data = SimulatedFilm(
        training, batch_size=config.batch_size, steps=config.steps, seed=config.seed, first=progress.step
    )
    validation = list(SimulatedFilm(held_out, batch_size=1, steps=_VALIDATION, seed=_HELD_OUT_SEED))
    watch = run.Stopwatch(progress, config.minutes)
    with run.StepLog(out / "log.csv", progress.step) as log:
        for batch in simulated_batches(data, config.workers):
            rate = learning_rate(config.learning_rate, progress.step, config.steps)
            loss = _step(model, learner.optimizer, batch, rate, device)
            average.update(model)
            watch.count_step()
            ending = progress.step >= config.steps or watch.is_over
            f1 = None
            if progress.step % config.validate_every == 0 or ending:
                f1 = film_f1(_averaged(average), validation)
                save_checkpoint(_checkpoint(initial, average, progress, config), out / "last.safetensors")
            if log.is_due(progress, f1):
                log.write(progress, {"film": loss}, f1)
            run.keep_state(out, learner, watch, now=ending)
            yield StepReport(progress.step, config.steps, loss, f1, progress.seconds)
            if ending:
                break


def film_f1(model: FilmFinder, batches: list[FilmBatch]) -> float:
    """F1 of the cells taken for film, half of which at least shows it, over all batches."""
    device = next(model.parameters()).device
    right = found = wanted = 0
    with torch.inference_mode():
        for features, film, weight in batches:
            kept = weight > 0
            seen, truth = (model(features.to(device)).cpu() > 0) & kept, (film > 0.5) & kept
            right, found, wanted = right + int((seen & truth).sum()), found + int(seen.sum()), wanted + int(truth.sum())
    return 2 * right / max(found + wanted, 1)


def _step(
    model: FilmFinder, optimizer: torch.optim.Optimizer, batch: FilmBatch, rate: float, device: torch.device
) -> float:
    """One optimiser step: binary cross-entropy of each cell."""
    model.train()
    features, film, weight = (tensor.to(device) for tensor in batch)
    loss = F.binary_cross_entropy_with_logits(model(features), film, weight, reduction="sum")
    loss = loss / weight.sum().clamp_min(1)
    value = float(loss.detach())
    run.require_finite({"film": value})
    descend(model, optimizer, loss, rate)
    return value


def _averaged(average: run.WeightAverage) -> FilmFinder:
    model = FilmFinder()
    model.load_state_dict(average.state)
    return model.eval()


def _checkpoint(
    initial: Checkpoint, average: run.WeightAverage, progress: run.Progress, config: FilmTrainConfig
) -> Checkpoint:
    record = {"steps": progress.step, "seconds": round(progress.seconds), "settings": run.plain_settings(config)}
    film = {name: value.cpu().clone() for name, value in average.state.items()}
    return replace(initial, film=film, training=initial.training | {"film": record})
