"""What a network finds in an image, and in the tiles of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.micrographs.tiling import Tile


@dataclass(frozen=True)
class Detections:
    """Detections in a prepared image: `centres` (n, 2) in its px, `radii` (n,) in px, `logits` (n,)."""

    centres: NDArray[np.float64]
    radii: NDArray[np.float64]
    logits: NDArray[np.float64]

    def where(self, kept: NDArray[np.bool_]) -> Detections:
        """Return those that are marked; (n,)."""
        return Detections(self.centres[kept], self.radii[kept], self.logits[kept])

    def owned_by(self, tile: Tile) -> Detections:
        """Return those that a tile may claim; they were found in its pixels and come back in the whole image's."""
        moved = Detections(self.centres + [tile.x0, tile.y0], self.radii, self.logits)
        return moved.where(tile.owns(moved.centres))

    @classmethod
    def joined(cls, parts: Sequence[Detections]) -> Detections:
        """Return all of one image; there is at least one part."""
        columns = zip(*((part.centres, part.radii, part.logits) for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))
