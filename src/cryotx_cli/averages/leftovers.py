"""Picks that fit no average better than places in noise do, and of which the detector is not sure, either.

How well a pick fits says little where the average was made with it: it fits itself. So picks are compared with the
averages of the half that they are not in, and so are places in noise. The detector's score is the probability that a
pick is a particle before it is compared; the run corrects it, for all picks and for each class, and lowers it where a
pick stands out as dirt does. How much more often particles fit so than noise does makes it another one. The least
likely picks are left over, only as many as together promise next to no particle by either of the two, in the run and in
each class that may be a view too faint to average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.likelihood import density, probabilities
from cryotx_cli.averages.standing_out import FAR, likelier_where_usual

Fits = NDArray[np.float64]
Picked = NDArray[np.bool_]

LOST = 0.01
"""Share of the particles that may be among the leftovers by the scores alone, and by scores and fits. A faint protein
scores low, and whether it fits is not always seen: with 0.02 simulated runs of two proteins lose 0.027, with 0.01
0.018."""
UNSURE = 0.5
"""Picks with a higher score are never among them."""
# By how many deviations what a detector takes for particles in noise fits better than the places in noise that are most
# like the average pick, and how widely that varies: the middle of simulated runs (benchmarks/classes.py).
_DETECTED = (2.1, 1.5)
_PARTED = 1.5  # deviations of noise by which the middle particle fits better: averages that tell less part nothing
_FEWEST = 5
_UNCORRECTED = 2.0  # times `LOST` by scores that the run has not corrected: a faint protein fits as noise does, too
_UNLIKELY = 0.3  # probability above which a pick stays, however many more might go
_OF_PARTICLES = 0.7  # mean score
_MAY_BE_VIEW, _LOST_OF_VIEW = 0.35, 0.02  # mean score, and share of the particles by scores
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


def leftovers(fits: Fits, scores: Fits, out: Fits, classes: NDArray[np.int64], agrees: NDArray[np.bool_]) -> Picked:
    """Return which picks (n,) are none of anything that there are averages of; none where averages do not tell.

    Parameters
    ----------
    fits
        (n,) as `fits_beyond_noise` gives them; NaN but for those of `asked_for`.
    scores
        (n,) probabilities that they are particles, as the detector gave them.
    out
        (n,) how far they stand out, as `cryotx_cli.averages.standing_out` tells it; NaN as in fits.
    classes
        (n,) the class of each, from 0.
    agrees
        (classes,) which classes are more than noise.
    """
    left = np.zeros(len(scores), bool)
    some = np.flatnonzero((scores < UNSURE) & ~_spared(scores, classes, agrees))
    beyond, usual = (fits - _DETECTED[0]) / _DETECTED[1], _of_all(fits, scores)
    if len(some) < _FEWEST or _middle(beyond, usual) < _PARTED:
        return left
    by_score = likelier_where_usual(out, scores, some, UNSURE)
    of_all = density(beyond, usual, beyond[some])
    before, after = probabilities(beyond[some], of_all, by_score, classes[some], out[some] <= FAR)
    order = np.argsort(after, kind="stable")
    order = order[after[order] < _UNLIKELY]
    most = LOST * scores.sum()
    order = order[(np.cumsum(after[order]) <= most) & (np.cumsum(before[order]) <= most)]
    order = order[np.cumsum(by_score[order]) <= _UNCORRECTED * most]
    left[some[order]] = True
    return left & ~_too_many_of_class(some[order], by_score[order], scores, classes, agrees)


def _spared(scores: Fits, classes: NDArray[np.int64], agrees: NDArray[np.bool_]) -> Picked:
    """Return which picks (n,) are in classes of which something else is known than how picks fit.

    Classes that agree and that the detector does not know; and classes of particles, by their scores, that average to
    nothing: how picks fit these says nothing of them.
    """
    count = len(agrees)
    picks = np.maximum(np.bincount(classes, minlength=count), 1)
    unknown = np.bincount(classes, scores < UNSURE, count) >= picks / 2
    known = np.bincount(classes, scores, count) >= _OF_PARTICLES * picks
    return np.asarray(np.where(agrees, unknown, known)[classes])


def _too_many_of_class(
    some: NDArray[np.intp], by_score: Fits, scores: Fits, classes: NDArray[np.int64], agrees: NDArray[np.bool_]
) -> Picked:
    """Return which picks (n,) of some, the least likely first, promise too much of a class that may be a faint view.

    Classes that average to nothing and hold particles by their scores.
    """
    count = len(agrees)
    held = np.bincount(classes, scores, count)
    many = np.zeros(len(scores), bool)
    for number in np.flatnonzero(~agrees & (held >= _MAY_BE_VIEW * np.bincount(classes, minlength=count))):
        own = classes[some] == number
        many[some[own][np.cumsum(by_score[own]) > _LOST_OF_VIEW * held[number]]] = True
    return many


def _of_all(fits: Fits, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) how many particles each pick whose fit is known stands for; 0 for the others."""
    known, sure = ~np.isnan(fits), scores >= UNSURE
    stands_for = np.where(sure, sure.sum() / max(1, np.count_nonzero(sure & known)), 1.0)
    return np.where(known, scores * stands_for, 0.0)


def _middle(fits: Fits, weights: NDArray[np.float64]) -> float:
    """Return the weighted median of fits."""
    order = np.argsort(fits)  # those that are not known come last
    summed = np.cumsum(weights[order])
    return float(fits[order][np.searchsorted(summed, summed[-1] / 2)])
