"""Pairs of points that lie close together, by NumPy alone: SciPy takes a quarter of a second to load.

Points are sorted into square cells that are as wide as the distance asked for, row by row. So those close to one of
them lie in its own cell or in the eight around it, and each row's three are one stretch of the sorted points.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_MOST_CELLS = 1 << 30  # along a side: the number of a cell stays a whole number of 64 bits
_AT_ONCE = 1 << 20  # pairs that are measured in one go


def close_pairs(points: NDArray[np.float64], distance: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find all pairs of points that are not further apart than a distance.

    Parameters
    ----------
    points
        (n, 2), finite.
    distance
        In units of the points, positive.

    Returns
    -------
    ndarray of intp, shape (m, 2)
        Indices, the smaller one first; in rising order.
    ndarray of float64, shape (m,)
        How far they are apart.
    """
    pairs, gaps = [np.zeros((0, 2), np.intp)], [np.zeros(0)]
    for first, second in _candidates(points, distance):
        gap = np.linalg.norm(points[first] - points[second], axis=1)
        near = gap <= distance
        pairs.append(np.sort(np.column_stack([first[near], second[near]]), axis=1))
        gaps.append(gap[near])
    found, apart = np.concatenate(pairs), np.concatenate(gaps)
    order = np.lexsort((found[:, 1], found[:, 0]))
    return found[order], apart[order]


def _candidates(points: NDArray[np.float64], distance: float) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield pairs of points that may be close, each pair once."""
    if not len(points):
        return
    low = points.min(axis=0)
    side = max(distance, float((points.max(axis=0) - low).max()) / _MOST_CELLS)
    column, row = ((points - low) // side).astype(np.int64).T
    across = int(column.max()) + 3  # a column free at each end: no row's neighbours run on into the next row
    cell = row * across + column + 1
    order = np.argsort(cell, kind="stable")
    cell = cell[order]
    place = np.arange(len(cell))
    below = cell + across
    stretches = [
        (place + 1, np.searchsorted(cell, cell + 1, "right")),
        (np.searchsorted(cell, below - 1, "left"), np.searchsorted(cell, below + 1, "right")),
    ]
    for start, end in stretches:
        counts = end - start
        sums = np.cumsum(counts)
        for part in np.split(place, np.searchsorted(sums, np.arange(_AT_ONCE, int(sums[-1]), _AT_ONCE))):
            first = np.repeat(part, counts[part])
            within = np.arange(len(first)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
            yield order[first], order[np.repeat(start[part], counts[part]) + within]
