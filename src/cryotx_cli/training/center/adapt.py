"""How the default model adapts to a lab's own micrographs: few labels, incomplete ones, and minutes on a CPU.

Most crops of a batch stay simulated ones, whose labels are complete: they hold on to what the model knows about
contamination and noise. Batch statistics stay those of its first training: a few micrographs give worse ones. Of the
labelled micrographs some are held back; they choose the step at which the model is best, say whether it is better than
what it began with, and set its probabilities.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from cryotx_cli.config import TrainConfig
from cryotx_cli.datasets.labelled import LabelSet, MicrographLabels, find_labels
from cryotx_cli.detector.center.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cryotx_cli.detector.center.film import film_at, film_probability
from cryotx_cli.detector.center.network import CenterDETR
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.detector.device import resolve_device, supports_bfloat16
from cryotx_cli.errors import DatasetError
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
from cryotx_cli.simulator.structures import procedural_structure, read_structures
from cryotx_cli.training.center.data import Crop, simulated_crop
from cryotx_cli.training.center.label_agreement import Detected, agreement, best_f1, detect, recalibrated
from cryotx_cli.training.center.labelled_data import (
    LabelledImage,
    Unlabelled,
    labelled_crop,
    prepare_labelled,
    turned,
    unlabelled_detections,
)
from cryotx_cli.training.center.loss import center_losses
from cryotx_cli.training.center.train import (
    RunState,
    StepLog,
    WeightAverage,
    forward,
    make_run_folder,
    parameter_groups,
    plain_settings,
    require_finite,
    restore_state,
    save_state,
    state_file_of,
)
from cryotx_cli.training.progress import FineTuned, StepReport

T = TypeVar("T")

_STEPS, _VALIDATE_EVERY, _PATIENCE = 800, 50, 300
_CHANCE = 0.005  # of F1 on one micrograph of 600 labels: what a few dozen picks that come and go may change
_BATCH_SIZE, _LEARNING_RATE, _WARM_UP = 8, 1e-4, 50
_LABELLED_SHARE = 0.375  # of a batch; the others are simulated
_SIMULATED_CROPS, _STRUCTURES = 300, 150
_MOST_MICROGRAPHS = 40  # they stay in memory; 300 particles each are more than the model can still learn from
_HELD_BACK = 0.2  # of the micrographs, at least one
_DIAMETER_SAMPLE = 3
_LEAST_INSIDE = 0.9
_WANTED_ON_FILM = 0.2  # of the labels: where film is avoided, a few lie there all the same
_LOG_EVERY, _SAVE_SECONDS = 20, 60.0


@dataclass(frozen=True, eq=False)
class _Data:
    """Labelled micrographs at the network's scale, what to start from, and what people should know about it."""

    initial: Checkpoint
    learned: list[LabelledImage]
    held_back: list[LabelledImage]
    unlabelled: list[Unlabelled]
    simulated: list[Crop]
    note: str


def fine_tune(out: Path, config: TrainConfig) -> Iterator[StepReport]:
    """Adapt the weights `config.init` (the bundled ones if None) to the labels `config.data`.

    It ends after `config.steps`, 800 if unset, or when for 300 steps F1 on the held-back micrographs has been lower
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
    assert config.data is not None
    labels = find_labels(config.data, config.micrographs)
    config = _resolved(config)
    device = resolve_device(config.device)
    state_file = state_file_of(out, config)
    data = _read(labels, config, Picker(load_checkpoint(config.init or "default"), device))
    initial = data.initial
    make_run_folder(out, config)
    torch.manual_seed(config.seed)
    model = CenterDETR(initial.model)
    model.load_state_dict(initial.weights)
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=config.learning_rate or _LEARNING_RATE, betas=(0.9, 0.98))
    average = WeightAverage(model)
    run = RunState(step=0, seconds=0.0, best=best_f1(_detect_all(initial, data.held_back, device)))
    if config.resume:
        run = restore_state(state_file, model, optimizer, average)
    began, saved = time.monotonic() - run.seconds, time.monotonic()
    deadline = math.inf if config.minutes is None else time.monotonic() + 60 * config.minutes
    note = data.note
    with StepLog(out / "log.csv") as log:
        ending = _is_over(run, config)
        while not ending:
            terms = _step(model, optimizer, _batch(data, config, run.step), _learning_rate(config, run.step), device)
            average.update(model)
            run.step += 1
            run.seconds = time.monotonic() - began
            f1 = None
            if run.step % config.validate_every == 0 or run.step == config.steps:
                f1 = _validate(_tuned(initial, average, run, config), data.held_back, run, out, device)
            if run.step % _LOG_EVERY == 0 or f1 is not None:
                log.write(run, terms, f1)
            ending = _is_over(run, config) or time.monotonic() > deadline
            if ending or time.monotonic() > saved + _SAVE_SECONDS:
                save_state(state_file, model, optimizer, average, run)
                saved = time.monotonic()
            yield StepReport(run.step, config.steps, sum(terms.values()), f1, run.seconds, note)
            note = ""
    yield _finish(initial, _tuned(initial, average, run, config), data.held_back, run, config, out, device)


def _resolved(config: TrainConfig) -> TrainConfig:
    """Fill in settings that were not given as fine-tuning needs them."""
    unset = TrainConfig()
    return replace(
        config,
        steps=_STEPS if config.steps == unset.steps else config.steps,
        validate_every=_VALIDATE_EVERY if config.validate_every == unset.validate_every else config.validate_every,
        batch_size=config.batch_size or _BATCH_SIZE,
        learning_rate=config.learning_rate or _LEARNING_RATE,
        init=config.init or "default",
    )


# ---- data ------------------------------------------------------------------------------------------------------------


def _read(found: LabelSet, config: TrainConfig, picker: Picker) -> _Data:
    """Read the labelled micrographs, hold some back and prepare everything that batches are made of."""
    if len(found.micrographs) < 2:
        raise DatasetError(
            f"{config.data}: {len(found.micrographs)} labelled micrograph, where at least 2 are needed: one to learn "
            "from and one to judge by",
            "Label another one; five are a good number.",
        )
    chosen = _spread(found.micrographs, _MOST_MICROGRAPHS)
    micrographs = [read_micrograph(one.file, config.pixel_size) for one in chosen]
    _check_inside(chosen, micrographs)
    diameters, source = _diameters(chosen, micrographs, config, picker)
    margin = min(_margin(one, micrograph) for one, micrograph in zip(chosen, micrographs, strict=True))
    held = set(_spread(range(len(chosen)), max(1, round(_HELD_BACK * len(chosen)))))
    images = [
        prepare_labelled(picker, micrograph, one.labels, diameter, margin, scales=number not in held)
        for number, (one, micrograph, diameter) in enumerate(zip(chosen, micrographs, diameters, strict=True))
    ]
    picker, images, on_film = _settle_film(picker, images)
    learned = [image for number, image in enumerate(images) if number not in held]
    held_back = [image for number, image in enumerate(images) if number in held]
    note = (
        f"Learning from {sum(len(image.labels) for image in learned)} labels on {len(learned)} of {len(images)} "
        f"micrographs; held back: {', '.join(image.name for image in held_back)}; diameter {_span(diameters)} Å "
        f"({source}); nothing is labelled within {margin:.0f} px of a border"
    )
    note += _left_out(found) + on_film
    unlabelled = unlabelled_detections(picker, learned)
    return _Data(picker.checkpoint, learned, held_back, unlabelled, _simulated(config), note)


def _settle_film(picker: Picker, images: Sequence[LabelledImage]) -> tuple[Picker, list[LabelledImage], str]:
    """Pick on support film if that is where the labels are; otherwise forget those few that lie there."""
    finder = picker.film_finder
    if finder is None:
        return picker, list(images), ""
    on_film = [film_at(film_probability(finder, image.nominal), image.labels + 0.5) > 0 for image in images]
    share = float(np.concatenate(on_film).mean())
    if share > _WANTED_ON_FILM:
        picker = Picker(replace(picker.checkpoint, film={}), picker.device)
        return picker, list(images), f"; {share:.0%} of the labels lie on support film: so will picks"
    kept = [
        replace(image, labels=image.labels[~on]) if not on.all() else image
        for image, on in zip(images, on_film, strict=True)
    ]
    count = sum(len(before.labels) - len(after.labels) for before, after in zip(images, kept, strict=True))
    return picker, kept, f"; labels left out because they lie on support film: {count}" if count else ""


def _spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of them, the middles of as many equal parts."""
    count = min(count, len(items))
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]


def _check_inside(chosen: Sequence[MicrographLabels], micrographs: Sequence[Micrograph]) -> None:
    for one, micrograph in zip(chosen, micrographs, strict=True):
        height, width = micrograph.image.shape
        inside = len(one.labels.inside(height, width))
        if inside < _LEAST_INSIDE * len(one.labels):
            raise DatasetError(
                f"{one.file.path}: {len(one.labels) - inside} of its {len(one.labels)} labels lie outside of its "
                f"{width} x {height} px",
                "If the micrographs were binned after labelling, scale the labels with cryotx convert --scale.",
            )


def _margin(one: MicrographLabels, micrograph: Micrograph) -> float:
    """Smallest distance of a label from a border, in px: nobody labelled any closer."""
    height, width = micrograph.image.shape
    centres = one.labels.inside(height, width).centres
    return float(min((centres + 0.5).min(), (np.array([width, height]) - 0.5 - centres).min()))


def _diameters(
    chosen: Sequence[MicrographLabels], micrographs: Sequence[Micrograph], config: TrainConfig, picker: Picker
) -> tuple[list[float], str]:
    """Particle diameter in Å on each micrograph, and where it comes from.

    The labels' own are those of each micrograph: a CryoPPP tree may hold several proteins.
    """
    if config.diameter is not None:
        return [config.diameter] * len(chosen), "given"
    stated = [
        one.labels.diameters[np.isfinite(one.labels.diameters)] * micrograph.pixel_size
        for one, micrograph in zip(chosen, micrographs, strict=True)
    ]
    if all(len(diameters) for diameters in stated):
        return [float(np.median(diameters)) for diameters in stated], "of the labels"
    return [picker.estimate_diameter(_spread(micrographs, _DIAMETER_SAMPLE))] * len(chosen), "estimated"


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def _left_out(found: LabelSet) -> str:
    reasons = {
        "without labels": found.unlabelled,
        "with labels but not there": len(found.without_micrograph),
        f"beyond {_MOST_MICROGRAPHS}": max(len(found.micrographs) - _MOST_MICROGRAPHS, 0),
    }
    parts = [f"{count} {reason}" for reason, count in reasons.items() if count]
    return f"; micrographs left out: {', '.join(parts)}" if parts else ""


def _simulated(config: TrainConfig) -> list[Crop]:
    """Simulate crops; a short run sees each of them a few times, always turned another way."""
    rng = np.random.default_rng([config.seed, 3])
    if config.structures is not None:
        structures = read_structures(config.structures, rng)
    else:
        structures = [procedural_structure(rng) for _ in range(min(config.procedural_structures, _STRUCTURES))]
    crops = [simulated_crop(structures, rng, 256, 1.25) for _ in range(_SIMULATED_CROPS)]
    no_junk = torch.zeros_like(crops[0].junk)  # nothing learns from it here: one for all saves memory
    return [replace(crop, junk=no_junk) for crop in crops]


def _batch(data: _Data, config: TrainConfig, step: int) -> list[Crop]:
    rng = np.random.default_rng([config.seed, 4, step])
    size = config.batch_size or _BATCH_SIZE
    labelled = rng.integers(len(data.learned), size=max(1, round(_LABELLED_SHARE * size)))
    simulated = rng.integers(len(data.simulated), size=size - len(labelled))
    side = data.simulated[0].image.shape[-1]
    return [
        *(labelled_crop(data.learned[i], data.unlabelled[i], rng, side) for i in labelled),
        *(turned(data.simulated[i], rng) for i in simulated),
    ]


# ---- optimisation ----------------------------------------------------------------------------------------------------


def _learning_rate(config: TrainConfig, step: int) -> float:
    """Warm-up, then constant: the average of the weights settles by itself, and the run may end at any time."""
    return (config.learning_rate or _LEARNING_RATE) * min(1.0, (step + 1) / _WARM_UP)


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
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    output = forward(model, batch, device, supports_bfloat16(device))
    terms = center_losses(output, batch, model.config.radius)
    del terms["junk"]  # nobody labels contamination
    loss = torch.stack(list(terms.values())).sum()
    values = {name: float(value.detach()) for name, value in terms.items()}
    require_finite(values)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return values


def _is_over(run: RunState, config: TrainConfig) -> bool:
    return run.step >= config.steps or run.step - run.best_step >= _PATIENCE


# ---- judging ---------------------------------------------------------------------------------------------------------


def _tuned(initial: Checkpoint, average: WeightAverage, run: RunState, config: TrainConfig) -> Checkpoint:
    record = {
        "fine_tuned_steps": run.step,
        "seconds": round(run.seconds),
        "settings": plain_settings(config),
        "from": initial.training,
    }
    weights = {name: value.clone() for name, value in average.state.items()}
    return replace(initial, weights=weights, training=record, name="fine-tuned")


def _detect_all(checkpoint: Checkpoint, images: Sequence[LabelledImage], device: torch.device) -> list[Detected]:
    picker = Picker(checkpoint, device)
    return [detect(picker, image) for image in images]


def _validate(
    tuned: Checkpoint, held_back: Sequence[LabelledImage], run: RunState, out: Path, device: torch.device
) -> float:
    """F1 at the best cut on the held-back micrographs; weights that are the best so far, but for chance, are written.

    Of weights that agree equally well with the few labels held back, those that have seen more of the others count.
    """
    f1 = best_f1(_detect_all(tuned, held_back, device))
    run.best = max(run.best, f1)
    if f1 >= run.best - _CHANCE:
        run.best_step = run.step
        save_checkpoint(tuned, out / "best.safetensors")
    return f1


def _recalibrated(checkpoint: Checkpoint, initial: Checkpoint, seen: Sequence[Detected]) -> Checkpoint:
    return replace(checkpoint, calibration=recalibrated(initial.calibration, seen))


def _finish(
    initial: Checkpoint,
    last: Checkpoint,
    held_back: Sequence[LabelledImage],
    run: RunState,
    config: TrainConfig,
    out: Path,
    device: torch.device,
) -> FineTuned:
    """Set the probabilities of the best and the last weights, and keep the initial ones if they are no worse."""
    before = agreement(_detect_all(initial, held_back, device), initial.calibration)
    best_file = out / "best.safetensors"
    best = load_checkpoint(best_file) if run.best_step and best_file.is_file() else initial
    last = _recalibrated(last, initial, _detect_all(last, held_back, device))
    seen = _detect_all(best, held_back, device)
    best = _recalibrated(best, initial, seen)
    after = agreement(seen, best.calibration)
    helped = after.counts.f1 > before.counts.f1
    save_checkpoint(last, out / "last.safetensors")
    save_checkpoint(best if helped else initial, best_file)
    return FineTuned(
        run.step,
        config.steps,
        math.nan,
        None,
        run.seconds,
        micrographs=tuple(image.name for image in held_back),
        before=before,
        after=after if helped else before,
        helped=helped,
    )
