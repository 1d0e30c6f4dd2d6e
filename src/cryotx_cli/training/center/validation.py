"""How good a model is on labelled crops, picked by the same `Picker` that users run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryotx_cli.coordinates.agreement import match_thinned
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.training.center.data import Crop


@dataclass(frozen=True)
class Scored:
    """Every detection outside ignored particles: `logits` (n,) and `hits` (n,), of `wanted` particles in all."""

    logits: NDArray[np.float64]
    hits: NDArray[np.bool_]
    wanted: int

    @property
    def f1(self) -> float:
        """F1 at the best cut."""
        if not len(self.logits):
            return 0.0
        right = np.cumsum(self.hits[np.argsort(-self.logits)])
        return float((2 * right / (np.arange(1, len(right) + 1) + self.wanted)).max())


def score(checkpoint: Checkpoint, crops: list[Crop], device: torch.device) -> Scored:
    """Detect in every crop and match one to one within the particle's radius, nearest pairs first.

    Detections within half a diameter of a better one are dropped first, as `cryotx pick` does.
    """
    picker = Picker(checkpoint, device)
    logits, hits, wanted = [np.zeros(0)], [np.zeros(0, bool)], 0
    for crop in crops:
        found = picker.detect(crop.image[0].numpy())
        truth, ignored = crop.centres.double().numpy(), crop.ignored.numpy()
        radius = float(crop.radii[0]) if len(crop.radii) else checkpoint.model.radius
        candidates = Particles(found.centres, found.logits, 2 * found.radii, 1.0)
        kept, partner = match_thinned(candidates, truth, radius, apart_px=checkpoint.model.radius)
        hit = partner >= 0
        counts = ~hit | ~ignored[partner] if len(truth) else ~hit
        if ignored.any() and len(kept):
            distance, _ = cKDTree(truth[ignored]).query(kept.centres)
            counts &= hit | (distance > radius)
        logits.append(kept.scores[counts])
        hits.append(hit[counts])
        wanted += int((~ignored).sum())
    return Scored(np.concatenate(logits), np.concatenate(hits), wanted)
