"""Part of a micrograph by its outlines: where support film or a large ice crystal was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = list[list[list[float]]]
"""Polygons of points (x, y) in px, as JSON holds them."""


@dataclass(frozen=True, eq=False)
class Region:
    """What lies inside an odd number of closed polygons: the outlines of its parts, and those of the holes in them.

    Parameters
    ----------
    outlines
        Each (k, 2), x and y in px of the micrograph, holes running the other way round than parts. (0, 0) is the
        centre of the first pixel, so the border of the micrograph lies at -0.5.
    """

    outlines: tuple[NDArray[np.float64], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.outlines)

    def share(self, height: int, width: int) -> float:
        """Return which share of a micrograph of this size it is."""
        return abs(sum(map(_signed_area, self.outlines))) / (height * width)

    def rows(self) -> Rows:
        """Return the outlines as they are stored."""
        return [outline.tolist() for outline in self.outlines]

    @classmethod
    def of(cls, rows: Any) -> Region:
        """Return the region that `rows` gave.

        Raises
        ------
        ValueError, TypeError
            They are not the outlines of one.
        """
        outlines = tuple(np.array(row, float) for row in rows)
        if any(one.ndim != 2 or one.shape[1] != 2 or len(one) < 3 or not np.isfinite(one).all() for one in outlines):
            raise ValueError("not the outlines of a region")
        return cls(outlines)


def _signed_area(outline: NDArray[np.float64]) -> float:
    x, y = outline.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
