"""Refit only the class layer of a network on labelled micrographs: minutes on a CPU.

The original was trained with "particle" and "no object" as one class, so its class layer learned nothing while its
boxes did. What a query found is a vector; a logistic regression tells the vectors of boxes on particles from the
others, and its coefficients are the new class layer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.special import expit

from cryotx_cli.config import RefitConfig
from cryotx_cli.coordinates.agreement import match_thinned
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.coco import CocoDataset, CocoImage, open_coco
from cryotx_cli.datasets.cryoppp import CryopppMicrograph, cryoppp_tree, find_labelled_micrographs
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint, save_detr_checkpoint
from cryotx_cli.detector.cryotransformer.picker import DetrPicker, stored_frame
from cryotx_cli.detector.device import resolve_device
from cryotx_cli.detector.families import CRYOTRANSFORMER
from cryotx_cli.errors import CheckpointError, DatasetError
from cryotx_cli.micrographs.micrograph import read_micrograph
from cryotx_cli.training import run
from cryotx_cli.training.center.validation import Scored
from cryotx_cli.training.cryotransformer.data import pipeline_of, read_grey_levels
from cryotx_cli.training.cryotransformer.validation import calibrated
from cryotx_cli.training.progress import StepReport

T = TypeVar("T")
_Labelled = tuple[NDArray[np.float32], Particles]  # what the network is shown, and the true particles

_MOST_MICROGRAPHS = 30  # 600 queries each: far more examples than the 257 coefficients need
_HELD_OUT = 5  # every fifth micrograph judges the fit and calibrates it
_DECAY = 1e-4


@dataclass(frozen=True, eq=False)
class _Found:
    """What the queries found on one micrograph: vectors (Q, C), boxes as particles, the true ones, and who is right."""

    vectors: NDArray[np.float64]
    boxes: Particles
    truth: Particles
    on_particle: NDArray[np.bool_]


def refit_head(out: Path, config: RefitConfig) -> Iterator[StepReport]:
    """Fit the class layer of ``config.init`` to the labels in ``config.data`` and write ``last.safetensors``.

    At most 30 micrographs are used, spread over all. Those of a CryoPPP tree are prepared as the network learned them;
    the images of a COCO folder are taken as they are, and so will be those to be picked.

    Yields
    ------
    StepReport
        One a micrograph; the last one has the loss of the fit, and F1 at the best cut on every fifth micrograph, which
        the fit did not see (of fewer than five, on all of them).

    Raises
    ------
    CheckpointError
        If the weights cannot be used.
    DatasetError
        If the data cannot be used, the boxes are all on particles or none is, or the folder holds another run.
    """
    began = time.monotonic()
    if (out / "last.safetensors").exists():
        raise DatasetError(f"{out}: holds a run already", "Choose another --out.")
    checkpoint, images = _prepared_for(config.data, _weights(config.init))
    picker = DetrPicker(checkpoint, resolve_device(config.device), legacy_percentile=0.0)
    run.make_folder(out, config)
    found = []
    for number, image in enumerate(images, 1):
        found.append(_find(picker, *image(picker)))
        if number < len(images):
            yield StepReport(number, len(images), math.nan, None, time.monotonic() - began)
    judges = found[::_HELD_OUT] if len(found) >= _HELD_OUT else found
    students = [one for number, one in enumerate(found) if number % _HELD_OUT] if len(found) >= _HELD_OUT else found
    weight, bias, loss = _logistic_regression(students, config.data)
    scored = _score(judges, weight, bias)
    refitted = calibrated(_with_class_layer(checkpoint, weight, bias, len(students)), scored)
    save_detr_checkpoint(refitted, out / "last.safetensors")
    yield StepReport(len(images), len(images), loss, scored.f1, time.monotonic() - began)


def _weights(init: str) -> DetrCheckpoint:
    checkpoint = CRYOTRANSFORMER.read(init)
    if checkpoint.model.num_classes != 1:
        raise CheckpointError(
            f"--init {init}: a network of {checkpoint.model.num_classes} classes, whose boxes are not of particles",
            "Train it on particles instead: leave out --refit-head.",
        )
    return checkpoint


def _prepared_for(
    data: Path, checkpoint: DetrCheckpoint
) -> tuple[DetrCheckpoint, list[Callable[[DetrPicker], _Labelled]]]:
    """Return the network as it will be shown these data, and what reads each of the chosen micrographs."""
    if cryoppp_tree(data) is not None:
        labelled = [one for one in find_labelled_micrographs(data) if one.labels is not None]
        if not labelled:
            raise DatasetError(f"{data}: no micrograph has labels", "Labels are particle_coordinates/<stem>.csv.")
        return checkpoint, [partial(_read_micrograph, one) for one in _spread(labelled)]
    dataset = open_coco(data, "train")
    shown = replace(checkpoint.input, pipeline=pipeline_of(dataset))
    return replace(checkpoint, input=shown), [partial(_read_image, dataset, one) for one in _spread(dataset.images)]


def _spread(items: Sequence[T]) -> list[T]:
    """Return at most 30 of them, from the first to the last."""
    count = min(len(items), _MOST_MICROGRAPHS)
    return [items[number * len(items) // count] for number in range(count)]


def _read_micrograph(labelled: CryopppMicrograph, picker: DetrPicker) -> _Labelled:
    micrograph = read_micrograph(labelled.file, math.nan)  # labels are in pixels: no pixel size is needed
    return picker.prepare(micrograph, math.nan), labelled.read_particles()


def _read_image(dataset: CocoDataset, image: CocoImage, picker: DetrPicker) -> _Labelled:
    return read_grey_levels(dataset, image, picker.checkpoint.input.pipeline).astype(np.float32), image.particles


def _find(picker: DetrPicker, prepared: NDArray[np.float32], truth: Particles) -> _Found:
    """Run the network and keep what its class layer is given."""
    given: list[torch.Tensor] = []
    hook = picker.model.class_embed.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        _, boxes = picker.answers(prepared)
    finally:
        hook.remove()
    height, width = prepared.shape
    sides = boxes.double().numpy() * [width, height, width, height]
    centres = stored_frame(sides[:, :2], height, picker.checkpoint.input.pipeline)
    particles = Particles(centres, np.ones(len(centres)), sides[:, 2:].mean(1), math.nan)
    # Several queries may have found one particle: all of them are right, and picking drops the worse ones.
    near = cKDTree(truth.centres).query(centres)[0] if len(truth) else np.full(len(centres), np.inf)
    return _Found(
        given[-1][-1, 0].double().cpu().numpy(), particles, truth, np.asarray(near <= _radius(truth, particles))
    )


def _radius(truth: Particles, boxes: Particles) -> float:
    """Half a diameter in pixels: how far from the true centre a pick may lie."""
    return float(np.median((truth if len(truth) else boxes).diameters)) / 2


def _logistic_regression(found: list[_Found], data: Path) -> tuple[NDArray[np.float64], float, float]:
    """Return weights (C,), bias and loss of the regression of `on_particle` on the vectors."""
    vectors, right = np.concatenate([one.vectors for one in found]), np.concatenate([one.on_particle for one in found])
    if right.all() or not right.any():
        raise DatasetError(
            f"{data}: {'all' if right.any() else 'none'} of {len(right)} boxes are on labelled particles",
            "Check that the weights find these particles (--selection legacy) and that labels and images fit.",
        )
    mean, deviation = vectors.mean(0), vectors.std(0) + 1e-6
    inputs, signs = (vectors - mean) / deviation, np.where(right, 1.0, -1.0)

    def objective(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (inputs @ parameters[:-1] + parameters[-1])
        pull = -signs * expit(-margins) / len(signs)
        gradient = np.append(inputs.T @ pull + 2 * _DECAY * parameters[:-1], pull.sum())
        return float(np.logaddexp(0, -margins).mean() + _DECAY * parameters[:-1] @ parameters[:-1]), gradient

    solved = minimize(objective, np.zeros(inputs.shape[1] + 1), jac=True, method="L-BFGS-B")
    weight = solved.x[:-1] / deviation
    return weight, float(solved.x[-1] - weight @ mean), float(solved.fun)


def _score(found: list[_Found], weight: NDArray[np.float64], bias: float) -> Scored:
    """Match what is left half a diameter apart one to one, as picks are judged."""
    logits, hits = [], []
    for one in found:
        radius = _radius(one.truth, one.boxes)
        scores = one.vectors @ weight + bias
        candidates = Particles(one.boxes.centres, scores, one.boxes.diameters, math.nan)
        kept, partners = match_thinned(candidates, one.truth.centres, radius)
        logits.append(kept.scores)
        hits.append(partners >= 0)
    return Scored(np.concatenate(logits), np.concatenate(hits), sum(len(one.truth) for one in found))


def _with_class_layer(
    checkpoint: DetrCheckpoint, weight: NDArray[np.float64], bias: float, micrographs: int
) -> DetrCheckpoint:
    """Put the regression into class 0, "particle", against a constant 0 for "no object"."""
    rows = np.stack([weight, np.zeros_like(weight)])
    new = {
        "class_embed.weight": torch.from_numpy(rows).float(),
        "class_embed.bias": torch.tensor([bias, 0.0]),
    }
    record = {"class_layer_refitted_on_micrographs": micrographs, "weights": Path(checkpoint.name).name}
    return replace(checkpoint, weights={**checkpoint.weights, **new}, degenerate_class_head=False, training=record)
