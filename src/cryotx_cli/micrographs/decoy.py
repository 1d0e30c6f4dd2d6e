"""Decoys: noise with the spectrum of a micrograph, in which there is nothing to find.

As in the target-decoy search of proteomics (Elias and Gygi, Nat. Methods 4, 207, 2007): what a detector finds in a
decoy it would have found in the micrograph, too, had there been no particles.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, normalise

Image = NDArray[np.float32]

_TILE = 4 * round(PIXELS_PER_DIAMETER)  # px: wide enough for the low frequencies that a particle consists of
_SMALLEST_TILE = round(PIXELS_PER_DIAMETER)  # px: below it the spectrum has no room for the size of a particle
_MOST_TILES = 400  # they fix the median of each frequency's power to some 7 %, before it is averaged over rings
_UNKNOWN = 0.2  # largest share of a tile that may be padding
_FEWEST_TILES = 5
_SEEDING_ROWS = 16  # of a micrograph as it was read: enough that no two have the same
_DRAWN_COLUMNS = 128  # noise is drawn so wide, or a multiple of it


def radial_spectrum(image: Image) -> NDArray[np.float64] | None:
    """Power of the noise in an image at each spatial frequency, hardly touched by what stands out in it.

    Each frequency's power is the median over tiles that overlap by half, so that a lump of ice or a hole, which fill a
    few tiles, do not count; that of noise is exponentially distributed, with a median of ln 2 of its mean. Rings of
    equal frequency are averaged.

    Parameters
    ----------
    image
        (height, width), prepared for the network: no gradients, a particle is 24 px across; 0 in padding.

    Returns
    -------
    ndarray of float64, shape (n,), or None
        Power at k / (2 (n - 1)) cycles per pixel for k = 0, 1, ..., n - 1, which is half a tile. None where the image
        is too small, or too much of it is padding or uniform.
    """
    noise = noise_power(image)
    return None if noise is None else over_rings(noise)


def over_rings(noise: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return what `radial_spectrum` does from what `noise_power` has returned."""
    side = len(noise)
    rings = (side * _frequencies(side, side)).round().astype(int)
    radial = np.bincount(rings.ravel(), noise.ravel()) / np.bincount(rings.ravel())
    radial = radial[: side // 2 + 1]
    radial[0] = radial[1]  # each tile's mean has been taken away
    return np.asarray(radial, np.float64) if radial.min() > 0 else None


def noise_power(image: Image, tiles: int = _MOST_TILES) -> NDArray[np.float64] | None:
    """Power of the noise in an image at each frequency of a tile, before it is averaged over rings.

    Parameters
    ----------
    image
        As for `radial_spectrum`.
    tiles
        Look at so many at most.

    Returns
    -------
    ndarray of float64, shape (n, n // 2 + 1), or None
        At the frequencies of `numpy.fft.rfft2`. None where `radial_spectrum` returns None for want of tiles.
    """
    side = min(_TILE, *(n // 3 for n in image.shape)) // 2 * 2
    if side < _SMALLEST_TILE:
        return None
    taper = np.outer(np.hanning(side), np.hanning(side))
    taper = (taper / (np.sqrt((taper**2).mean()) * side)).astype(np.float32)
    corners = [
        (y, x)
        for y in range(0, image.shape[0] - side + 1, side // 2)
        for x in range(0, image.shape[1] - side + 1, side // 2)
    ]
    stack = np.stack([image[y : y + side, x : x + side] for y, x in corners[:: math.ceil(len(corners) / tiles)]])
    known = [np.count_nonzero(tile) for tile in stack != 0]
    stack = stack[np.array(known) >= (1 - _UNKNOWN) * side**2]
    if len(stack) < _FEWEST_TILES:
        return None
    stack -= stack.mean((1, 2), keepdims=True)
    stack *= taper
    powers = np.stack([_power(tile) for tile in stack])
    return np.asarray(_medians(powers) / math.log(2), np.float64)


def _medians(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `numpy.median` along the first axis does, for which that takes eight times as long."""
    ordered = np.ascontiguousarray(values.reshape(len(values), -1).T)
    ordered.sort(axis=1)  # of short rows, by the processor's vector instructions
    low, high = ordered[:, (len(values) - 1) // 2], ordered[:, len(values) // 2]
    return np.asarray((low + high) / 2, np.float32).reshape(values.shape[1:])


def _power(tile: Image) -> Image:
    """Return the squares of what `numpy.fft.rfft2` does, which takes three times as long, and SciPy's import longer."""
    import cv2

    transform = cv2.dft(tile, flags=cv2.DFT_COMPLEX_OUTPUT)[:, : tile.shape[1] // 2 + 1]
    return np.asarray(np.einsum("ijk,ijk->ij", transform, transform))


def noise_seed(pixels: Image) -> int:
    """Return what the decoys of a micrograph are drawn from: the same on every machine, another for another micrograph.

    Parameters
    ----------
    pixels
        (height, width), as they were read. What is made of them differs in its last bits from one processor to the
        next, and so would all decoys.
    """
    return zlib.crc32(pixels[:: seeding_rows(len(pixels))].astype("<f4").tobytes())


def seeding_rows(height: int) -> int:
    """Return the distance of the rows that `noise_seed` follows from; the first row is one of them."""
    return max(1, height // _SEEDING_ROWS)


def decoy_from(spectrum: NDArray[np.float64], shape: tuple[int, int], seed: int, number: int = 0) -> Image:
    """Draw Gaussian noise that has a spectrum, with the grey levels of a prepared micrograph.

    A spectrum that is a little different gives noise that is, and so does most often a shape that is a pixel larger.

    Parameters
    ----------
    spectrum
        What `radial_spectrum` returned.
    shape
        (height, width) in px.
    seed, number
        What `noise_seed` returned, and how many decoys there are before this one. The same two give the same noise.
    """
    side = 2 * (len(spectrum) - 1)
    power = np.interp(side * _frequencies(*shape), np.arange(len(spectrum)), spectrum)
    height, width = shape
    drawn = height, -(-width // _DRAWN_COLUMNS) * _DRAWN_COLUMNS
    white = np.random.default_rng([seed, number]).standard_normal(drawn)[:, :width]
    noise = np.fft.irfft2(np.fft.rfft2(white) * np.sqrt(power), s=shape)
    return np.ascontiguousarray(normalise(noise.astype(np.float32)))


def _frequencies(height: int, width: int) -> NDArray[np.float64]:
    """Spatial frequencies in cycles per pixel of a transform by `numpy.fft.rfft2`."""
    return np.asarray(np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]))
