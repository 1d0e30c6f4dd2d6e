"""Whether a class shows an object of its own, in the middle of its picks, and not what happens to lie beside them.

Where particles are crowded, places anywhere average to something: a neighbour that is turned and moved until it fits.
Its halves agree, for it is there. But picks that are centred on an object show it before anything is turned or moved:
rings round the middle. And they need but little moving, where places anywhere need all that they are given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.crops import MASK_RADIUS, REACH, SIDE, Kept, in_numbers

LEAST_CENTRED = 0.005
"""Of the power of crops. Places anywhere in crowded micrographs reach 0.003, picks of particles 0.008 to 0.07."""
MOST_SPREAD = 0.56 * REACH
"""px on each axis. Picks of particles stay below 0.5 of the reach, places anywhere and lines come to 0.5 to 0.7."""
_RING, _AT_ONCE, _FEWEST = 2.0, 512, 20
_RADIUS = MASK_RADIUS + 4  # px: a particle has a rim, too


def centred_power(crops: Kept, numbers: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return (classes,) the share of the power of the crops of each class that they share round their middle.

    The crops are taken as they were cut, neither turned nor moved, and averaged over rings. What a crop shares with
    itself does not count, so that noise has 0 on average, and a class of one crop has 0.

    Parameters
    ----------
    crops
        (n, side, side), each with a standard deviation of 1.
    numbers
        (n,) class of each, from 0.
    classes
        How many.
    """
    shown = slice(int(SIDE / 2 - _RADIUS), int(SIDE / 2 + _RADIUS))
    radius = np.hypot(*np.mgrid[shown, shown] - (SIDE - 1) / 2).ravel()
    inside = radius < _RADIUS
    ring = (radius[inside] / _RING).astype(int)
    area = np.bincount(ring)
    means = np.zeros((len(radius), len(area)), np.float32)
    means[np.flatnonzero(inside), ring] = 1 / area[ring]
    sums, own = np.zeros((classes, len(area))), np.zeros((classes, len(area)))
    for start in range(0, len(crops), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        profiles = in_numbers(crops[some, shown, shown]).reshape(-1, len(radius)) @ means
        member = np.equal.outer(np.arange(classes), numbers[some]).astype(np.float64)
        sums += member @ profiles
        own += member @ profiles**2
    counts = np.bincount(numbers, minlength=classes)
    pairs = np.maximum(counts * (counts - 1), 1)[:, None]
    return np.asarray((((sums**2 - own) / pairs) @ area) / area.sum())


def show_an_object(crops: Kept, some: NDArray[np.bool_]) -> bool:
    """Return whether the crops of a mask (n,) show an object round their middle; no where they are few."""
    count = int(some.sum())
    return count >= _FEWEST and bool(centred_power(crops[some], np.zeros(count, np.int64), 1)[0] >= LEAST_CENTRED)


def spread(shifts: NDArray[np.float64], numbers: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return (classes,) by how many pixels on each axis crops are moved, root mean square about the mean of the class.

    Parameters
    ----------
    shifts
        (n, 2) in pixels of a crop.
    numbers
        (n,) class of each, from 0.
    classes
        How many.
    """
    counts = np.maximum(np.bincount(numbers, minlength=classes), 1)
    squares = np.zeros(classes)
    for along in shifts.T:
        mean = np.bincount(numbers, along, classes) / counts
        squares += np.bincount(numbers, (along - mean[numbers]) ** 2, classes) / counts
    return np.asarray(np.sqrt(squares / 2))
