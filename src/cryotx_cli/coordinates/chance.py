"""What as many points at random would have scored: beside it a number says whether a picker has seen anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotx_cli.coordinates.agreement import match

_SEED = 20
_POINTS = 3000
"""So many points are strewn on a micrograph in all, in as many draws as that takes."""
_FEWEST_DRAWS, _MOST_DRAWS = 5, 100


@dataclass(frozen=True)
class Field:
    """The rectangle in which a point may lie: `corner` (x, y) of its smallest coordinates and `size` (x, y), in px."""

    corner: tuple[float, float]
    size: tuple[float, float]

    @classmethod
    def around(cls, points: Sequence[NDArray[np.float64]], least_side: float) -> Field:
        """Return the smallest rectangle that holds these arrays of points (n, 2), no side shorter than `least_side`."""
        together = np.vstack([*points, np.zeros((0, 2))])
        if not len(together):
            return cls((0.0, 0.0), (least_side, least_side))
        low, high = together.min(axis=0), together.max(axis=0)
        size = np.maximum(high - low, least_side)
        left, top = ((low + high - size) / 2).tolist()
        width, height = size.tolist()
        return cls((left, top), (width, height))


def pairs_by_chance(picks: ArrayLike, truth: ArrayLike, radius_px: float, field: Field, number: int = 0) -> float:
    """Count the pairs that as many points at random would make with the true centres, on average.

    The points are the picks themselves, shifted round the field by a random vector, what leaves it on one side coming
    back on the other, and mirrored at random (the test of Lotwick and Silverman, 1982). They so keep their number and
    the distances that they have from each other: points strewn one by one overlap, and cover less than a carpet of
    picks does.

    Parameters
    ----------
    picks, truth
        (n, 2) and (m, 2) centres in the same pixels.
    radius_px
        Largest distance of a pair, inclusive.
    field
        Where the points may lie.
    number
        Of the micrograph: each has random numbers of its own, the same in every call.

    Returns
    -------
    float
        Mean of 5 to 100 draws, more for fewer picks.
    """
    points = np.asarray(picks, np.float64).reshape(-1, 2)
    if not len(points) or not np.size(truth):
        return 0.0
    rng = np.random.default_rng([_SEED, number])
    corner, size = np.array(field.corner), np.array(field.size)
    draws = int(np.clip(np.ceil(_POINTS / len(points)), _FEWEST_DRAWS, _MOST_DRAWS))
    pairs = 0
    for _ in range(draws):
        moved = (points - corner + rng.uniform(0, size)) % size
        mirrored = np.where(rng.random(2) < 0.5, size - moved, moved)
        pairs += int((match(corner + mirrored, truth, radius_px) >= 0).sum())
    return pairs / draws
