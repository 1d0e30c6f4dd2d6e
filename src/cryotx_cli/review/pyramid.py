"""A micrograph at full size, half size, a quarter and so on, as grey levels of one byte: what tiles are cut from.

A byte for a pixel is enough: a level covers six standard deviations of its own grey values to either side, so a step
is a twentieth of the noise, which makes rounding invisible. A micrograph of 8192 x 8192 pixels takes 90 MB instead of
360.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.micrographs.bands import open_bands

TILE_PX = 512
_BAND = 128  # rows at a time, even: they stay in the processor's cache
_RANGE = 6.0  # standard deviations
_SHOWN = 3.0
_PATCHES, _PATCH_PX = 4, 192

Grey = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pyramid:
    """Grey levels of one micrograph.

    Parameters
    ----------
    height, width
        Of the micrograph in pixels.
    levels
        (height, width) each, the micrograph itself first, then half as large, rounded up, until it fits into a tile.
    """

    height: int
    width: int
    levels: tuple[Grey, ...]
    _ranges: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return sum(level.nbytes for level in self.levels)

    def shown_range(self, level: int, sigma: float) -> tuple[float, float]:
        """Return the grey levels that become black and white where a level is smoothed by so many of its pixels."""
        key = level, round(10 * sigma)
        if key not in self._ranges:
            self._ranges[key] = _range_of(smoothed(patch, sigma) for patch in _patches(self.levels[level]))
        return self._ranges[key]


def smoothed(grey: Grey, sigma: float) -> NDArray[np.float32]:
    """Return grey levels after a Gaussian of so many pixels; below 0.3 it changes nothing."""
    image = grey.astype(np.float32)
    return image if sigma < 0.3 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def read_pyramid(path: Path) -> Pyramid:
    """Read a micrograph into a pyramid.

    Raises
    ------
    MicrographError
        It cannot be read.
    """
    bands = open_bands(path)
    middle, spread = _middle_and_spread(bands.sample())
    full = np.empty((bands.height, bands.width), np.uint8)
    half = np.empty((-(-bands.height // 2), -(-bands.width // 2)), np.float32)
    row = 0
    for band in bands.rows(_BAND):
        finite = _finite(band, middle, spread)
        _quantise_limited(finite, middle, spread, full[row : row + len(band)])
        half[row // 2 : row // 2 + -(-len(band) // 2)] = _halved(finite)
        row += len(band)
    levels, image = [full], half
    while max(levels[-1].shape) > TILE_PX:
        level = np.empty(image.shape, np.uint8)
        _quantise(image, *_middle_and_spread(image[:: max(1, len(image) // 96)]), level)
        levels.append(level)
        image = _halved(image)
    return Pyramid(bands.height, bands.width, tuple(levels))


def _finite(band: NDArray[np.float32], middle: float, spread: float) -> NDArray[np.float32]:
    """Limit outliers, and replace what is no number: one of them would darken or void all levels above it."""
    low, high = middle - _RANGE * spread, middle + _RANGE * spread
    with np.errstate(invalid="ignore"):
        limited = np.clip(band, np.float32(low), np.float32(high))
    if not np.isfinite(cv2.sumElems(limited)[0]):
        limited = np.nan_to_num(limited, nan=middle)
    return limited


def _quantise(image: NDArray[np.float32], middle: float, spread: float, out: Grey) -> None:
    low = np.float32(middle - _RANGE * spread)
    for first in range(0, len(image), _BAND):
        part = np.maximum(image[first : first + _BAND], low)
        _quantise_limited(part, middle, spread, out[first : first + _BAND])


def _quantise_limited(image: NDArray[np.float32], middle: float, spread: float, out: Grey) -> None:
    """Turn values into grey levels, none of which is darker than black: the sign of such would be lost."""
    low, scale = middle - _RANGE * spread, 255 / (2 * _RANGE * spread)
    cv2.convertScaleAbs(image, out, scale, -low * scale)


def _halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average two by two pixels; an odd last row or column counts twice, so that pixels keep their places."""
    odd_rows, odd_columns = image.shape[0] % 2, image.shape[1] % 2
    if odd_rows or odd_columns:
        image = cv2.copyMakeBorder(image, 0, odd_rows, 0, odd_columns, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    size = (image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def _middle_and_spread(sample: NDArray[np.float32]) -> tuple[float, float]:
    """Median and standard deviation of finite pixels; outliers hardly move either. The spread is never 0."""
    values = sample[np.isfinite(sample)]
    if not values.size:
        return 0.0, 1.0
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    return middle, spread or float(values.std()) or 1.0


def _patches(level: Grey) -> Iterable[Grey]:
    """Pieces spread over a level, so that the range takes no longer for a large one."""
    height, width = level.shape
    if max(height, width) <= _PATCHES * _PATCH_PX:
        return [level]
    tops = np.linspace(0, max(0, height - _PATCH_PX), _PATCHES).astype(int)
    lefts = np.linspace(0, max(0, width - _PATCH_PX), _PATCHES).astype(int)
    return [level[y : y + _PATCH_PX, x : x + _PATCH_PX] for y in tops for x in lefts]


def _range_of(patches: Iterable[NDArray[np.float32]]) -> tuple[float, float]:
    values = np.concatenate([patch[::2, ::2].ravel() for patch in patches])
    middle, spread = _middle_and_spread(values)
    low, high = (float(one) for one in np.percentile(values, (0.5, 99.5)))
    low, high = max(low, middle - _SHOWN * spread), min(high, middle + _SHOWN * spread)
    return (low, high) if high > low else (low - 1, low + 1)
