"""What adapting learns from: labelled micrographs, some of them held back, and simulated ones beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cryotx_cli.config import AdaptConfig
from cryotx_cli.datasets.labelled import LabelSet, MicrographLabels
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.film import film_at, film_probability
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.errors import DatasetError
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
from cryotx_cli.simulator.structures import procedural_structure, read_structures
from cryotx_cli.training.center.data import Crop, simulated_crop, turned
from cryotx_cli.training.center.labelled_data import (
    LabelledImage,
    Unlabelled,
    labelled_crop,
    prepare_labelled,
    unlabelled_detections,
)
from cryotx_cli.wording import counted

T = TypeVar("T")

_LABELLED_SHARE = 0.375  # of a batch; the others are simulated
_SIMULATED_CROPS = 300
_MOST_MICROGRAPHS = 40  # they stay in memory; 300 particles each are more than the model can still learn from
_HELD_BACK = 0.2  # of the micrographs, at least one
_DIAMETER_SAMPLE = 3
_LEAST_INSIDE = 0.9
_WANTED_ON_FILM = 0.2  # of the labels: where film is avoided, a few lie there all the same


@dataclass(frozen=True, eq=False)
class AdaptData:
    """Labelled micrographs at the network's scale, what to start from, and what people should know about it."""

    initial: Checkpoint
    learned: list[LabelledImage]
    held_back: list[LabelledImage]
    unlabelled: list[Unlabelled]
    simulated: list[Crop]
    note: str


def read_adapt_data(found: LabelSet, config: AdaptConfig, picker: Picker) -> AdaptData:
    """Read the labelled micrographs, hold some back and prepare everything that batches are made of."""
    labelled = sum(len(one.labels) > 0 for one in found.micrographs)
    if labelled < 2:
        raise DatasetError(
            f"{config.data}: {counted(labelled, 'labelled micrographs')}, where at least 2 are needed: one to learn "
            "from and one to judge by",
            "Label another one; five are a good number.",
        )
    chosen = _spread(found.micrographs, _MOST_MICROGRAPHS)
    micrographs = [read_micrograph(one.file, config.pixel_size) for one in chosen]
    _check_inside(chosen, micrographs)
    diameters, source = _diameters(chosen, micrographs, config, picker)
    with_labels = [number for number, one in enumerate(chosen) if len(one.labels)]  # others have negatives alone
    margin = min(_margin(chosen[number], micrographs[number]) for number in with_labels)
    held = set(_spread(with_labels, max(1, round(_HELD_BACK * len(with_labels)))))
    images = [
        prepare_labelled(
            picker, micrograph, one.labels, diameter, margin, negatives=one.negatives, scales=number not in held
        )
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
    note += _negatives(learned) + _left_out(found) + on_film
    unlabelled = unlabelled_detections(picker, learned)
    return AdaptData(picker.checkpoint, learned, held_back, unlabelled, _simulated(config), note)


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
    chosen: Sequence[MicrographLabels], micrographs: Sequence[Micrograph], config: AdaptConfig, picker: Picker
) -> tuple[list[float], str]:
    """Particle diameter in Å on each micrograph, and where it comes from.

    The labels' own are those of each micrograph: a CryoPPP tree may hold several proteins.
    """
    if config.diameter is not None:
        return [config.diameter] * len(chosen), "given"
    stated = [
        known[np.isfinite(known)] * micrograph.pixel_size
        for known, micrograph in zip(map(_stated_diameters, chosen), micrographs, strict=True)
    ]
    if all(len(diameters) for diameters in stated):
        return [float(np.median(diameters)) for diameters in stated], "of the labels"
    return [picker.estimate_diameter(_spread(micrographs, _DIAMETER_SAMPLE))] * len(chosen), "estimated"


def _stated_diameters(one: MicrographLabels) -> NDArray[np.float64]:
    return np.concatenate([part.diameters for part in (one.labels, one.negatives) if part is not None])


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def _negatives(learned: Sequence[LabelledImage]) -> str:
    count = sum(len(image.negatives) for image in learned)
    return f"; known to be no particles: {counted(count, 'picks')}" if count else ""


def _left_out(found: LabelSet) -> str:
    reasons = {
        "without labels": found.unlabelled,
        "with labels but not there": len(found.without_micrograph),
        "changed since they were labelled": len(found.changed),
        f"beyond {_MOST_MICROGRAPHS}": max(len(found.micrographs) - _MOST_MICROGRAPHS, 0),
    }
    parts = [f"{count} {reason}" for reason, count in reasons.items() if count]
    return f"; micrographs left out: {', '.join(parts)}" if parts else ""


def _simulated(config: AdaptConfig) -> list[Crop]:
    """Simulate crops; a short run sees each of them a few times, always turned another way."""
    rng = np.random.default_rng([config.seed, 3])
    if config.structures is not None:
        structures = read_structures(config.structures, rng)
    else:
        structures = [procedural_structure(rng) for _ in range(config.procedural_structures)]
    crops = [simulated_crop(structures, rng, 256, 1.25) for _ in range(_SIMULATED_CROPS)]
    no_junk = torch.zeros_like(crops[0].junk)  # nothing learns from it here: one for all saves memory
    return [replace(crop, junk=no_junk) for crop in crops]


def batch_of(data: AdaptData, config: AdaptConfig, step: int) -> list[Crop]:
    """Return the crops of a step, labelled and simulated ones; they depend on the seed and the step alone."""
    rng = np.random.default_rng([config.seed, 4, step])
    size = config.batch_size
    labelled = rng.integers(len(data.learned), size=max(1, round(_LABELLED_SHARE * size)))
    simulated = rng.integers(len(data.simulated), size=size - len(labelled))
    side = data.simulated[0].image.shape[-1]
    return [
        *(labelled_crop(data.learned[i], data.unlabelled[i], rng, side) for i in labelled),
        *(turned(data.simulated[i], rng) for i in simulated),
    ]
