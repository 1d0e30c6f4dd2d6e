"""How a model's detections agree with the labels of micrographs, and probabilities that follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from cryotx_cli.coordinates.agreement import (
    Counts,
    average_precision,
    dice,
    disc_overlap,
    match,
    precision_recall_curve,
)
from cryotx_cli.coordinates.chance import Field, pairs_by_chance
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.calibration import Calibration
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.runs.expected_f1 import automatic_cut
from cryotx_cli.training.center.labelled_data import LabelledImage
from cryotx_cli.training.progress import Agreement

_SMALLEST_ODDS = 1e-6
_ENOUGH_MICROGRAPHS = 5
"""Of fewer, parts are compared instead of whole micrographs: two or three say nothing of a spread."""
_FEWEST_PARTS = 8


@dataclass(frozen=True, eq=False)
class Detected:
    """What a model finds in one labelled image, at most one detection a particle.

    Attributes
    ----------
    logits, hits, judged
        (n,) of each: the network's logit, whether it has a label, and whether it lies where people labelled.
    centres, labels
        (n, 2) and (m, 2) in px: of the detections, and where the labels are.
    radius
        Of a particle in px.
    field
        Where people labelled.
    """

    logits: NDArray[np.float64]
    hits: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    centres: NDArray[np.float64]
    labels: NDArray[np.float64]
    radius: float
    field: Field


def detect(picker: Picker, image: LabelledImage) -> Detected:
    """Detect, drop what lies within half a diameter of a better one, and match to the labels within the same."""
    radius = picker.checkpoint.model.radius
    found = picker.detect(image.nominal)
    kept = Particles(found.centres, found.logits, 2 * found.radii, 1.0).with_minimum_distance(radius)
    judged = image.in_labelled_area(kept.centres)
    hits = np.zeros(len(kept), bool)
    hits[judged] = match(kept.centres[judged], image.labels, radius) >= 0
    return Detected(kept.scores, hits, judged, kept.centres, image.labels, radius, image.labelled_field)


def best_f1(seen: Sequence[Detected]) -> float:
    """F1 at the best cut of the logits."""
    logits, hits, labels = _judged(seen)
    curve = precision_recall_curve(logits, hits, labels)
    with np.errstate(invalid="ignore"):
        f1 = 2 * curve.precision * curve.recall / (curve.precision + curve.recall)
    return float(np.nan_to_num(f1).max(initial=0.0))


def agreement(seen: Sequence[Detected], weights: Checkpoint) -> Agreement:
    """Judge what `cryotx pick` keeps by itself of every image, with the probabilities of these weights."""
    parts: list[Counts] = []
    overlaps, by_chance = [], 0.0
    side = 1 if len(seen) >= _ENOUGH_MICROGRAPHS else math.ceil(math.sqrt(_FEWEST_PARTS / len(seen)))
    for number, one in enumerate(seen):
        probabilities = weights.calibration(one.logits)
        kept = (probabilities >= automatic_cut(probabilities, unsure=weights.is_adapted)) & one.judged
        picks = one.centres[kept]
        overlaps.append(disc_overlap(picks, one.labels, 2 * one.radius))
        by_chance += pairs_by_chance(picks, one.labels, one.radius, one.field, number)
        of_picks, of_labels = (_part_of(points, one.field, side) for points in (picks, one.labels))
        counted = (np.bincount(of, minlength=side**2) for of in (of_picks, of_labels, of_picks[one.hits[kept]]))
        parts += [Counts(*map(int, numbers)) for numbers in zip(*counted, strict=True)]
    counts = sum(parts, Counts())
    precision = average_precision(*_judged(seen))
    return Agreement(counts, precision, counts.f1_of(by_chance), dice(overlaps), tuple(parts))


def _part_of(points: NDArray[np.float64], field: Field, side: int) -> NDArray[np.intp]:
    """Return in which of side x side equal parts of the field each point lies; beyond its border, in the next one."""
    column, row = np.floor((points - field.corner) / field.size * side).astype(np.intp).clip(0, side - 1).T
    return np.asarray(row * side + column, np.intp)


def recalibrated(calibration: Calibration, seen: Sequence[Detected]) -> Calibration:
    r"""Shift and stretch probabilities until they say how often such detections have labels.

    Some particles have no label however sure the detection, so that the share of labels is
    :math:`c\,\sigma(a x + b)` of detections with the log-odds :math:`x`; the new probability is
    :math:`\sigma(a x + b)`. Three numbers, so that a few hundred detections suffice, found by maximum likelihood with
    priors that leave the calibration as it is where detections say little (:math:`\log a` and :math:`b` normal around 0
    with 0.5 and 1, the log-odds of :math:`c` around 2.5 with 1).
    """
    logits, hits, _ = _judged(seen)
    odds = _log_odds(calibration(logits))

    def loss(parameters: NDArray[np.float64]) -> float:
        log_a, b, share = parameters
        labelled = np.clip(expit(share) * expit(np.exp(log_a) * odds + b), 1e-9, 1 - 1e-9)
        misfit = -np.log(np.where(hits, labelled, 1 - labelled)).sum()
        return float(misfit + ((log_a / 0.5) ** 2 + b**2 + (share - 2.5) ** 2) / 2)

    log_a, b, _ = minimize(loss, np.array([0.0, 0.0, 2.5]), method="Nelder-Mead").x
    after = expit(np.exp(log_a) * _log_odds(np.asarray(calibration.probabilities)) + b)
    return Calibration(calibration.logits, tuple(after.tolist()))


def _judged(seen: Sequence[Detected]) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Logits and hits of all detections where people labelled, and the number of labels."""
    logits = np.concatenate([one.logits[one.judged] for one in seen])
    hits = np.concatenate([one.hits[one.judged] for one in seen])
    return logits, hits, sum(len(one.labels) for one in seen)


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = logit(np.clip(probabilities, _SMALLEST_ODDS, 1 - _SMALLEST_ODDS))
    return odds
