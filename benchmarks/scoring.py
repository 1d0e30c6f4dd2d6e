"""Score picks on simulated micrographs, where every particle is known and some can neither be right nor wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from cryotx_cli.coordinates.agreement import average_precision, match
from cryotx_cli.detector.center.picker import Picker
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.runs.selection import ExpectedF1, choose
from cryotx_cli.training.center.calibration import expected_calibration_error

COLUMNS = ("P", "R", "F1", "best", "AP", "ECE", "dup")
_LOWEST = 0.02  # candidates below it say nothing about calibration or average precision


@dataclass(frozen=True, eq=False)
class Scene:
    """A simulated micrograph with its truth.

    Attributes
    ----------
    micrograph
        What the picker sees.
    centres
        (n, 2) in px.
    ignored
        (n,) bool: particles that are neither right nor wrong to pick.
    diameter
        Of the particles, in Å.
    """

    micrograph: Micrograph
    centres: np.ndarray
    ignored: np.ndarray
    diameter: float


@dataclass(frozen=True, eq=False)
class Judged:
    """Counts of one micrograph, ignored particles left out; `raw` and `doubles` are before the minimum distance."""

    own_hits: int
    own_picks: int
    wanted: int
    scores: np.ndarray
    hits: np.ndarray
    raw: int
    doubles: int


def judge(picker: Picker, scene: Scene) -> Judged:
    """Pick with the command's own defaults and the known diameter; pair one to one within half a diameter."""
    radius = scene.diameter / 2 / scene.micrograph.pixel_size
    found = picker.pick(scene.micrograph, scene.diameter)
    apart = found.with_minimum_distance(radius)
    keep = choose(apart, ExpectedF1())
    lowest = apart.scores[keep].min(initial=np.inf)
    raw = found.above(lowest)
    partner = match(apart.centres, scene.centres, radius)
    hits = partner >= 0
    counts = ~hits | ~scene.ignored[partner] if len(scene.centres) else ~hits
    if scene.ignored.any() and len(apart):
        distance, _ = cKDTree(scene.centres[scene.ignored]).query(apart.centres)
        counts &= hits | (distance > radius)
    likely = counts & (apart.scores >= _LOWEST)
    return Judged(
        own_hits=int((hits & keep & counts).sum()),
        own_picks=int((keep & counts).sum()),
        wanted=int((~scene.ignored).sum()),
        scores=apart.scores[likely],
        hits=hits[likely],
        raw=len(raw),
        doubles=len(raw) - len(raw.with_minimum_distance(radius)),
    )


def summary(judged: Sequence[Judged]) -> dict[str, float]:
    """Precision, recall and F1 of the own cut, best F1, AP, calibration error, and share of doubles of all together."""
    hits, picks, wanted, raw, doubles = (
        sum(getattr(one, name) for one in judged) for name in ("own_hits", "own_picks", "wanted", "raw", "doubles")
    )
    score, hit = np.concatenate([one.scores for one in judged]), np.concatenate([one.hits for one in judged])
    right = np.cumsum(hit[np.argsort(-score, kind="stable")])
    return {
        "P": hits / max(picks, 1),
        "R": hits / max(wanted, 1),
        "F1": 2 * hits / max(picks + wanted, 1),
        "best": float((2 * right / (np.arange(1, len(right) + 1) + wanted)).max(initial=0.0)),
        "AP": average_precision(score, hit, wanted),
        "ECE": expected_calibration_error(score, hit) if len(score) else 0.0,
        "dup": doubles / max(raw, 1),
    }
