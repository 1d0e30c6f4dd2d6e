"""The denoising of the CryoTransformer paper, one function a stage.

Gaussian blur, standardisation, non-local means, a Wiener filter, contrast-limited adaptive histogram equalisation and a
guided filter. ``paper`` is the text of the publication (Dhakal et al., Bioinformatics 40, btae109, 2024). ``original``
gives the pixels of the authors' program, which weights trained with it have learned, and differs in four ways:

* it blurs integer images in integers, and works on the rows in reverse order, in which its y axis points up;
* its Wiener kernel sits in the corner of the image, not at the origin: everything moves by (-4, -4) px;
* its boxes are 20 px wide, and an even box has no centre: two of them move everything back by (+1, +1) px;
* it guides the filter with the Wiener image divided by 255, though that image is about 30 times darker than the
  8-bit one: its variance is nothing beside epsilon, so the guide has hardly any influence and the filter is a blur.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryotx_cli.config import DenoisingPipeline
from cryotx_cli.errors import MicrographError

GAUSSIAN_PX = 9
WIENER_PX = 9
WIENER_SIGMA_PX = WIENER_PX / 3
WIENER_NOISE_TO_SIGNAL = 30.0
GUIDED_RADIUS_PX = 20
GUIDED_EPSILON = 0.1

# Rows, columns and pixels that are worked on at once: large enough to hide the calls, small enough for the cache.
_ROWS = 32
_COLUMNS = 16
_CHUNK = 8192


def denoise(image: NDArray[Any], pipeline: DenoisingPipeline = "paper") -> NDArray[np.uint8]:
    """Denoise a micrograph.

    Parameters
    ----------
    image
        Pixels (height, width) of any real type, rows as stored. Not changed.
    pipeline
        ``paper`` leaves every point where it is. ``original`` moves the image by (-3, -3) px along x and the reversed
        rows, so by (-3, +3) px along x and y of the rows as stored.

    Returns
    -------
    8-bit image (height, width), rows as stored, from 0 to 255.

    Raises
    ------
    MicrographError
        The image has NaN or infinite pixels, or they are all equal.
    """
    image = measurable(image)
    if pipeline == "original":
        return np.ascontiguousarray(_denoise_as_recorded(image[::-1])[::-1])
    scaled = to_8_bit(standardise(image.astype(np.float32, copy=False)))
    equalised = equalise(to_8_bit(wiener_filter(non_local_means(scaled))))
    return to_8_bit(guided_filter(equalised, _over_255(equalised), 2 * GUIDED_RADIUS_PX + 1))


def _denoise_as_recorded(image: NDArray[Any]) -> NDArray[np.uint8]:
    scaled = to_8_bit(standardise(image))
    restored = wiener_filter(non_local_means(scaled), displacement_px=-(WIENER_PX // 2))
    equalised = equalise(to_8_bit(restored))
    guide = _over_255(restored)
    del restored  # twice the size of any array of the next stage, which needs most of them
    return to_8_bit(guided_filter(equalised, guide, GUIDED_RADIUS_PX))


def standardise(image: NDArray[Any]) -> NDArray[Any]:
    """Blur with a Gaussian of 9 x 9 pixels, subtract the mean and divide by the standard deviation.

    The sums run in the order of NumPy 1 whatever version is installed, because a last bit of the mean decides whether
    a pixel is truncated to one grey level or the next, and equalisation spreads that over its tile.

    Returns
    -------
    float32 (height, width) for a floating-point image, float64 for an integer one, which is blurred in integers.

    Raises
    ------
    MicrographError
        The blurred image is constant.
    """
    blurred = np.asarray(cv2.GaussianBlur(image, (GAUSSIAN_PX, GAUSSIAN_PX), 0))
    pixels = blurred.reshape(-1)
    real: type[np.floating[Any]] = np.float64 if blurred.dtype.kind in "iu" else np.float32
    total = _sum(pixels, real)
    # NumPy divides a scalar in double precision, and the mean inside of `std`, an array, in the type of the pixels.
    mean = real(np.float64(total) / pixels.size)
    variance = real(np.float64(_sum(pixels, real, centre=total / real(pixels.size))) / pixels.size)
    if variance == 0:
        raise MicrographError(f"cannot be denoised: it is constant once blurred ({blurred.flat[0]})", CONSTANT_HINT)
    standard = np.subtract(blurred, mean, out=blurred if blurred.dtype == real else None)
    standard /= np.sqrt(variance)
    return standard


def to_8_bit(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Stretch an image to 0..255, truncating like the original.

    Raises
    ------
    MicrographError
        The image is constant.
    """
    low, high = image.min(), image.max()
    if low == high:
        raise MicrographError(f"cannot be denoised: every pixel is {low}", CONSTANT_HINT)
    stretched = np.empty(image.shape, np.uint8)
    for rows in _slices(len(image), _ROWS):
        block = image[rows] - low
        block /= high - low
        block *= 255
        stretched[rows] = block
    return stretched


def non_local_means(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average pixels whose 7 x 7 surroundings agree, within 21 x 21 pixels, with strength 10 (Buades et al., 2011)."""
    return np.asarray(
        cv2.fastNlMeansDenoising(image, None, h=10, templateWindowSize=7, searchWindowSize=21), dtype=np.uint8
    )


def wiener_filter(image: NDArray[np.uint8], displacement_px: int = 0) -> NDArray[np.float64]:
    """Undo a blur by a 9 x 9 Gaussian kernel: conj(H) / (|H|^2 + K) with K = 30, on the image repeated periodically.

    A kernel that is centred on the origin has a real, separable transfer function: the half spectrum of the real image
    is multiplied by it block by block, in place, and the result is written over the spectrum.

    Parameters
    ----------
    image
        8-bit image (height, width).
    displacement_px
        Move the result along x and y, around the edges. A kernel whose first element, not its centre, is at the origin
        does that by minus half its width.

    Returns
    -------
    Image (height, width) of the magnitudes; a view into a larger array.
    """
    height, width = image.shape
    shifted = np.roll(image, (displacement_px, displacement_px), axis=(0, 1))
    spectrum = np.empty((height, width // 2 + 1), np.complex128)
    for rows in _slices(height, _ROWS):
        spectrum[rows] = fft.rfft(shifted[rows].astype(np.float64), axis=1)
    transfer_y = wiener_transfer(fft.fftfreq(height))[:, np.newaxis]
    transfer_x = wiener_transfer(fft.rfftfreq(width))
    for columns in _slices(spectrum.shape[1], _COLUMNS):
        block = fft.fft(spectrum[:, columns], axis=0)
        transfer = transfer_y * transfer_x[columns]
        block *= transfer / (transfer**2 + WIENER_NOISE_TO_SIGNAL)
        spectrum[:, columns] = fft.ifft(block, axis=0, overwrite_x=True)
    restored = spectrum.view(np.float64)[:, :width]
    for rows in _slices(height, _ROWS):
        np.abs(fft.irfft(spectrum[rows], n=width, axis=1), out=restored[rows])
    return restored


def equalise(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Equalise the histogram in 16 x 16 tiles, each bin limited to twice the mean (Zuiderveld, 1994)."""
    return np.asarray(cv2.createCLAHE(clipLimit=2.0, tileGridSize=(16, 16)).apply(image), dtype=np.uint8)


def guided_filter(image: NDArray[np.uint8], guide: NDArray[np.float32], box_px: int) -> NDArray[np.float32]:
    """Smooth an image except where the guide has edges (He, Sun and Tang, 2010, equations 5, 6 and 8); epsilon is 0.1.

    `cv2.ximgproc.guidedFilter` gives the same inside, within 1e-5, but mirrors the image about the edge of the border's
    pixels and not about their centres, which changes up to six grey levels there, and knows no even boxes.

    Parameters
    ----------
    image
        8-bit image (height, width).
    guide
        Image (height, width) of the same field of view; where its variance in a box is far below epsilon it is flat.
    box_px
        Side of the boxes that are averaged; an even one reaches one pixel farther to the left and up.

    Returns
    -------
    Image (height, width), 0 to 1.
    """

    def box_mean(source: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(source, -1, (box_px, box_px), dst=out), dtype=np.float32)

    product = _over_255(image)
    mean_guide, mean_image = box_mean(guide), box_mean(product)
    product *= guide
    slope = box_mean(product)
    slope -= np.multiply(mean_guide, mean_image, out=product)
    variance = box_mean(np.multiply(guide, guide, out=product))
    variance -= np.multiply(mean_guide, mean_guide, out=product)
    variance += np.float32(GUIDED_EPSILON)
    slope /= variance
    offset = np.subtract(mean_image, np.multiply(slope, mean_guide, out=product), out=mean_image)
    smoothed = box_mean(slope, out=product)
    smoothed *= guide
    smoothed += box_mean(offset, out=variance)
    return smoothed


CONSTANT_HINT = "The file is empty or broken: leave it out."


def measurable(image: NDArray[Any]) -> NDArray[Any]:
    """Refuse images that nothing can be said about, and widen the types that OpenCV cannot blur."""
    if image.ndim != 2:
        raise ValueError(f"image must be (height, width), its shape is {image.shape}")
    low, high = image.min(), image.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise MicrographError("cannot be denoised: some pixels are NaN or infinite", "Repair the file or leave it out.")
    if low == high:
        raise MicrographError(f"cannot be denoised: every pixel is {low}", CONSTANT_HINT)
    # MRC has no unsigned 8-bit mode: such an image is stored, and was recorded, with 16 bits.
    widened = {"int8": np.int16, "uint8": np.uint16, "int16": np.int16, "uint16": np.uint16}
    return image.astype(widened.get(image.dtype.name, np.float32), copy=False)


def _over_255(image: NDArray[Any]) -> NDArray[np.float32]:
    scaled = image.astype(np.float32)
    scaled /= 255
    return scaled


def _sum(
    pixels: NDArray[Any], real: type[np.floating[Any]], centre: np.floating[Any] | None = None
) -> np.floating[Any]:
    """Sum pixels, or squares of their differences from ``centre``: pairwise within 8192, one after the other beyond."""
    sums = []
    for part in _slices(pixels.size, 32 * _CHUNK):
        values = pixels[part]
        if centre is not None:
            values = np.subtract(values, centre, dtype=real)
            values *= values
        whole = values.size // _CHUNK * _CHUNK
        sums.append(values[:whole].reshape(-1, _CHUNK).sum(axis=1, dtype=real))
        if whole < values.size:
            sums.append(values[whole:].sum(dtype=real, keepdims=True))
    total: np.floating[Any] = np.add.accumulate(np.concatenate(sums))[-1]
    return total


def wiener_transfer(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourier transform of the normalised, centred Gaussian kernel in one direction; frequencies in cycles/px."""
    offsets = np.arange(WIENER_PX) - WIENER_PX // 2
    kernel = np.exp(-(offsets**2) / (2 * WIENER_SIGMA_PX**2))
    kernel /= kernel.sum()
    transfer: NDArray[np.float64] = np.cos(2 * np.pi * np.outer(frequencies, offsets)) @ kernel
    return transfer


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
