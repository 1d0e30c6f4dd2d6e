"""How the default model learns: simulated micrographs in, averaged and calibrated weights out; always resumable."""

from __future__ import annotations

import csv
import math
import pickle
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from cryotx_cli.config import CenterConfig, TrainConfig, save_config
from cryotx_cli.detector.center.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cryotx_cli.detector.center.network import CenterDETR, CenterOutput
from cryotx_cli.detector.device import resolve_device, supports_bfloat16
from cryotx_cli.errors import CheckpointError, DatasetError
from cryotx_cli.files.whole_file import whole_path
from cryotx_cli.simulator.structures import Structure, procedural_structure, read_structures
from cryotx_cli.training.center.calibration import fit_calibration
from cryotx_cli.training.center.data import Crop, SimulatedCrops, simulated_crop, unpacked
from cryotx_cli.training.center.loss import center_losses
from cryotx_cli.training.center.validation import score
from cryotx_cli.training.progress import StepReport

T = TypeVar("T")

_WARM_UP, _LOG_EVERY, _SAVE_SECONDS = 200, 20, 150.0
_VALIDATION_CROPS, _CALIBRATION_CROPS, _NORM_BATCHES = 48, 400, 40
_BATCH_SIZE, _LEARNING_RATE = 8, 1e-3
_HELD_OUT_SEED = 7_000_003  # structures and crops that no training seed draws


class WeightAverage:
    """Exponential moving average of a model's state, buffers included; decay min(0.999, (1 + n) / (10 + n))."""

    def __init__(self, model: nn.Module) -> None:
        self.state = {k: v.detach().clone().float() for k, v in model.state_dict().items()}
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present state."""
        self.updates += 1
        keep = min(0.999, (1 + self.updates) / (10 + self.updates))
        for key, value in model.state_dict().items():
            self.state[key].lerp_(value.float(), 1 - keep)


def train_center(out: Path, config: TrainConfig) -> Iterator[StepReport]:
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
    config = replace(
        config, batch_size=config.batch_size or _BATCH_SIZE, learning_rate=config.learning_rate or _LEARNING_RATE
    )
    device = resolve_device(config.device)
    state_file = state_file_of(out, config)
    make_run_folder(out, config)
    torch.manual_seed(config.seed)
    model = CenterDETR(CenterConfig())
    film = {}
    if config.init is not None:
        initial = load_checkpoint(config.init)
        model.load_state_dict(initial.weights)
        film = initial.film
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=config.learning_rate or _LEARNING_RATE, betas=(0.9, 0.98))
    average = WeightAverage(model)
    run = RunState(step=0, seconds=0.0, best=-1.0)
    if config.resume:
        run = restore_state(state_file, model, optimizer, average)
    training, held_out = training_structures(config)
    crops = SimulatedCrops(
        training,
        batch_size=config.batch_size or _BATCH_SIZE,
        steps=config.steps,
        seed=config.seed,
        first=run.step,
        easy_start=config.init is None,
    )
    loader = simulated_batches(crops, config.workers)
    validation = _validation_crops(held_out, _VALIDATION_CROPS)
    low_precision = supports_bfloat16(device)
    began, saved = time.monotonic() - run.seconds, time.monotonic()
    deadline = math.inf if config.minutes is None else time.monotonic() + 60 * config.minutes
    clock = _Clock()
    with StepLog(out / "log.csv") as log:
        for packed in loader:
            batch = unpacked(packed)
            clock.lap("waiting")
            terms = _step(model, optimizer, batch, learning_rate(config, run.step), device, low_precision, clock)
            average.update(model)
            run.step += 1
            run.seconds = time.monotonic() - began
            f1 = None
            if run.step % config.validate_every == 0 or run.step == config.steps:
                f1 = score(_checkpoint(average, run, config), validation, device).f1
                if f1 > run.best:
                    run.best = f1
                    save_checkpoint(_checkpoint(average, run, config), out / "best.safetensors")
            if run.step % _LOG_EVERY == 0 or f1 is not None:
                log.write(run, terms | clock.means(), f1)
            ending = run.step >= config.steps or time.monotonic() > deadline
            if ending or time.monotonic() - saved > _SAVE_SECONDS:
                save_state(state_file, model, optimizer, average, run)
                saved = time.monotonic()
            yield StepReport(run.step, config.steps, sum(terms.values()), f1, run.seconds)
            clock.lap("rest")
            if ending:
                break
    last = finish(_checkpoint(average, run, config), training, held_out, config, device)
    save_checkpoint(replace(last, film=film), out / "last.safetensors")
    best = load_checkpoint(out / "best.safetensors") if (out / "best.safetensors").is_file() else None
    if best is not None:
        best = finish(best, training, held_out, config, device)
        save_checkpoint(replace(best, film=film), out / "best.safetensors")


def state_file_of(out: Path, config: TrainConfig) -> Path:
    """Return the state file of a run's folder; there must be one if and only if the run is to be resumed.

    Raises
    ------
    CheckpointError, DatasetError
        If there is none, or one too many.
    """
    state_file = out / "state.pt"
    if config.resume and not state_file.is_file():
        raise CheckpointError(f"{out}: no run to resume here", "Leave out --resume to start one.")
    if not config.resume and state_file.is_file():
        raise DatasetError(f"{out}: holds a run already", "Add --resume to go on with it or choose another --out.")
    return state_file


def make_run_folder(out: Path, config: TrainConfig) -> None:
    """Make the folder of a run and write its settings there: with --config they repeat it.

    Raises
    ------
    DatasetError
        If it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written ({error.strerror})", "Choose another --out.") from error
    save_config(replace(config, resume=False), out / "config.toml")


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


@dataclass
class RunState:
    """How far a run has come, and the best validation so far with its step."""

    step: int
    seconds: float
    best: float
    best_step: int = 0


def training_structures(config: TrainConfig) -> tuple[list[Structure], list[Structure]]:
    """Training and held-out structures; those of a folder are repeated until they make up 40 %."""
    rng = np.random.default_rng([config.seed, 1])
    training = [procedural_structure(rng) for _ in range(config.procedural_structures)]
    if config.structures is not None:
        real = read_structures(config.structures, rng)
        training += real * max(1, round(config.procedural_structures * 2 / 3 / len(real)))
    rng = np.random.default_rng(_HELD_OUT_SEED)
    return training, [procedural_structure(rng) for _ in range(40)]


def simulated_batches(dataset: IterableDataset[T], workers: int) -> DataLoader[T]:
    """Return the batches of a dataset that simulates them, in processes beside the training if there are workers."""
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # it would draw from the default one, whose state a resumed run goes on with
    )


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": 1e-4}, {"params": free, "weight_decay": 0.0}]


def learning_rate(config: TrainConfig, step: int) -> float:
    """Warm-up over 200 steps, flat to the middle of the run, then a cosine down to 1 %."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    late = max(0.0, step / config.steps - 0.5) * 2
    return (
        (config.learning_rate or _LEARNING_RATE) * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, late))))
    )


def _step(
    model: CenterDETR,
    optimizer: torch.optim.Optimizer,
    batch: list[Crop],
    learning_rate: float,
    device: torch.device,
    low_precision: bool,
    clock: _Clock,
) -> dict[str, float]:
    """One optimiser step; the loss terms."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    output = forward(model, batch, device, low_precision)
    losses = center_losses(output, batch, model.config.radius)
    values = torch.stack(list(losses.values()))
    clock.lap("forward")
    optimizer.zero_grad(set_to_none=True)
    values.sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    terms = dict(zip(losses, values.detach().tolist(), strict=True))
    clock.lap("backward")
    require_finite(terms)  # once the device is done, and before these weights are averaged or saved
    return terms


def require_finite(terms: dict[str, float]) -> None:
    """Stop a run that has diverged.

    Raises
    ------
    DatasetError
        If a term of the loss is not finite.
    """
    if not all(map(math.isfinite, terms.values())):
        raise DatasetError(
            f"the loss is not finite ({', '.join(f'{name} {value:g}' for name, value in terms.items())})",
            "Resume from the last saved state with a lower --learning-rate.",
        )


def forward(model: CenterDETR, batch: list[Crop], device: torch.device, low_precision: bool) -> CenterOutput:
    """Run the network on a batch, with as many queries as crops of this size may need."""
    images = torch.stack([crop.image for crop in batch])
    if device.type == "cuda":  # from pinned memory the copy does not wait for the device
        images = images.pin_memory()
    images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
    queries = round(150 * images.shape[-1] * images.shape[-2] / 256**2) + 30
    with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
        output: CenterOutput = model(images, max_queries=queries)
    return output


def _checkpoint(average: WeightAverage, run: RunState, config: TrainConfig) -> Checkpoint:
    record = {"steps": run.step, "seconds": round(run.seconds), "settings": plain_settings(config)}
    return Checkpoint(weights=dict(average.state), training=record, name="training")


def plain_settings(config: TrainConfig) -> dict[str, Any]:
    """Return settings for the record in a checkpoint: it names files and folders, not where they lay."""
    places = {"data", "micrographs", "structures", "init"}
    return {k: Path(v).name if k in places else v for k, v in asdict(config).items() if v is not None}


def finish(
    checkpoint: Checkpoint,
    training: list[Structure],
    held_out: list[Structure],
    config: TrainConfig,
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
        simulated_crop(structures, np.random.default_rng([_HELD_OUT_SEED, first + i]), 256, 1.25) for i in range(count)
    ]


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage, run: RunState
) -> None:
    """Write everything that a run needs to go on, whole or not at all."""
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.state,
        "updates": average.updates,
        "run": asdict(run),
        "random": torch.get_rng_state(),
    }
    with whole_path(path) as unfinished:
        torch.save(state, unfinished)


def restore_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage) -> RunState:
    """Put what `save_state` wrote back in its places.

    Raises
    ------
    CheckpointError
        If the file does not hold the state of a run of this model.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        restored: dict[str, Tensor] = state["average"]
        average.state = {k: v.to(average.state[k].device) for k, v in restored.items()}
        average.updates = state["updates"]
        torch.set_rng_state(state["random"])
        return RunState(**state["run"])
    except (OSError, EOFError, KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: not the state of a run of this model",
            "Start anew in another folder, from its weights with --init.",
        ) from error


class StepLog:
    """log.csv: one row every few steps; a resumed run appends."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", newline="")
        self.fresh = path.stat().st_size == 0
        self.writer = csv.writer(self.file)

    def __enter__(self) -> StepLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, run: RunState, terms: dict[str, float], f1: float | None) -> None:
        """Write a row; the first one makes the header."""
        if self.fresh:
            self.writer.writerow(["step", "seconds", *terms, "f1"])
            self.fresh = False
        self.writer.writerow(
            [run.step, f"{run.seconds:.1f}", *[f"{v:.4f}" for v in terms.values()], "" if f1 is None else f"{f1:.4f}"]
        )
        self.file.flush()
