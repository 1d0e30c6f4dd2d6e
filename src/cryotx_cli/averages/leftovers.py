"""Picks that fit no average better than places in noise do, and of which the detector is not sure, either.

How well a pick fits says little where the average was made with it: it fits itself. So picks are compared with the
averages of the half that they are not in, and so are places in noise. Were all picks noise, half of them would fit less
well than the middle place in noise does; twice those that do are about as many as noise explains. From that follows how
many particles there are below each fit, and the leftovers end where more than a few would go with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Fits = NDArray[np.float64]

LOST = 0.005
"""Share of the particles that may be among the leftovers, as far as fits and noise tell."""
UNSURE = 0.5
"""Picks with a higher score are never among them."""
_PROMISED = 0.02  # share of the particles that scores may promise among them: faint proteins fit badly, too
# By how many deviations what a detector takes for particles in noise fits better than the places in noise that are most
# like the average pick, and how widely that varies: the middle of simulated runs (benchmarks/classes.py).
_DETECTED = (2.1, 1.5)
_PARTED = 2.5  # deviations of noise by which the middle particle fits better: averages that tell less part nothing
_FEWEST = 5
_SOME = 1000  # picks that tell what the middle particle is like


def asked_for(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which picks (n,) have to be compared with averages: those that may be left over, and some of all.

    None where too few may be left over.
    """
    asked = scores < UNSURE
    if asked.sum() < _FEWEST:
        return np.zeros(len(scores), bool)
    asked[:: max(1, len(scores) // _SOME)] = True
    return asked


def fits_beyond_noise(halves: Sequence[tuple[NDArray[np.bool_], Fits, Fits]]) -> Fits:
    """Return by how many deviations of places in noise picks fit the averages that suit them best better than these do.

    Picks that are in neither mask have NaN.

    Parameters
    ----------
    halves
        For the averages of each half, which picks (n,) they were made without, how these fit them (some, classes), and
        how places in noise do (m, classes).
    """
    fits = np.full(len(halves[0][0]), np.nan)
    for others, of_others, of_noise in halves:
        usual, spread = of_noise.mean(0), np.maximum(of_noise.std(0), 1e-9)
        best = ((of_noise - usual) / spread).max(1)
        fits[others] = (((of_others - usual) / spread).max(1) - best.mean()) / max(float(best.std()), 1e-9)
    return fits


def leftovers(fits: Fits, scores: NDArray[np.float64], spared: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which picks (n,) are none of anything that there are averages of; none where averages do not tell.

    Parameters
    ----------
    fits
        (n,) as `fits_beyond_noise` gives them; NaN but for those of `asked_for`.
    scores
        (n,) probabilities that they are particles, as the detector gave them.
    spared
        (n,) which of them are in classes that show something, whatever the detector says.
    """
    unsure = (scores < UNSURE) & ~spared
    nothing = np.zeros(len(scores), bool)
    beyond = (fits - _DETECTED[0]) / _DETECTED[1]
    if unsure.sum() < _FEWEST or _middle(beyond, scores) < _PARTED:
        return nothing
    ordered = np.sort(beyond[unsure])
    seen = min(len(ordered), 2 * int(np.count_nonzero(ordered < 0)))
    noise = seen - math.sqrt(seen)  # one deviation fewer: what looks like noise may be faint
    below = ndtr(ordered)
    number = np.arange(1, len(ordered) + 1)
    few = (number - noise * below <= LOST * scores.sum()) & (noise * below >= number / 2)
    if not few.any():
        return nothing
    return _least_sure(np.flatnonzero(unsure & (beyond <= ordered[np.flatnonzero(few)[-1]])), scores)


def _least_sure(some: NDArray[np.intp], scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return those of some picks with the lowest scores, as a mask (n,), that promise next to no particle together."""
    order = some[np.argsort(scores[some], kind="stable")]
    chosen = np.zeros(len(scores), bool)
    chosen[order[np.cumsum(scores[order]) <= _PROMISED * scores.sum()]] = True
    return chosen


def _middle(fits: Fits, scores: NDArray[np.float64]) -> float:
    """Return the median of fits, each weighted by the probability that it is one of a particle."""
    known = ~np.isnan(fits)
    fits, scores = fits[known], scores[known]
    order = np.argsort(fits)
    weights = np.cumsum(scores[order])
    return float(fits[order][np.searchsorted(weights, weights[-1] / 2)])
