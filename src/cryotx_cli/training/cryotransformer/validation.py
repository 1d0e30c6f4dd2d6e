"""How good the paper's model is on the labelled images of a COCO folder, picked by the `DetrPicker` that users run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from cryotx_cli.coordinates.agreement import match_thinned
from cryotx_cli.coordinates.coco_agreement import PicksAndTruth, coco_average_precision
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.datasets.coco import CocoDataset
from cryotx_cli.detector.cryotransformer.checkpoint import DetrCheckpoint
from cryotx_cli.detector.cryotransformer.picker import DetrPicker
from cryotx_cli.training.center.calibration import fit_calibration
from cryotx_cli.training.center.validation import Scored
from cryotx_cli.training.cryotransformer.data import read_grey_levels

_FEWEST_TO_CALIBRATE = 100


@dataclass(frozen=True)
class ScoredBoxes(Scored):
    """Also COCO's average precision of the boxes, AP@[.50:.95]; None where there is no particle to find."""

    coco_ap: float | None


def score(checkpoint: DetrCheckpoint, dataset: CocoDataset, device: torch.device) -> ScoredBoxes:
    """Detect in every image as `cryotx pick` does and match one to one within half a diameter, nearest pairs first.

    Detections within half a diameter of a better one are dropped first. COCO's measure is of what is left, as squares
    of the size that the network found, with the squares around the true centres.
    """
    picker = DetrPicker(checkpoint, device)
    logits, hits, boxes, wanted = [np.zeros(0)], [np.zeros(0, bool)], [], 0
    for image in dataset.images:
        found = picker.detect(read_grey_levels(dataset, image, checkpoint.input.pipeline).astype(np.float32))
        truth = image.particles
        sides = truth.diameters if len(truth) else 2 * found.radii
        radius = float(np.median(sides)) / 2
        candidates = Particles(found.centres, found.logits, 2 * found.radii, 1.0)
        kept, partners = match_thinned(candidates, truth.centres, radius)
        logits.append(kept.scores)
        hits.append(partners >= 0)
        boxes.append(PicksAndTruth(kept.centres, truth.centres, kept.scores, 2 * radius, kept.diameters))
        wanted += len(truth)
    coco = coco_average_precision(boxes)
    return ScoredBoxes(np.concatenate(logits), np.concatenate(hits), wanted, coco.average if coco else None)


def calibrated(checkpoint: DetrCheckpoint, scored: Scored) -> DetrCheckpoint:
    """Fit probabilities to the hits on the validation images; too few or too uniform detections change nothing."""
    if len(scored.logits) < _FEWEST_TO_CALIBRATE or not 0 < scored.hits.mean() < 1:
        return checkpoint
    return replace(checkpoint, calibration=fit_calibration(scored.logits, scored.hits))
