"""Cut picks out of a micrograph: small images, all at one scale, protein bright in white noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.micrographs.ctf import Ctf
from cryotx_cli.micrographs.decoy import noise_power, over_rings
from cryotx_cli.micrographs.image import clipped_and_rescaled, padding
from cryotx_cli.micrographs.micrograph import Micrograph

Image = NDArray[np.float32]
Kept = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.int8]
"""Crops as they wait in memory or in a file: numbers, or whole ones, `SCALE` a standard deviation."""

SIDE = 64
"""Pixels of a crop: 1.6 diameters."""
DIAMETER_PX = 40.0
"""Diameter of the particle in a crop."""
MASK_RADIUS = DIAMETER_PX / 2
"""Pixels around the middle of a crop that belong to the particle."""
REACH = 0.1 * DIAMETER_PX
"""Pixels by which the centre of a pick may be wrong."""
SCALE = 20
"""Whole numbers a standard deviation: crops reach 6 of these, and noise of 1/70 of one is added."""
_BACKGROUND = 81  # px: two diameters
_CLIP = 5.0
_TILES = 100  # that tell the noise: its amplitude to 5 % at each frequency
_LARGE, _SOME = 512, 8  # px: of a larger image every so manieth pixel tells what there is to tell
_SHRUNK = 4  # times
_AT_ONCE = 32  # crops, few enough that they stay in the processor's cache
_STANDS_OUT = 1.5  # times the power of its ring


@dataclass(frozen=True)
class Frame:
    """The scale of all crops of a run.

    Parameters
    ----------
    diameter
        Of the particle in Å.
    """

    diameter: float

    @property
    def pixel_size(self) -> float:
        """Å per pixel of a crop."""
        return self.diameter / DIAMETER_PX

    def rings(self, coarsest: float) -> int:
        """Return up to which ring of Fourier space crops from pixels of `coarsest` Å hold what was recorded."""
        return max(2, int(0.9 * min(1.0, self.pixel_size / coarsest) * SIDE / 2))


@dataclass(frozen=True, eq=False)
class Crops:
    """The picks of one micrograph.

    Parameters
    ----------
    images
        (n, side, side) float32: protein is bright, the noise is white, the background of each has mean 0, the crop a
        standard deviation of 1. What lies outside the micrograph is 0.
    offsets
        (n, 2) x and y in pixels of a crop from its middle to the pick: crops begin at whole pixels, for moving them by
        less makes them less sharp.
    whole
        (n,) whether the micrograph holds the particle as a whole, in what is no padding.
    noise
        (side / 2 + 1,) amplitude of the micrograph's noise at the frequencies k / side, which was taken away.
    flipped
        Whether contrast that the microscope has turned round was turned back.
    """

    images: Image
    offsets: NDArray[np.float32]
    whole: NDArray[np.bool_]
    noise: NDArray[np.float64]
    flipped: bool


def crops_of(micrograph: Micrograph, centres: NDArray[np.float64], frame: Frame, ctf: Ctf | None = None) -> Crops:
    """Cut out picks.

    Parameters
    ----------
    micrograph
        Particles are dark in it.
    centres
        (n, 2) x and y in its pixels.
    frame
        The scale of the crops.
    ctf
        Of the micrograph, if it is known: its phases are flipped, before anything is cut, for a particle spreads as far
        as the frequencies at which that matters are delocalised.
    """
    factor = micrograph.pixel_size / frame.pixel_size
    height, width = micrograph.image.shape
    step = min(1.0, 1 / factor)  # px of the image that is cut from one pixel of a crop to the next
    flat, inside = _flattened(clipped_and_rescaled(micrograph.image, min(1.0, factor)))
    image, noise = _whitened(flat, inside, None if ctf is None else (ctf, micrograph.pixel_size / min(1.0, factor)))
    frequencies = np.arange(SIDE // 2 + 1) / SIDE / step
    noise = np.interp(frequencies, np.linspace(0, 0.5, len(noise)), noise)
    scale = np.array([image.shape[1] / width, image.shape[0] / height])
    places = (centres + 0.5) * scale - 0.5
    images, offsets = _cut(image, places, step)
    radius, (rows, columns) = (MASK_RADIUS + REACH) * step, inside
    first, last = np.array([columns.start, rows.start]), np.array([columns.stop, rows.stop])
    whole = ((places > first + radius - 0.5) & (places < last - radius - 0.5)).all(1)
    return Crops(images, offsets, np.asarray(whole, bool), noise, ctf is not None)


def in_numbers(crops: Kept) -> Image:
    """Return crops (n, side, side) with a standard deviation of 1."""
    numbers = np.asarray(crops, np.float32)
    return numbers * np.float32(1 / SCALE) if crops.dtype == np.int8 else numbers


def levelled(images: Image) -> Image:
    """Bring the background of each crop to 0 and its standard deviation to 1: no lump of ice outweighs the others."""
    radius = np.hypot(*np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2).ravel()
    outside = (radius > MASK_RADIUS + REACH).astype(np.float32)
    flat = images.reshape(len(images), SIDE * SIDE)
    flat = flat - (flat @ outside / outside.sum())[:, None]
    mean = flat.mean(1)
    spread = np.sqrt(np.maximum(np.einsum("ij,ij->i", flat, flat) / flat.shape[1] - mean**2, 0))
    flat *= (1 / np.where(spread > 0, spread, 1))[:, None].astype(np.float32)
    return np.asarray(flat.reshape(images.shape), np.float32)


def _flattened(image: Image) -> tuple[Image, tuple[slice, slice]]:
    """Turn contrast round and take away what changes over more than two diameters; padding at the borders is 0.

    Returns
    -------
    flat, inside
        The rows and columns inside are no padding.
    """
    top, bottom, left, right = padding(image, _step(image))
    inside = (slice(top, image.shape[0] - bottom), slice(left, image.shape[1] - right))
    flat = np.zeros_like(image, np.float32)
    inner = flat[inside]
    np.subtract(_background(image[inside]), image[inside], out=inner)
    some = inner[:: _step(inner), :: _step(inner)]
    middle = np.float32(np.median(some))
    spread = 1.4826 * float(np.median(np.abs(some - middle)))
    inner -= middle
    inner *= np.float32(1 / (spread or 1.0))
    np.clip(inner, -_CLIP, _CLIP, out=inner)
    return flat, inside


def _step(image: Image) -> int:
    return _SOME if min(image.shape) > _LARGE else 1


def _background(image: Image) -> Image:
    """Return the mean of two diameters around each pixel, taken twice; of a large image from a small one."""
    import cv2

    times = _SHRUNK if min(image.shape) > _LARGE else 1
    height, width = (n // times for n in image.shape)
    small = cv2.resize(image[: height * times, : width * times], (width, height), interpolation=cv2.INTER_AREA)
    window = min(_BACKGROUND // times // 2 * 2 + 1, 2 * (min(small.shape) // 2) - 1)
    for _ in range(2):
        small = np.asarray(cv2.blur(small, (window, window), borderType=cv2.BORDER_REFLECT), np.float32)
    return np.asarray(cv2.resize(small, image.shape[::-1]), np.float32)


def _whitened(
    image: Image, inside: tuple[slice, slice], optics: tuple[Ctf, float] | None
) -> tuple[Image, NDArray[np.float64]]:
    """Divide by the amplitude of the noise, and flip phases.

    Parameters
    ----------
    image
        What to divide.
    inside
        Its rows and columns that are no padding; the others stay 0.
    optics
        Contrast transfer and Å per pixel; None: flip nothing.

    Returns
    -------
    image, amplitude
        The amplitude (n,) at frequencies from 0 to half a cycle per pixel; where the noise cannot be told, it is 1 and
        the image as it was.
    """
    power = noise_power(image, _TILES)
    radial = None if power is None else over_rings(power)
    if radial is None or power is None:
        return (image if optics is None else _filtered(image, np.float32(1), optics)), np.ones(2)
    radial[: radial.argmax()] = radial.max()  # what flattening has taken from the lowest frequencies is not noise
    side = len(power)
    rings = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    expected = np.interp(rings, np.arange(len(radial)), radial)
    # The grid of a JPG's blocks and of a camera's columns stands out at single frequencies.
    amplitude = np.sqrt(np.where(power > _STANDS_OUT * expected, power, expected))
    gain = np.float32(1) / _at_frequencies(amplitude, *_transformed(image.shape))
    filtered = _filtered(image, gain, optics)[inside]
    spread = filtered[:: _step(filtered), :: _step(filtered)].std()
    filtered *= np.float32(1 / (spread or 1.0))
    white = np.zeros_like(image)
    np.clip(filtered, -_CLIP, _CLIP, out=white[inside])
    return white, np.sqrt(radial)


def _at_frequencies(amplitude: NDArray[np.float64], height: int, width: int) -> Image:
    """Return what amplitudes at the frequencies of a small transform are at those of a large one, in between linear."""
    side = len(amplitude)
    rows = _between(np.fft.fftfreq(height) * side + side // 2, side)
    columns = _between(np.fft.rfftfreq(width) * side, side // 2 + 1)
    return (rows @ np.fft.fftshift(amplitude, 0).astype(np.float32)) @ columns.T


def _between(places: NDArray[np.floating], count: int) -> Image:
    """Return the weights (places, count) of what lies at 0, 1, ... for places in between; beyond the last it counts."""
    distance = np.abs(np.minimum(places, count - 1)[:, None] - np.arange(count))
    return np.asarray(np.clip(1 - distance, 0, None), np.float32)


def _filtered(image: Image, gain: Image | np.float32, optics: tuple[Ctf, float] | None) -> Image:
    """Multiply the transform of an image by a gain, and by -1 where the contrast transfer is negative."""
    from scipy.fft import ifft, irfft, rfft2  # scipy is not loaded before the first network has run

    height, width = _transformed(image.shape)
    if optics is not None:
        ctf, pixel_size = optics
        sine = ctf.sine(np.fft.fftfreq(height, pixel_size)[:, None], np.fft.rfftfreq(width, pixel_size)[None])
        gain = np.where(sine < 0, -gain, gain)
    transform = rfft2(image, s=(height, width))
    transform *= gain
    # In one piece irfft2 takes twice as long.
    whole: Image = irfft(ifft(transform, axis=0, overwrite_x=True), width, overwrite_x=True)
    return whole[: image.shape[0], : image.shape[1]]


def _transformed(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the size to which an image is filled with zeros for a quick transform."""
    from scipy.fft import next_fast_len

    height, width = (int(next_fast_len(n, real=True)) for n in shape)
    return height, width


def _cut(image: Image, places: NDArray[np.float64], step: float) -> tuple[Image, NDArray[np.float32]]:
    """Return crops around places (n, 2) of an image, and x and y from their middles to these places."""
    images = np.zeros((len(places), SIDE, SIDE), np.float32)
    corners = np.rint(places - (SIDE - 1) / 2)
    if step < 1:  # pixels of the micrograph are larger than those of a crop
        corners = places - (SIDE - 1) / 2
        for crop, place in zip(images, places, strict=True):
            crop[:] = _enlarged(image, place, step)
    else:
        for crop, (x, y) in zip(images, corners.astype(int).tolist(), strict=True):
            left, top = max(0, -x), max(0, -y)
            part = image[max(0, y) : max(0, y + SIDE), max(0, x) : max(0, x + SIDE)]
            crop[top : top + part.shape[0], left : left + part.shape[1]] = part
    for start in range(0, len(images), _AT_ONCE):
        images[start : start + _AT_ONCE] = levelled(images[start : start + _AT_ONCE])
    return images, (places - corners - (SIDE - 1) / 2).astype(np.float32)


def _enlarged(image: Image, centre: NDArray[np.float64], step: float) -> Image:
    import cv2

    middle = (SIDE - 1) / 2
    # From a pixel of the crop to the place in the image.
    matrix = np.array([[step, 0, centre[0] - step * middle], [0, step, centre[1] - step * middle]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_CONSTANT))
