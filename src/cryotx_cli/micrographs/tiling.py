"""Overlapping tiles; a detection belongs to the tile whose core holds its centre."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Tile:
    """A window of an image, in pixels; ends are exclusive.

    Attributes
    ----------
    x0, y0, x1, y1
        What the detector sees.
    core
        (x0, y0, x1, y1) in which it may claim centres; the cores of all tiles part the image without gap or overlap.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    core: tuple[float, float, float, float]


def tiles(height: int, width: int, *, largest: int, size: int, overlap: int) -> list[Tile]:
    """Cover an image: one tile if both sides are at most `largest`, else tiles of about `size` that overlap.

    Parameters
    ----------
    overlap
        Pixels that neighbours share; their cores meet in its middle.
    """
    if height <= largest and width <= largest:
        return [Tile(0, 0, width, height, (0, 0, width, height))]
    rows, columns = _spans(height, size, overlap), _spans(width, size, overlap)
    return [
        Tile(x0, y0, x1, y1, (core_x0, core_y0, core_x1, core_y1))
        for y0, y1, core_y0, core_y1 in rows
        for x0, x1, core_x0, core_x1 in columns
    ]


def _spans(length: int, size: int, overlap: int) -> list[tuple[int, int, float, float]]:
    """(start, end, core start, core end) of equal windows over a side."""
    if length <= size:
        return [(0, length, 0, length)]
    count = -(-(length - overlap) // (size - overlap))
    starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    middles = [0.0, *[(a + size + b) / 2 for a, b in pairwise(starts)], float(length)]
    return [(s, s + size, middles[i], middles[i + 1]) for i, s in enumerate(starts)]
