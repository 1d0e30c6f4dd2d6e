"""How well picks agree with the truth: one-to-one matching, precision, recall, F1, Dice, average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotx_cli.coordinates.particles import Particles

_DISC_RADIUS_CELLS = 32.0
"""Discs are drawn with this radius where the mask allows it: their area is then right to 0.5 %."""
_MASK_SIDE_CELLS = 8192
"""Masks never get larger than this (64 MB), however small the discs and however far apart they lie."""


@dataclass(frozen=True)
class Counts:
    """Picks, true particles, and pairs of the two; the counts of several micrographs add up.

    With nothing to find and nothing picked, all three ratios are 1: the answer is right.
    """

    picks: int = 0
    truth: int = 0
    matched: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.picks + other.picks, self.truth + other.truth, self.matched + other.matched)

    @property
    def precision(self) -> float:
        """Share of the picks that are particles."""
        return _ratio(self.matched, self.picks, self.truth)

    @property
    def recall(self) -> float:
        """Share of the particles that were picked."""
        return _ratio(self.matched, self.truth, self.picks)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 TP / (picks + truth)."""
        return self.f1_of(self.matched)

    def f1_of(self, matched: float) -> float:
        """F1 of as many picks and true particles with another number of pairs, or the mean of several such numbers."""
        return _ratio(2 * matched, self.picks + self.truth, 0)


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall (k,) when picks of at least `thresholds` (k,) are kept, thresholds descending."""

    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def match(picks: ArrayLike, truth: ArrayLike, radius_px: float) -> NDArray[np.intp]:
    """Pair picks with true centres one to one within a radius, the nearest pairs first.

    Parameters
    ----------
    picks, truth
        (n, 2) and (m, 2) centres in the same pixels.
    radius_px
        Largest distance of a pair, inclusive.

    Returns
    -------
    ndarray of int, shape (n,)
        Index of the true centre that each pick got, -1 for none. Of pairs equally far apart the pick listed first
        wins, then the true centre listed first.
    """
    partner = np.full(len(_points(picks)), -1, np.intp)
    for i, j in one_to_one(near_pairs(picks, truth, radius_px), len(partner)):
        partner[i] = j
    return partner


def match_thinned(
    found: Particles, truth: ArrayLike, radius_px: float, apart_px: float | None = None
) -> tuple[Particles, NDArray[np.intp]]:
    """Drop what lies beside a better one, as ``cryotx pick`` does, and `match` the rest.

    Parameters
    ----------
    found, truth
        Particles, and (m, 2) true centres in the same pixels.
    radius_px
        Largest distance of a pair, inclusive.
    apart_px
        Smallest distance of two that stay; as large as the radius if not given.

    Returns
    -------
    kept : Particles
        (n,) those that stay, in their order.
    partners : ndarray of int, shape (n,)
        As of `match`.
    """
    kept = found.with_minimum_distance(radius_px if apart_px is None else apart_px)
    return kept, match(kept.centres, truth, radius_px)


def near_pairs(picks: ArrayLike, truth: ArrayLike, radius_px: float) -> NDArray[np.intp]:
    """Return every pick and true centre within a radius of each other, in the order in which `match` looks at them.

    Returns
    -------
    ndarray of int, shape (k, 2)
        Indices of pick and true centre, the nearest first; then by pick, then by true centre.
    """
    from scipy.spatial import cKDTree  # picking takes this module along and compares nothing

    p, t = cKDTree(_points(picks)), cKDTree(_points(truth))
    near = p.sparse_distance_matrix(t, radius_px, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"], near["v"]))
    return np.column_stack([near["i"], near["j"]])[order].astype(np.intp)


def one_to_one(pairs: NDArray[np.intp], picks: int) -> list[tuple[int, int]]:
    """Return those of the `near_pairs` that `match` makes of the first `picks` picks alone."""
    picked, found, made = set(), set(), []
    for i, j in pairs.tolist():
        if i < picks and i not in picked and j not in found:
            picked.add(i)
            found.add(j)
            made.append((i, j))
    return made


def precision_recall_curve(scores: ArrayLike, hits: ArrayLike, truth: int) -> PrecisionRecallCurve:
    """Precision and recall at every distinct score, of picks that were matched once and for all.

    Parameters
    ----------
    scores
        (n,) of all picks, of all micrographs together.
    hits
        (n,) bool: which of them have a true partner.
    truth
        Number of true particles.

    Returns
    -------
    PrecisionRecallCurve
        Picks of equal score enter together, so that their order cannot matter. Recall is 0 if `truth` is 0.
    """
    scores, hits = np.asarray(scores, np.float64), np.asarray(hits, bool)
    order = np.argsort(-scores, kind="stable")
    scores, matched = scores[order], np.cumsum(hits[order])
    last_of_score = np.flatnonzero(np.diff(scores, append=-np.inf) != 0)
    matched, kept = matched[last_of_score], last_of_score + 1
    return PrecisionRecallCurve(scores[last_of_score], matched / kept, matched / max(truth, 1))


def average_precision(scores: ArrayLike, hits: ArrayLike, truth: int) -> float:
    r"""Area under the precision-recall curve as a step function, :math:`\sum_k (R_k - R_{k-1}) P_k`.

    The parameters are those of `precision_recall_curve`. 1 if there is nothing to find and nothing was picked.
    """
    if truth == 0:
        return _ratio(0, 0, np.size(scores))
    curve = precision_recall_curve(scores, hits, truth)
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * curve.precision))


def disc_overlap(picks: ArrayLike, truth: ArrayLike, diameter_px: float) -> tuple[float, float]:
    """Measure the union of discs around the picks against the union of discs around the true centres.

    Parameters
    ----------
    picks, truth
        (n, 2) and (m, 2) centres in pixels.
    diameter_px
        Of every disc.

    Returns
    -------
    common : float
        Area in px² that both unions cover.
    total : float
        Sum of the areas of the two unions in px². Dice is ``2 * common / total``, also over several micrographs.
    """
    p, t = _points(picks), _points(truth)
    if not len(p) + len(t):
        return 0.0, 0.0
    corner = np.vstack([p, t]).min(axis=0) - diameter_px
    extent = np.vstack([p, t]).max(axis=0) + diameter_px - corner
    cell = max(diameter_px / 2 / _DISC_RADIUS_CELLS, extent.max() / _MASK_SIDE_CELLS)
    width, height = np.ceil(extent / cell).astype(int) + 2
    masks = [_draw_discs((points - corner) / cell, diameter_px / 2 / cell, (height, width)) for points in (p, t)]
    common, total = np.count_nonzero(masks[0] & masks[1]), sum(np.count_nonzero(mask) for mask in masks)
    return common * cell**2, total * cell**2


def dice(overlaps: Sequence[tuple[float, float]]) -> float:
    """Dice coefficient of one or several micrographs from their `disc_overlap`; 1 if there are no discs at all."""
    common, total = (sum(values) for values in zip(*overlaps, strict=True)) if overlaps else (0.0, 0.0)
    return _ratio(2 * common, total, 0)


def _points(points: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(points, np.float64).reshape(-1, 2)


def _ratio(part: float, whole: float, unanswered: float) -> float:
    if whole > 0:
        return float(part / whole)
    return 0.0 if unanswered > 0 else 1.0


def _draw_discs(centres: NDArray[np.float64], radius: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    side = np.arange(int(2 * radius) + 2)
    for x, y in centres:
        left, top = int(x - radius), int(y - radius)
        inside = (top + side - y)[:, None] ** 2 + (left + side - x)[None, :] ** 2 <= radius**2
        mask[top : top + len(side), left : left + len(side)] |= inside
    return mask
