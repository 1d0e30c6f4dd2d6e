"""How far the surroundings of a pick stand out from those of particles: dirt, ice, the edge of film, clumps.

Whatever is coarse and strong in a crop beside what the noise and the particle put there, most of its power lies in its
coarse rings, within the particle or around it. How much is usual there the picks tell of which the detector is sure.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.crops import MASK_RADIUS, REACH, SIDE, Kept, in_numbers

Numbers = NDArray[np.float64]

FAR = 2.5
"""Deviations of sure picks beyond which a pick is like none of these."""
_LEVELS = (4.0, 8.0)  # deviations
_LEAST = 0.2  # times: sure picks are seldom found beside dirt, and that is what the detector was taught, too
_SURE, _FEWEST, _BEST = 0.8, 20, 0.2
_RINGS = ((1, 2), (3, 4))
_SOFT = 6.0  # px over which the masks fall
_AT_ONCE = 512
_FLOOR = 0.05  # of the mean power of a crop


def stands_out(crops: Kept, scores: Numbers, asked: NDArray[np.bool_]) -> Numbers:
    """Return by how many deviations the coarse power of crops exceeds that of sure ones.

    Parameters
    ----------
    crops
        (n, side, side), each with a standard deviation of 1.
    scores
        (n,) probabilities that they are particles.
    asked
        (n,) which of them to look at: at least one. The others have NaN.

    Returns
    -------
    ndarray of float64, shape (n,)
        Of the one of four measures, two bands of rings within the particle and around it, that stands out most.
    """
    some = np.flatnonzero(asked)
    power = np.log(_coarse_power(crops, some) + _FLOOR)
    sure = scores[some] > _SURE
    if sure.sum() < _FEWEST:
        sure = scores[some] >= np.sort(scores[some])[-min(len(some), max(_FEWEST, int(_BEST * len(some))))]
    middle = np.median(power[sure], 0)
    spread = 1.4826 * np.median(np.abs(power[sure] - middle), 0) + 1e-3
    found = np.full(len(crops), np.nan)
    found[some] = ((power - middle) / spread).max(1)
    return found


def likelier_where_usual(out: Numbers, scores: Numbers, unsure: NDArray[np.intp], sure: float) -> Numbers:
    """Return the probabilities that some picks are particles, lower for those that stand out.

    By how much rarer particles stand out so far than picks that are none do.

    Parameters
    ----------
    out
        (n,) what `stands_out` returned.
    scores
        (n,) probabilities by the detector.
    unsure
        (m,) numbers of the picks that are asked for.
    sure
        Score from which on a pick tells where particles are.
    """
    edges = [-np.inf, *_LEVELS, np.inf]
    known = (scores >= sure) & ~np.isnan(out)
    before = scores[unsure]
    of_particles, of_others = (
        np.histogram(values, edges, weights=weights)[0] + 0.5
        for values, weights in ((out[known], scores[known]), (out[unsure], 1 - before))
    )
    times = np.clip(of_particles / of_particles.sum() * of_others.sum() / of_others, _LEAST, 1)
    rarer = times[np.digitize(out[unsure], edges[1:-1])]
    return np.asarray(before * rarer / (before * rarer + 1 - before))


def _coarse_power(crops: Kept, some: NDArray[np.intp]) -> Numbers:
    """Return the mean power (m, 4) of the frequencies of two bands, within the particle and around it."""
    waves, bands = _waves()
    parts = []
    for start in range(0, len(some), _AT_ONCE):
        images = in_numbers(crops[some[start : start + _AT_ONCE]])
        parts.append((images.reshape(len(images), -1) @ waves) ** 2 @ bands)
    return np.concatenate(parts).astype(np.float64)


def _waves() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the masked waves (side * side, w) of coarse rings, without what a mean adds, and their bands (w, 4)."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius, last = np.hypot(x, y), _RINGS[-1][1]
    inside, outside = (
        0.5 - 0.5 * np.cos(np.pi * np.clip((edge + _SOFT / 2 - radius) / _SOFT, 0, 1))
        for edge in (MASK_RADIUS, MASK_RADIUS + 0.75 * REACH)
    )
    waves, where = [], []
    for mask_number, mask in enumerate((inside, 1 - outside)):
        for kx in range(last + 1):
            for ky in range(-last if kx else 1, last + 1):
                ring = round(math.hypot(kx, ky))
                for band, (first, end) in enumerate(_RINGS):
                    if first <= ring <= end:
                        turn = 2 * math.pi / SIDE * (kx * x + ky * y)
                        for wave in (np.cos(turn), np.sin(turn)):
                            centred = mask * (wave - (mask * wave).sum() / mask.sum())
                            waves.append(centred.ravel() / math.sqrt((mask**2).sum()))
                            where.append(2 * mask_number + band)
    bands = np.eye(2 * len(_RINGS))[where]
    # Cosine and sine together are one frequency.
    return np.stack(waves, 1).astype(np.float32), (2 * bands / bands.sum(0)).astype(np.float32)
