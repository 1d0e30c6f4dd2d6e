"""Training of the paper's model on a COCO folder: one process or several, stopped and resumed at any step."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from cryotx_cli.config import CryotransformerConfig, TrainConfig, save_config
from cryotx_cli.datasets.coco import CocoDataset, open_coco
from cryotx_cli.detector.checkpoint import Calibration
from cryotx_cli.detector.cryotransformer.backbone import load_imagenet_weights
from cryotx_cli.detector.cryotransformer.checkpoint import (
    DetrCheckpoint,
    DetrInput,
    save_detr_checkpoint,
)
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.detector.device import resolve_device, supports_bfloat16
from cryotx_cli.detector.families import CRYOTRANSFORMER
from cryotx_cli.errors import CheckpointError, DatasetError
from cryotx_cli.files.whole_file import whole_path
from cryotx_cli.training.cryotransformer.data import Batch, TrainingBatches, input_of
from cryotx_cli.training.cryotransformer.loss import SetCriterion
from cryotx_cli.training.cryotransformer.matcher import HungarianMatcher
from cryotx_cli.training.cryotransformer.validation import calibrated, score
from cryotx_cli.training.progress import StepReport

_BATCH_SIZE, _LEARNING_RATE = 2, 1e-4
_LOG_EVERY, _SAVE_SECONDS = 20, 150.0
_PATIENCE = timedelta(hours=6)  # the others wait while the first process validates


@dataclass(frozen=True)
class Place:
    """Which process of how many this is, and where it computes."""

    rank: int
    processes: int
    device: torch.device


@dataclass
class _Run:
    """What a resumed run needs to know beside weights and optimiser."""

    step: int = 0
    seconds: float = 0.0
    best: float = -1.0


def train_detr(out: Path, config: TrainConfig, network: DetrConfig | None = None) -> Iterator[StepReport]:
    """Train on ``config.data``, a COCO folder, and write ``best.safetensors`` and ``last.safetensors``.

    Started by ``torchrun``, its processes share every step; the first one validates, writes and reports.

    Parameters
    ----------
    out
        Folder of the run.
    config
        Settings.
    network
        The network where nothing else decides it: neither weights in ``config.init`` nor a run that is resumed. The
        paper's, with ``config.backbone``, if None.

    Raises
    ------
    DatasetError
        If the data cannot be used, the loss stops being finite, or the folder holds another run.
    CheckpointError
        If there is nothing to resume, or the weights to start from cannot be used.
    """
    assert config.data is not None
    training, validation = open_coco(config.data, "train"), open_coco(config.data, "val")
    shown = input_of(training, config.cryotransformer)
    with joined_processes(config.device) as place:
        state = _open_run(out, config, place)
        torch.manual_seed(config.seed)
        model = Detr(DetrConfig(**state["network"])) if state else initial_network(config, network)
        model.to(place.device)
        optimizer = torch.optim.AdamW(
            _parameter_groups(model, config), weight_decay=config.cryotransformer.weight_decay
        )
        run = _restore(state, model, optimizer) if state else _Run()
        batches = TrainingBatches(
            training,
            shown,
            config.cryotransformer,
            batch_size=config.batch_size or _BATCH_SIZE,
            epochs=config.epochs,
            seed=config.seed,
            first=run.step,
            rank=place.rank,
            processes=place.processes,
        )
        yield from _train(out, config, place, model, optimizer, run, batches, validation)


def _train(
    out: Path,
    config: TrainConfig,
    place: Place,
    model: Detr,
    optimizer: torch.optim.Optimizer,
    run: _Run,
    batches: TrainingBatches,
    validation: CocoDataset,
) -> Iterator[StepReport]:
    settings, leads = config.cryotransformer, place.rank == 0
    trained = DistributedDataParallel(model) if place.processes > 1 else model
    loss = criterion(settings)
    low_precision = place.device.type == "cuda" and supports_bfloat16(place.device)
    began, saved = time.monotonic() - run.seconds, time.monotonic()
    deadline = math.inf if config.minutes is None else time.monotonic() + 60 * config.minutes
    with _Log(out, run.step, leads) as log:
        for step_batches in DataLoader(batches, batch_size=None, num_workers=config.workers):
            epoch = run.step // batches.steps_an_epoch
            _set_learning_rates(optimizer, config, epoch)
            # Dropout depends on the step alone, so that a resumed run goes on with the same masks.
            torch.manual_seed((config.seed * 1_000_000_007 + run.step * place.processes + place.rank) % 2**63)
            terms = _step(trained, optimizer, loss, step_batches, place, settings.clip_norm, low_precision)
            run.step += 1
            run.seconds = time.monotonic() - began
            ends_epoch = run.step % batches.steps_an_epoch == 0
            overdue = config.minutes is not None and _agree(time.monotonic() > deadline, place)
            ending = run.step >= batches.steps or overdue
            f1 = None
            if leads and (ends_epoch or ending):
                f1 = _validate(out, _checkpoint(model, config, batches.input, run), validation, place, run)
            if leads and (f1 is not None or run.step % _LOG_EVERY == 0):
                log.write(run, epoch, terms, f1)
            if leads and (f1 is not None or time.monotonic() - saved > _SAVE_SECONDS):
                _save(out / "state.pt", model, optimizer, run)
                saved = time.monotonic()
            if leads:
                yield StepReport(run.step, batches.steps, terms["loss"], f1, run.seconds)
            if ending:
                break


def criterion(settings: CryotransformerConfig) -> SetCriterion:
    """Return the loss of these settings; boxes weigh as much in matching as in the loss."""
    matcher = HungarianMatcher(l1_cost=settings.l1_weight, giou_cost=settings.giou_weight)
    return SetCriterion(
        no_object_weight=settings.no_object_weight,
        l1_weight=settings.l1_weight,
        giou_weight=settings.giou_weight,
        matcher=matcher,
    )


def initial_network(config: TrainConfig, network: DetrConfig | None = None) -> Detr:
    """Build the network that a run starts with, as ``config.init`` says; see `train_detr`.

    Raises
    ------
    CheckpointError
        If the weights cannot be had, or are of another architecture than ``config.backbone``.
    """
    network = network or DetrConfig(backbone=config.backbone or "resnet152")
    if config.init == "scratch":
        return Detr(replace(network, frozen_backbone=False))
    if config.init in (None, "imagenet"):
        model = Detr(network)
        load_imagenet_weights(model.backbone[0], network.backbone)  # type: ignore[arg-type]
        return model
    model = _network_of_file(config.init)
    if config.backbone not in (None, model.config.backbone):
        raise CheckpointError(
            f"--backbone {config.backbone}: the weights in {config.init} are those of {model.config.backbone}",
            "Leave out --backbone or --init.",
        )
    return model


def _network_of_file(path: str) -> Detr:
    weights = CRYOTRANSFORMER.read(path)
    model = Detr(replace(weights.model, num_classes=1))
    weights.initialise(model)
    if weights.degenerate_class_head:
        model.class_embed.reset_parameters()
    return model


# ---- one step --------------------------------------------------------------------------------------------------------


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: SetCriterion,
    batches: list[Batch],
    place: Place,
    clip_norm: float,
    low_precision: bool,
) -> dict[str, float]:
    """One optimiser step over some batches; returns the means of their loss terms, over all processes."""
    model.train()
    optimizer.zero_grad(set_to_none=True)
    collected: dict[str, Tensor] = {}
    for number, batch in enumerate(batches, 1):
        # Gradients of all but the last batch stay in this process: they are sent round once a step.
        alone = isinstance(model, DistributedDataParallel) and number < len(batches)
        with model.no_sync() if alone else nullcontext():  # type: ignore[operator]
            images = batch.images.to(place.device, non_blocking=True)
            padding = batch.padding.to(place.device, non_blocking=True)
            with torch.autocast(place.device.type, torch.bfloat16, enabled=low_precision):
                output = model(images, padding)
            result = loss(output, batch.targets.to(place.device))
            (result.total / len(batches)).backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": result.total.detach(), **result.terms}.items():
            collected[name] = collected.get(name, torch.zeros_like(value)) + value / len(batches)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    means = _mean_terms(collected, norm, place)
    if not all(map(math.isfinite, means.values())):
        odd = ", ".join(f"{name} {value:g}" for name, value in means.items() if not math.isfinite(value))
        raise DatasetError(
            f"the loss or its gradient is not finite ({odd}) at {', '.join(n for b in batches for n in b.names)}",
            "Look at these images; else resume from the last saved state with a lower --learning-rate.",
        )
    optimizer.step()
    return means


def _mean_terms(terms: dict[str, Tensor], norm: Tensor, place: Place) -> dict[str, float]:
    """Return the means over processes, read from the device in one go."""
    values = torch.stack([*(value.float() for value in terms.values()), norm.float()])
    if place.processes > 1:
        torch.distributed.all_reduce(values)
        values /= place.processes
    return dict(zip([*terms, "gradient_norm"], values.tolist(), strict=True))


def _parameter_groups(model: Detr, config: TrainConfig) -> list[dict[str, Any]]:
    """Let the backbone learn more slowly than the rest; "initial_lr" is the rate before the drop."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    rates = {False: config.learning_rate or _LEARNING_RATE, True: config.cryotransformer.backbone_learning_rate}
    return [
        {"params": [p for name, p in named if name.startswith("backbone.0.") is slow], "lr": rate, "initial_lr": rate}
        for slow, rate in rates.items()
    ]


def _set_learning_rates(optimizer: torch.optim.Optimizer, config: TrainConfig, epoch: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * (0.1 if epoch >= config.cryotransformer.lr_drop else 1.0)


def _validate(out: Path, checkpoint: DetrCheckpoint, dataset: CocoDataset, place: Place, run: _Run) -> float:
    """Return F1 on the validation images, and keep the weights: as the last ones, and if they are the best so far."""
    scored = score(checkpoint, dataset, place.device)
    checkpoint = calibrated(checkpoint, scored)
    save_detr_checkpoint(checkpoint, out / "last.safetensors")
    if scored.f1 > run.best:
        run.best = scored.f1
        save_detr_checkpoint(checkpoint, out / "best.safetensors")
    return scored.f1


def _checkpoint(model: Detr, config: TrainConfig, shown: DetrInput, run: _Run) -> DetrCheckpoint:
    weights = {name: value.detach().float().cpu().clone() for name, value in model.state_dict().items()}
    plain = {k: v.name if isinstance(v, Path) else v for k, v in asdict(config).items() if v is not None}
    record = {"steps": run.step, "seconds": round(run.seconds), "settings": plain}
    # Empty queries count less in the loss, which multiplies the odds of all others.
    knots = np.linspace(-10, 10, 81)
    odds = np.exp(knots) * config.cryotransformer.no_object_weight
    calibration = Calibration(tuple(knots.tolist()), tuple((odds / (1 + odds)).tolist()))
    return DetrCheckpoint(weights, model.config, shown, calibration, training=record, name="training")


# ---- processes and files ---------------------------------------------------------------------------------------------


@contextmanager
def joined_processes(device: str) -> Iterator[Place]:
    """Join the processes that ``torchrun`` started, each on a GPU of its own; alone without it."""
    processes, local = int(os.environ.get("WORLD_SIZE", 1)), os.environ.get("LOCAL_RANK", "0")
    if processes == 1:
        yield Place(0, 1, resolve_device(device))
        return
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{local}"
    place = Place(int(os.environ["RANK"]), processes, resolve_device(device))
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    torch.distributed.init_process_group("nccl" if place.device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield place
    finally:
        torch.distributed.destroy_process_group()


def _agree(wish: bool, place: Place) -> bool:
    """Whether the first process wishes it: a step that some do not take would make the others wait for ever."""
    if place.processes == 1:
        return wish
    decision = torch.tensor([float(wish)], device=place.device)
    torch.distributed.broadcast(decision, src=0)
    return bool(decision.item())


def _open_run(out: Path, config: TrainConfig, place: Place) -> dict[str, Any] | None:
    """Prepare the folder and return the state to resume, if any."""
    file = out / "state.pt"
    if config.resume and not file.is_file():
        raise CheckpointError(f"{out}: no run to resume here", "Leave out --resume to start one.")
    if not config.resume and file.is_file():
        raise DatasetError(f"{out}: holds a run already", "Add --resume to go on with it or choose another --out.")
    state: dict[str, Any] | None = torch.load(file, map_location="cpu", weights_only=True) if config.resume else None
    if state is not None and "network" not in state:
        raise CheckpointError(f"{out}: the run in it is not one of cryotransformer", "Choose another --out.")
    if place.processes > 1:
        torch.distributed.barrier()  # nobody looks for a state any more when the first one is saved
    if place.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        save_config(replace(config, resume=False), out / "config.toml")  # --config repeats the run
    return state


def _save(path: Path, model: Detr, optimizer: torch.optim.Optimizer, run: _Run) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "run": asdict(run),
        "network": asdict(model.config),
    }
    with whole_path(path) as unfinished:
        torch.save(state, unfinished)


def _restore(state: dict[str, Any], model: Detr, optimizer: torch.optim.Optimizer) -> _Run:
    model.load_state_dict(state["model"])
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state["optimizer"])
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["initial_lr"] = rate  # a resumed run may be given a lower one
    return _Run(**state["run"])


class _Log:
    """log.csv and TensorBoard; a resumed run goes on where its state was saved, without the rows after it."""

    def __init__(self, out: Path, step: int, leads: bool) -> None:
        self.path, self.step, self.leads = out / "log.csv", step, leads

    def __enter__(self) -> _Log:
        if not self.leads:
            return self
        from torch.utils.tensorboard import SummaryWriter

        rows = []
        if self.step and self.path.is_file():
            with self.path.open(newline="") as file:
                rows = [row for row in csv.reader(file) if row and (row[0] == "step" or int(row[0]) <= self.step)]
        self.file = self.path.open("w", newline="")
        self.writer = csv.writer(self.file)
        self.writer.writerows(rows)
        self.fresh = not rows
        self.board = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=self.step + 1)
        return self

    def __exit__(self, *_: object) -> None:
        if self.leads:
            self.file.close()
            self.board.close()

    def write(self, run: _Run, epoch: int, terms: dict[str, float], f1: float | None) -> None:
        if self.fresh:
            self.writer.writerow(["step", "epoch", "seconds", *terms, "f1"])
            self.fresh = False
        values = [f"{value:.6g}" for value in terms.values()]
        self.writer.writerow([run.step, epoch, f"{run.seconds:.1f}", *values, "" if f1 is None else f"{f1:.4f}"])
        self.file.flush()
        for name, value in {**terms, **({} if f1 is None else {"f1": f1})}.items():
            self.board.add_scalar(name, value, run.step)
