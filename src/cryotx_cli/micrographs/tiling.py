"""Overlapping tiles; a detection belongs to the tile whose core holds its centre."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tile:
    """A window of an image, in pixels; ends are exclusive.

    Attributes
    ----------
    x0, y0, x1, y1
        What the detector sees.
    core
        (x0, y0, x1, y1) in which it may claim centres; the cores of all tiles part the plane without gap or overlap:
        at the border of the image they have no end, for a network may place a centre beyond it.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    core: tuple[float, float, float, float]

    def owns(self, centres: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether centres (n, 2), in pixels of the whole image, belong to this tile and no other; (n,)."""
        # On a seam the tile to the right of it, or below, is the owner.
        return np.asarray(((centres >= self.core[:2]) & (centres < self.core[2:])).all(1))


def tiles(height: int, width: int, *, largest: int, size: int, overlap: int) -> list[Tile]:
    """Cover an image: one tile if both sides are at most `largest`, else tiles of about `size` that overlap.

    Parameters
    ----------
    overlap
        Pixels that neighbours share; their cores meet in its middle.
    """
    if height <= largest and width <= largest:
        return [Tile(0, 0, width, height, (-math.inf, -math.inf, math.inf, math.inf))]
    rows, columns = _spans(height, size, overlap), _spans(width, size, overlap)
    return [
        Tile(x0, y0, x1, y1, (core_x0, core_y0, core_x1, core_y1))
        for y0, y1, core_y0, core_y1 in rows
        for x0, x1, core_x0, core_x1 in columns
    ]


def _spans(length: int, size: int, overlap: int) -> list[tuple[int, int, float, float]]:
    """(start, end, core start, core end) of equal windows over a side."""
    if length <= size:
        return [(0, length, -math.inf, math.inf)]
    count = -(-(length - overlap) // (size - overlap))
    starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    middles = [-math.inf, *[(a + size + b) / 2 for a, b in pairwise(starts)], math.inf]
    return [(s, s + size, middles[i], middles[i + 1]) for i, s in enumerate(starts)]
