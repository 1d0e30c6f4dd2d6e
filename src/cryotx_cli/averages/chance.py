"""What chance makes of noise: crops of it that look most like the picks.

Noise holds nothing, and yet the places in it that resemble a particle most, turned and moved until they fit, average to
one. So what the two halves of the picks share counts as far as it exceeds what the two halves of such places share.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

from cryotx_cli.averages.crops import DIAMETER_PX, SIDE, levelled

Image = NDArray[np.float32]

_FIELD = 1024  # px
_FIRST_PART = 8  # of the places of a field, one of so many, which hold most of those that are wanted
_AREA = 1.0  # squared diameters for each place: as dense as picks can lie


def crops_of_noise(template: Image, count: int, seed: int) -> Image:
    """Return the places in noise that resemble a template most.

    Parameters
    ----------
    template
        (side, side), for example what all picks average to.
    count
        How many.
    seed
        Of the noise.

    Returns
    -------
    ndarray of float32, shape (n, side, side)
        As those of picks.
    """
    draw = np.random.default_rng(seed)
    crops: list[Image] = []
    while len(crops) < count:
        crops += _best_places(draw.standard_normal((_FIELD, _FIELD), np.float32), template)
    return levelled(np.stack(crops[:count]))


def _best_places(noise: Image, template: Image) -> list[Image]:
    pattern = np.zeros(noise.shape, np.float32)
    pattern[:SIDE, :SIDE] = template - template.mean()
    pattern = np.roll(pattern, (-(SIDE // 2), -(SIDE // 2)), (0, 1))
    likeness = irfft2(rfft2(noise) * rfft2(pattern).conj(), s=noise.shape)
    half = SIDE // 2
    inner = likeness[half:-half, half:-half]
    wanted = int(inner.size / DIAMETER_PX**2 / _AREA)
    taken = np.zeros(inner.shape, bool)
    cuts: list[Image] = []
    apart = int(DIAMETER_PX / 2)
    for y, x in _highest_first(inner):
        if taken[y, x]:
            continue
        taken[max(0, y - apart) : y + apart + 1, max(0, x - apart) : x + apart + 1] = True
        cuts.append(noise[y : y + SIDE, x : x + SIDE])
        if len(cuts) == wanted:
            break
    return cuts


def _highest_first(values: Image) -> Iterator[tuple[int, int]]:
    """Yield the places of an image (row, column) from the highest value down; the first of them cost little to sort."""
    flat = values.ravel()
    bound = float(np.partition(flat, -(flat.size // _FIRST_PART))[-(flat.size // _FIRST_PART)])
    for some in (np.flatnonzero(flat >= bound), np.flatnonzero(flat < bound)):
        order = some[np.argsort(-flat[some], kind="stable")]
        yield from zip(*(axis.tolist() for axis in np.unravel_index(order, values.shape)), strict=True)
