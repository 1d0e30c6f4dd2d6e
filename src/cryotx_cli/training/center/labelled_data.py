"""Crops of labelled micrographs: labels are particles, but what nobody labelled need not be background.

People label what they see and what survives their 2D classes. A particle without a label, learned as background, would
take its likes with it. What the model sees there before it learns is therefore a hint: with the share c of particles
that have labels and the model's probability p, an unlabelled detection is a particle after all with the probability

    p (1 - c) / (1 - c p)

(Elkan & Noto 2008), and with that probability each crop leaves it out of the loss. Sure detections among half of the
particles labelled are mostly left out; doubtful ones among nearly all labelled are background, as the labels say. What
somebody has found to be no particle is always background, and says nothing of c.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryotx_cli.coordinates.agreement import match_thinned
from cryotx_cli.coordinates.chance import Field
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.training.center.data import Crop, turned

_SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)  # of the diameter: users and labels are not exact, and particles not all alike
_SURE = 0.9  # detections of at least this probability tell how many of the particles have labels
_PRIOR_DETECTIONS = 20.0
_PRIOR_SHARE = 0.8
_BORDER_FLOOR = 0.05  # where nobody labelled, everything that might be a particle is left out
_LABEL_JITTER = 0.05  # of a diameter: how exact labels are
_NEAR_A_LABEL = 0.7  # of the crops hold a label for certain, so that sparse labels are seen


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """A labelled micrograph as the network sees it.

    Attributes
    ----------
    name
        Of its file.
    images
        Prepared at each scale (height, width), float16; `scales` says how large its particles are, 1 being 24 px.
    scales
        (k,) rising.
    labels
        (n, 2) centres in px at scale 1.
    margin
        Width in px at scale 1 of the border in which nobody labelled.
    negatives
        (m, 2) centres in px at scale 1 of what is known to be no particle.
    """

    name: str
    images: tuple[NDArray[np.float16], ...]
    scales: tuple[float, ...]
    labels: NDArray[np.float64]
    margin: float
    negatives: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def nominal(self) -> NDArray[np.float32]:
        """The image at scale 1."""
        return self.images[self.scales.index(1.0)].astype(np.float32)

    @property
    def labelled_field(self) -> Field:
        """The part of the image at scale 1 in which people labelled."""
        width, height = (side - 2 * self.margin for side in self.images[self.scales.index(1.0)].shape[::-1])
        return Field((self.margin - 0.5, self.margin - 0.5), (max(width, 1.0), max(height, 1.0)))

    def in_labelled_area(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of (n, 2) points at scale 1 are as far from the border as labels are."""
        size = np.array(self.images[self.scales.index(1.0)].shape[::-1])
        return np.asarray(((points >= self.margin - 0.5) & (points <= size - 0.5 - self.margin)).all(1), np.bool_)


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """What a model sees where no label is: `centres` (n, 2) at scale 1, `doubt` (n,) that it is background."""

    centres: NDArray[np.float64]
    doubt: NDArray[np.float64]


def prepare_labelled(
    picker: Picker,
    micrograph: Micrograph,
    labels: Particles,
    diameter: float,
    margin: float,
    *,
    negatives: Particles | None = None,
    scales: bool = True,
) -> LabelledImage:
    """Bring a micrograph and its labels to the network's scale.

    Parameters
    ----------
    diameter
        Of the particles in Å.
    margin
        Width in the micrograph's pixels of the border without labels.
    negatives
        What is known to be no particle.
    scales
        Also smaller and larger, for training.
    """
    shown = _SCALES if scales else (1.0,)
    images = tuple(picker.prepare(micrograph, diameter / scale).astype(np.float16) for scale in shown)
    factor = np.array(images[shown.index(1.0)].shape[::-1]) / np.array(micrograph.image.shape[::-1])
    return LabelledImage(
        micrograph.source.name,
        images,
        shown,
        (labels.centres + 0.5) * factor - 0.5,
        margin * float(factor.mean()),
        np.zeros((0, 2)) if negatives is None else (negatives.centres + 0.5) * factor - 0.5,
    )


def unlabelled_detections(picker: Picker, images: list[LabelledImage]) -> list[Unlabelled]:
    """Detect in every image, and say of each detection without a label how likely it is a particle nonetheless."""
    radius = picker.checkpoint.model.radius
    seen = []
    for image in images:
        found = picker.detect(image.nominal)
        candidates = Particles(found.centres, picker.checkpoint.calibration(found.logits), 2 * found.radii, 1.0)
        kept, partners = match_thinned(candidates, image.labels, radius)
        labelled, wrong = partners >= 0, _is_near(kept.centres, image.negatives, radius)
        seen.append((kept, labelled, wrong & ~labelled, image.in_labelled_area(kept.centres)))
    counts = [_label_counts(kept, labelled, inside & ~wrong) for kept, labelled, wrong, inside in seen]
    overall = _share(sum(labelled for labelled, _ in counts), sum(particles for _, particles in counts), _PRIOR_SHARE)
    unlabelled = []
    for (kept, labelled, wrong, inside), here in zip(seen, counts, strict=True):
        particle = probability_though_unlabelled(kept.scores, _share(*here, overall))
        particle = np.where(inside, particle, kept.scores > _BORDER_FLOOR)
        particle = np.where(wrong, 0.0, particle)
        unlabelled.append(Unlabelled(kept.centres[~labelled], particle[~labelled]))
    return unlabelled


def probability_though_unlabelled(probabilities: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return how likely detections without a label are particles: p (1 - c) / (1 - c p), c the share with labels."""
    return np.asarray(probabilities * (1 - share) / (1 - share * probabilities), np.float64)


def labelled_crop(image: LabelledImage, unlabelled: Unlabelled, rng: np.random.Generator, size: int = 256) -> Crop:
    """Cut a random window at a random scale and turn it one of eight ways; what lies beyond the image is mid-grey."""
    number = int(rng.integers(len(image.scales)))
    pixels, scale = image.images[number], image.scales[number]
    labels = (image.labels + 0.5) * scale - 0.5
    x0, y0 = _corner(pixels.shape, np.concatenate([labels, (image.negatives + 0.5) * scale - 0.5]), rng, size)
    labels = labels + rng.normal(0, _LABEL_JITTER * PIXELS_PER_DIAMETER * scale, labels.shape)
    doubtful = unlabelled.centres[rng.random(len(unlabelled.centres)) < unlabelled.doubt]
    centres = np.concatenate([labels, (doubtful + 0.5) * scale - 0.5]) - [x0, y0]
    ignored = np.arange(len(centres)) >= len(labels)
    radius = PIXELS_PER_DIAMETER / 2 * scale
    near = ((centres > -0.5 - radius / 2) & (centres < size - 0.5 + radius / 2)).all(1)
    ignored |= ((centres < -0.5) | (centres > size - 0.5)).any(1)
    window = np.zeros((size, size), np.float32)
    part = pixels[y0 : y0 + size, x0 : x0 + size]
    window[: part.shape[0], : part.shape[1]] = part
    crop = Crop(
        image=torch.from_numpy(window)[None],
        centres=torch.from_numpy(centres[near].astype(np.float32)),
        radii=torch.full((int(near.sum()),), radius),
        ignored=torch.from_numpy(ignored[near]),
        junk=torch.zeros(size, size),
    )
    return turned(crop, rng)


def _corner(shape: tuple[int, ...], known: NDArray[np.float64], rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Upper left corner (x, y) of a window, in most cases one that holds a label or what is known to be none."""
    room = np.maximum(np.array(shape[::-1]) - size, 0)
    if rng.random() < _NEAR_A_LABEL:
        corner = known[int(rng.integers(len(known)))] - rng.uniform(0, size, 2)
    else:
        corner = rng.uniform(0, 1, 2) * (room + 1)
    x0, y0 = np.clip(np.floor(corner).astype(int), 0, room).tolist()
    return x0, y0


def _is_near(points: NDArray[np.float64], others: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """Which of (n, 2) points lie within a radius of one of the others."""
    if not len(others):
        return np.zeros(len(points), np.bool_)
    return np.asarray(cKDTree(others).query(points)[0] <= radius, np.bool_)


def _label_counts(kept: Particles, labelled: NDArray[np.bool_], inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Sure detections with labels, and how many sure detections are particles."""
    sure = inside & (kept.scores > _SURE)
    return float((labelled & sure).sum()), float(kept.scores[sure].sum())


def _share(labelled: float, particles: float, prior: float) -> float:
    """Share of the particles that have labels; a few of them say little against the prior."""
    return min((labelled + prior * _PRIOR_DETECTIONS) / (particles + _PRIOR_DETECTIONS), 0.99)
