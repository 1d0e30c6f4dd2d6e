"""Training of the paper's model on a COCO folder: one process or several, stopped and resumed at any step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from cryotx_cli.config import CryotransformerConfig, CryotransformerTrainConfig
from cryotx_cli.datasets.coco import CocoDataset, open_coco
from cryotx_cli.detector.calibration import Calibration
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint, DetrInput, save_detr_checkpoint
from cryotx_cli.detector.cryotransformer.network import Detr, DetrConfig
from cryotx_cli.detector.device import supports_bfloat16
from cryotx_cli.training import run
from cryotx_cli.training.cryotransformer.data import Batch, TrainingBatches, input_of
from cryotx_cli.training.cryotransformer.initial_network import initial_network
from cryotx_cli.training.cryotransformer.loss import SetCriterion
from cryotx_cli.training.cryotransformer.matcher import HungarianMatcher
from cryotx_cli.training.cryotransformer.processes import Place, agreed, joined_processes
from cryotx_cli.training.cryotransformer.validation import ScoredBoxes, calibrated, score
from cryotx_cli.training.progress import StepReport

WAY = "cryotransformer"


def train_detr(
    out: Path, config: CryotransformerTrainConfig, network: DetrConfig | None = None
) -> Iterator[StepReport]:
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
    training, validation = open_coco(config.data, "train"), open_coco(config.data, "val")
    shown = input_of(training, config.cryotransformer)
    with joined_processes(config.device) as place:
        state = _open_folder(out, config, place)
        torch.manual_seed(config.seed)
        model = (_network_of_state(out, state) if state else initial_network(config, network)).to(place.device)
        optimizer = torch.optim.AdamW(
            _parameter_groups(model, config), weight_decay=config.cryotransformer.weight_decay
        )
        learner = run.Learner(WAY, model, optimizer)
        progress = _restore(out, state, learner) if state else run.Progress()
        batches = TrainingBatches(
            training,
            shown,
            config.cryotransformer,
            batch_size=config.batch_size,
            epochs=config.epochs,
            seed=config.seed,
            first=progress.step,
            rank=place.rank,
            processes=place.processes,
        )
        yield from _steps(out, config, place, learner, progress, batches, validation)


def _steps(
    out: Path,
    config: CryotransformerTrainConfig,
    place: Place,
    learner: run.Learner[Detr],
    progress: run.Progress,
    batches: TrainingBatches,
    validation: CocoDataset,
) -> Iterator[StepReport]:
    """Take the steps of the run that are left; the first process writes and reports."""
    settings, leads, model = config.cryotransformer, place.rank == 0, learner.model
    trained = DistributedDataParallel(model) if place.processes > 1 else model
    loss = criterion(settings)
    watch = run.Stopwatch(progress, config.minutes)
    with _Log(out, progress.step) if leads else nullcontext() as log:
        for step_batches in DataLoader(batches, batch_size=None, num_workers=config.workers):
            epoch = progress.step // batches.steps_an_epoch
            _set_learning_rates(learner.optimizer, config, epoch)
            # Dropout depends on the step alone, so that a resumed run goes on with the same masks.
            torch.manual_seed((config.seed * 1_000_000_007 + progress.step * place.processes + place.rank) % 2**63)
            terms = _step(trained, learner.optimizer, loss, step_batches, place, settings.clip_norm)
            watch.count_step()
            ends_epoch = progress.step % batches.steps_an_epoch == 0
            overdue = config.minutes is not None and agreed(watch.is_over, place)
            ending = progress.step >= batches.steps or overdue
            if log is not None:
                scored = None
                if ends_epoch or ending:
                    scored = _validate(
                        out, _checkpoint(learner, config, batches.input, progress), validation, place, progress
                    )
                f1 = None if scored is None else scored.f1
                if log.table.is_due(progress, f1):
                    log.write(progress, epoch, terms, scored)
                run.keep_state(out, learner, watch, now=f1 is not None, network=asdict(model.config))
                yield StepReport(progress.step, batches.steps, terms["loss"], f1, progress.seconds)
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


# ---- one step --------------------------------------------------------------------------------------------------------


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: SetCriterion,
    batches: list[Batch],
    place: Place,
    clip_norm: float,
) -> dict[str, float]:
    """One optimiser step over some batches; returns the means of their loss terms, over all processes."""
    low_precision = place.device.type == "cuda" and supports_bfloat16(place.device)
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
    run.require_finite(means, where=", ".join(name for batch in batches for name in batch.names))
    optimizer.step()
    return means


def _mean_terms(terms: dict[str, Tensor], norm: Tensor, place: Place) -> dict[str, float]:
    """Return the means over processes, read from the device in one go."""
    values = torch.stack([*(value.float() for value in terms.values()), norm.float()])
    if place.processes > 1:
        torch.distributed.all_reduce(values)
        values /= place.processes
    return dict(zip([*terms, "gradient_norm"], values.tolist(), strict=True))


def _parameter_groups(model: Detr, config: CryotransformerTrainConfig) -> list[dict[str, Any]]:
    """Let the backbone learn more slowly than the rest; "initial_lr" is the rate before the drop."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    rates = {False: config.learning_rate, True: config.cryotransformer.backbone_learning_rate}
    return [
        {"params": [p for name, p in named if name.startswith("backbone.0.") is slow], "lr": rate, "initial_lr": rate}
        for slow, rate in rates.items()
    ]


def _set_learning_rates(optimizer: torch.optim.Optimizer, config: CryotransformerTrainConfig, epoch: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * (0.1 if epoch >= config.cryotransformer.lr_drop else 1.0)


def _validate(
    out: Path, checkpoint: DetrCheckpoint, dataset: CocoDataset, place: Place, progress: run.Progress
) -> ScoredBoxes:
    """Score on the validation images, and keep the weights: as the last ones, and if they are the best so far."""
    scored = score(checkpoint, dataset, place.device)
    checkpoint = calibrated(checkpoint, scored)
    save_detr_checkpoint(checkpoint, out / "last.safetensors")
    if scored.f1 > progress.best:
        progress.best, progress.best_step = scored.f1, progress.step
        save_detr_checkpoint(checkpoint, out / "best.safetensors")
    return scored


def _checkpoint(
    learner: run.Learner[Detr], config: CryotransformerTrainConfig, shown: DetrInput, progress: run.Progress
) -> DetrCheckpoint:
    weights = {name: value.detach().float().cpu().clone() for name, value in learner.model.state_dict().items()}
    record = {"steps": progress.step, "seconds": round(progress.seconds), "settings": run.plain_settings(config)}
    # Empty queries count less in the loss, which multiplies the odds of all others.
    knots = np.linspace(-10, 10, 81)
    odds = np.exp(knots) * config.cryotransformer.no_object_weight
    calibration = Calibration(tuple(knots.tolist()), tuple((odds / (1 + odds)).tolist()))
    return DetrCheckpoint(weights, learner.model.config, shown, calibration, training=record, name="training")


# ---- files -------------------------------------------------------------------------------------------------------


def _open_folder(out: Path, config: CryotransformerTrainConfig, place: Place) -> dict[str, Any] | None:
    """Prepare the folder and return the state to resume, if any."""
    state = run.open_folder(out, config.resume, WAY)
    if place.processes > 1:
        torch.distributed.barrier()  # nobody looks for a state any more when the first one is saved
    if place.rank == 0:
        run.make_folder(out, config)
    return state


def _network_of_state(out: Path, state: Mapping[str, Any]) -> Detr:
    try:
        return Detr(DetrConfig(**state["network"]))
    except (KeyError, TypeError, ValueError) as error:
        raise run.unusable_state(out) from error


def _restore(out: Path, state: Mapping[str, Any], learner: run.Learner[Detr]) -> run.Progress:
    rates = [group["initial_lr"] for group in learner.optimizer.param_groups]
    progress = run.restore(out, state, learner)
    for group, rate in zip(learner.optimizer.param_groups, rates, strict=True):
        group["initial_lr"] = rate  # a resumed run may be given a lower one
    return progress


class _Log:
    """log.csv and TensorBoard; a resumed run goes on where its state was saved, without what came after it."""

    def __init__(self, out: Path, step: int) -> None:
        self.out, self.step, self.table = out, step, run.StepLog(out / "log.csv", step, ".6g")

    def __enter__(self) -> _Log:
        from torch.utils.tensorboard import SummaryWriter

        self.table.__enter__()
        self.board = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.step + 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.table.__exit__()
        self.board.close()

    def write(self, progress: run.Progress, epoch: int, terms: dict[str, float], scored: ScoredBoxes | None) -> None:
        """Write what a step has lost, and what a validation after it says."""
        f1, coco_ap = (scored.f1, scored.coco_ap) if scored else (None, None)
        self.table.write(progress, terms, f1, epoch, coco_ap=coco_ap)
        for name, value in {**terms, "f1": f1, "coco_ap": coco_ap}.items():
            if value is not None:
                self.board.add_scalar(name, value, progress.step)
