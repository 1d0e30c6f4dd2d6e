"""Tiles of micrographs as small grey JPEG files, made when they are asked for; a few pyramids stay in memory."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from cryotx_cli.errors import CryotxError
from cryotx_cli.review.pyramid import TILE_PX, Pyramid, read_pyramid, smoothed

_QUALITY = 78
_MEMORY = 400_000_000  # bytes of all pyramids that are kept: four of 8192 x 8192 pixels
_HALF_AT = math.sqrt(2 * math.log(2)) / (2 * math.pi)  # sigma over the length whose amplitude a Gaussian halves


@dataclass(frozen=True)
class Look:
    """How a tile is to look.

    Parameters
    ----------
    low_pass
        Å; amplitudes at this resolution are halved. 0 shows pixels as they are.
    contrast
        1 stretches the usual grey levels from black to white, 2 the inner half of them.
    invert
        Bright for dark.
    """

    low_pass: float = 0.0
    contrast: float = 1.0
    invert: bool = False


class Tiles:
    """Cuts tiles; as many micrographs stay in memory as fit in `memory` bytes, and at least the last one.

    Parameters
    ----------
    memory
        Bytes for all pyramids that are kept.
    """

    def __init__(self, memory: int = _MEMORY) -> None:
        self._memory = memory
        self._kept: OrderedDict[tuple[str, int, int], Pyramid] = OrderedDict()
        self._lock, self._reading = Lock(), Lock()

    def pyramid(self, path: Path) -> Pyramid:
        """Return the pyramid of a micrograph, read if it is not among those that are kept, or has changed.

        Raises
        ------
        MicrographError
            It cannot be read.
        OSError
            It is not there.
        """
        status = path.stat()
        key = str(path), status.st_size, status.st_mtime_ns
        found = self._found(key)
        if found is not None:
            return found
        with self._reading:  # one at a time: two would take twice the memory, and no less time
            found = self._found(key)
            return self._keep(key, read_pyramid(path)) if found is None else found

    def tile(self, path: Path, pixel_size: float, level: int, column: int, row: int, look: Look) -> bytes:
        """Return one tile as a JPEG file.

        Parameters
        ----------
        path
            The micrograph.
        pixel_size
            Its Å per pixel.
        level
            0 for the pixels of the micrograph, 1 for half its size, and so on.
        column, row
            Which tile of the level.
        look
            How it is to look.

        Raises
        ------
        CryotxError
            There is no such tile, or the micrograph cannot be read.
        OSError
            It is not there.
        """
        pyramid = self.pyramid(path)
        if not 0 <= level < len(pyramid.levels):
            raise CryotxError(f"{path}: has no level {level}")
        grey = pyramid.levels[level]
        top, left = row * TILE_PX, column * TILE_PX
        if not (0 <= top < grey.shape[0] and 0 <= left < grey.shape[1]):
            raise CryotxError(f"{path}: level {level} has no tile {column}, {row}")
        sigma = look.low_pass * _HALF_AT / (pixel_size * 2**level)
        sigma = min(sigma, TILE_PX / 8)
        margin = math.ceil(3 * sigma)
        part = grey[
            max(0, top - margin) : min(grey.shape[0], top + TILE_PX + margin),
            max(0, left - margin) : min(grey.shape[1], left + TILE_PX + margin),
        ]
        y, x = min(margin, top), min(margin, left)
        shown = smoothed(part, sigma)[y : y + TILE_PX, x : x + TILE_PX][: grey.shape[0] - top, : grey.shape[1] - left]
        low, high = pyramid.shown_range(level, sigma)
        middle, half = (low + high) / 2, (high - low) / 2 / look.contrast
        stretched = np.clip((shown - (middle - half)) * (255 / (2 * half)), 0, 255).astype(np.uint8)
        if look.invert:
            stretched = 255 - stretched
        return cv2.imencode(".jpg", stretched, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()

    def _found(self, key: tuple[str, int, int]) -> Pyramid | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[str, int, int], pyramid: Pyramid) -> Pyramid:
        with self._lock:
            self._kept[key] = pyramid
            while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > self._memory:
                self._kept.popitem(last=False)
        return pyramid
