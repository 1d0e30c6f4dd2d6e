"""Picks that fit no average better than places in noise do, and of which the detector is not sure, either.

How well a pick fits says little where the average was made with it: it fits itself. So picks are compared with the
averages of the half that they are not in, and so are places in noise. The detector's score is the probability that a
pick is a particle before it is compared. How much more often particles fit so than noise does makes it another one. The
least likely picks are left over, only as many as together promise next to no particle by either of the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Fits = NDArray[np.float64]

LOST = 0.02
"""Share of the particles that may be among the leftovers by the scores alone, and by scores and fits: a faint protein
scores low, and whether it fits is not always seen."""
UNSURE = 0.5
"""Picks with a higher score are never among them."""
# By how many deviations what a detector takes for particles in noise fits better than the places in noise that are most
# like the average pick, and how widely that varies: the middle of simulated runs (benchmarks/classes.py).
_DETECTED = (2.1, 1.5)
_PARTED = 1.5  # deviations of noise by which the middle particle fits better: averages that tell less part nothing
_FEWEST = 5
_SURE = 100.0  # times: fits say no more, for neither distribution is known that far out
_NARROW, _GRID = 0.5, 512  # of the kernel that is best for a Gaussian: fits of several views have several maxima
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
    beyond, usual = (fits - _DETECTED[0]) / _DETECTED[1], _of_all(fits, scores)
    if unsure.sum() < _FEWEST or _middle(beyond, usual) < _PARTED:
        return nothing
    some = np.flatnonzero(unsure)
    times = np.clip(
        _density(beyond, usual, beyond[some]) / np.maximum(_of_noise(beyond[some]), 1e-12), 1 / _SURE, _SURE
    )
    # What fits worse than noise does is none of the particles that there are averages of, however few noise explains.
    times = np.where(beyond[some] < -1, np.minimum(times, 1), times)
    before = scores[some]
    after = before * times / (before * times + 1 - before)
    order = np.argsort(after, kind="stable")
    few = (np.cumsum(after[order]) <= LOST * scores.sum()) & (np.cumsum(before[order]) <= LOST * scores.sum())
    nothing[some[order[few]]] = True
    return nothing


def _of_all(fits: Fits, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) how many particles each pick whose fit is known stands for; 0 for the others."""
    known, sure = ~np.isnan(fits), scores >= UNSURE
    stands_for = np.where(sure, sure.sum() / max(1, np.count_nonzero(sure & known)), 1.0)
    return np.where(known, scores * stands_for, 0.0)


def _of_noise(beyond: Fits) -> Fits:
    return np.asarray(np.exp(-(beyond**2) / 2) / math.sqrt(2 * math.pi))


def _density(values: Fits, weights: NDArray[np.float64], at: Fits) -> Fits:
    """Return how densely values lie, those of weight 0 left out, by a kernel."""
    values, weights = values[weights > 0], weights[weights > 0] / weights.sum()
    mean = (weights * values).sum()
    width = max(1e-3, _NARROW * math.sqrt((weights * (values - mean) ** 2).sum()) * len(values) ** -0.2)
    grid = np.linspace(values.min() - 3 * width, values.max() + 3 * width, _GRID)
    counts = np.histogram(values, np.append(grid - (grid[1] - grid[0]) / 2, np.inf), weights=weights)[0]
    kernel = _of_noise((grid[:, None] - grid[None]) / width) / width
    return np.asarray(np.interp(at, grid, kernel @ counts))


def _middle(fits: Fits, weights: NDArray[np.float64]) -> float:
    """Return the weighted median of fits."""
    order = np.argsort(fits)  # those that are not known come last
    summed = np.cumsum(weights[order])
    return float(fits[order][np.searchsorted(summed, summed[-1] / 2)])
