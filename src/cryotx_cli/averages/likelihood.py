"""What fits make of scores: how densely fits of particles and of noise lie, and what that says of all picks together.

A detector's scores are right on the whole and wrong for a run: where most unsure picks fit as noise does, fewer of them
are particles than their scores say, and more where most fit better, as those of a faint second protein do.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Fits = NDArray[np.float64]

_CERTAIN = 100.0  # times: fits say no more, for neither distribution is known that far out
_NARROW, _GRID = 0.5, 512  # of the kernel that is best for a Gaussian: fits of several views have several maxima
_ROUNDS, _STEPS = 4, 80
_OF_ALL = 0.2  # share that fits of all particles have in what the fits of unsure ones are taken to be
_SHIFT, _SLOPE, _OF_CLASS = 2.0, 0.5, 1.0  # deviations of what a run and a class may add to the logit of a score
_MOST_OF_CLASS = np.linspace(0, 2.5, 11)  # a class may be better than its scores, never worse
_LEAST = 1e-3


def probabilities(
    fits: Fits, of_all: Fits, scores: Fits, classes: NDArray[np.int64], usual: NDArray[np.bool_]
) -> tuple[Fits, Fits]:
    """Return the probabilities that unsure picks are particles, as the run corrects their scores, and by fits, too.

    Parameters
    ----------
    fits
        (n,) of unsure picks, in deviations of what a detector takes for particles in noise.
    of_all
        (n,) how densely fits of all particles lie there.
    scores
        (n,) probabilities by the detector.
    classes
        (n,) class of each.
    usual
        (n,) those that do not stand out. Noise and particles are what fits tell apart, and the others may be neither:
        of these the scores stay, and fits make none of them a likelier particle.
    """
    from scipy.optimize import minimize

    noise, logits = np.maximum(gaussian(fits), 1e-12), _logit(scores)
    tells = usual if usual.any() else np.ones(len(fits), bool)
    shift, by_class = np.array([0.0, 1.0]), np.zeros(int(classes.max()) + 1)
    before = after = scores
    for _ in range(_ROUNDS):
        times = (_OF_ALL * of_all + (1 - _OF_ALL) * density(fits[tells], after[tells] + 1e-6, fits)) / noise
        times = np.clip(times, 1 / _CERTAIN, _CERTAIN)
        # What fits worse than noise does is none of the particles that there are averages of.
        times = np.where(fits < -1, np.minimum(times, 1), times)
        own = logits + by_class[classes]

        def surprise(by: Fits, own: Fits = own, times: Fits = times) -> float:
            unlikely = (by[0] / _SHIFT) ** 2 / 2 + ((by[1] - 1) / _SLOPE) ** 2 / 2
            return float(unlikely - _log_likelihood(by[0] + by[1] * own[tells], times[tells]).sum())

        shift = minimize(surprise, shift, method="Nelder-Mead", options={"maxiter": _STEPS}).x
        run = shift[0] + shift[1] * logits
        by_class = _by_class(run[tells], times[tells], classes[tells], len(by_class)) / max(0.2, shift[1])
        before = np.where(tells, _logistic(run + shift[1] * by_class[classes]), scores)
        after = before * times / (before * times + 1 - before)
        after = np.where(tells, after, np.minimum(after, scores))
    return before, after


def _by_class(logits: Fits, times: Fits, classes: NDArray[np.int64], count: int) -> Fits:
    """Return what the picks of each class (count,) add to their logits, judged by how they fit."""
    tried = _MOST_OF_CLASS
    each = _log_likelihood(logits[:, None] + tried, times[:, None])
    likely = np.stack([np.bincount(classes, column, count) for column in each.T], 1) - (tried / _OF_CLASS) ** 2 / 2
    return np.asarray(tried[likely.argmax(1)])


def _log_likelihood(logits: Fits, times: Fits) -> Fits:
    particle = _logistic(logits)
    return np.asarray(np.log(particle * times + 1 - particle))


def density(values: Fits, weights: Fits, at: Fits) -> Fits:
    """Return how densely values lie, those of weight 0 left out, by a kernel."""
    values, weights = values[weights > 0], weights[weights > 0] / weights.sum()
    mean = (weights * values).sum()
    width = max(1e-3, _NARROW * math.sqrt((weights * (values - mean) ** 2).sum()) * len(values) ** -0.2)
    grid = np.linspace(values.min() - 3 * width, values.max() + 3 * width, _GRID)
    counts = np.histogram(values, np.append(grid - (grid[1] - grid[0]) / 2, np.inf), weights=weights)[0]
    kernel = gaussian((grid[:, None] - grid[None]) / width) / width
    return np.asarray(np.interp(at, grid, kernel @ counts))


def gaussian(deviations: Fits) -> Fits:
    """Return the density of a normal distribution so many deviations from its mean."""
    return np.asarray(np.exp(-(deviations**2) / 2) / math.sqrt(2 * math.pi))


def _logit(probabilities: Fits) -> Fits:
    certain = np.clip(probabilities, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(certain / (1 - certain)))


def _logistic(logits: Fits) -> Fits:
    return np.asarray(1 / (1 + np.exp(-logits)))
