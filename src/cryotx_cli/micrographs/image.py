"""Bring a micrograph to the scale and grey levels that the detector knows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Limits = tuple[np.float32, np.float32]

PIXELS_PER_DIAMETER = 24.0
CLIP = 5.0
_DEVIATIONS = 10.0  # beyond which a pixel is hot or dead
_BACKGROUND_WINDOW = 49  # px at network scale: two diameters
_STRAY_ROWS, _FEWEST_ROWS = 8, 3  # px at network scale: beyond a padded border, and of it
_ROWS_AT_ONCE = 4  # of the result: few enough that the rows they come from stay in the processor's cache


def rescale(image: Image, factor: float, limits: Limits | None = None) -> Image:
    """Resize so that each side is `factor` times as long, rounded to whole pixels; float32.

    Shrinking averages over areas, enlarging interpolates bicubically. With side lengths n and m, pixel centres map as
    (x + 0.5) m / n - 0.5.

    Parameters
    ----------
    image
        (height, width).
    factor
        Any positive number.
    limits
        Pixels are limited to these before they are averaged, without a copy of an image that shrinks.

    Raises
    ------
    ValueError
        If the factor is not positive.
    """
    if factor <= 0:
        raise ValueError(f"factor must be positive, not {factor}")
    height, width = (max(1, round(n * factor)) for n in image.shape)
    if limits is not None and height >= len(image):
        image, limits = np.clip(image, *limits), None
    if (height, width) == image.shape:
        return image
    image = np.asarray(image, np.float32)
    import cv2

    if factor > 1:
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    # OpenCV takes 3 to 5 times as long to average in both directions at once.
    rows = _averaged_rows(image, height, limits)
    return np.asarray(cv2.resize(rows, (width, height), interpolation=cv2.INTER_AREA))


def clipped_and_rescaled(image: Image, factor: float) -> Image:
    """Return what `rescale` makes of what `clip_outliers` returns, without a clipped copy of an image that shrinks."""
    if round(len(image) * factor) >= len(image):
        return rescale(clip_outliers(image), factor)
    return rescale(image, factor, _limits(image, _DEVIATIONS))


def _averaged_rows(image: Image, height: int, limits: Limits | None) -> Image:
    """Average the rows over areas to `height` rows, within limits; the columns stay."""
    step = len(image) / height
    averaged = np.empty((height, image.shape[1]), np.float32)
    for first in range(0, height, _ROWS_AT_ONCE):
        edges = np.arange(first, min(height, first + _ROWS_AT_ONCE) + 1) * step
        rows = np.arange(int(edges[0]), min(len(image), math.ceil(edges[-1])))
        overlap = np.minimum(edges[1:, None], rows + 1) - np.maximum(edges[:-1, None], rows)
        weights = (np.clip(overlap, 0, None) / step).astype(np.float32)
        band = image[rows[0] : rows[-1] + 1]
        np.dot(weights, band if limits is None else band.clip(*limits), out=averaged[first : first + _ROWS_AT_ONCE])
    return averaged


def clip_outliers(image: Image, deviations: float = _DEVIATIONS) -> Image:
    """Limit hot and dead pixels to so many robust standard deviations around the median.

    Statistics come from every eighth row and column: 2.6e5 of a 4k image's pixels fix them to better than 1 %.
    """
    limits = _limits(image, deviations)
    if limits is None or (image.min() >= limits[0] and image.max() <= limits[1]):
        return image
    return np.clip(image, *limits)


def _limits(image: Image, deviations: float) -> Limits | None:
    sample = image[::8, ::8] if min(image.shape) >= 256 else image
    middle = _median(sample)
    spread = 1.4826 * _median(np.abs(sample - middle))
    if spread == 0:
        return None
    return np.float32(middle - deviations * spread), np.float32(middle + deviations * spread)


def _median(values: NDArray[Any]) -> Any:
    """Return what `numpy.median` does, for which that takes five times as long."""
    ordered = values.flatten()
    middle = ordered.size // 2
    ordered.partition(middle)  # around a single place NumPy does it by the processor's vector instructions
    upper = ordered[middle:]
    if np.isnan(last := upper.max()):
        return last
    pair = [ordered[:middle].max(), upper[0]] if ordered.size % 2 == 0 else [upper[0]]
    return np.mean(pair, dtype=ordered.dtype)


def padding(image: Image, every: int = 1) -> tuple[int, int, int, int]:
    """Count the rows at the top and bottom and the columns at the left and right that are no part of the micrograph.

    Motion correction, filters and conversions fill what they do not know with one value or with copies of the outermost
    row. There, neighbouring rows are all but equal: their mean absolute difference is 0.00 to 0.04 of that in the
    middle of the image, and 0.7 and more where there is noise. A few rows beyond such a border may have come from the
    opposite side of the image, by filters that wrap around.

    Parameters
    ----------
    image
        (height, width).
    every
        Look at every so manieth pixel of each row and column only.
    """
    rows, columns = _changes(image[:, ::every], 0), _changes(image[::every], 1)
    return _still(rows), _still(rows[::-1]), _still(columns), _still(columns[::-1])


def _changes(image: Image, axis: int) -> Image:
    """Mean absolute change from each row (axis 0) or column (axis 1) to the next."""
    changes = np.diff(image, axis=axis)
    return np.asarray(np.abs(changes, out=changes).mean(1 - axis))


def _still(changes: NDArray[np.float32]) -> int:
    """Length of the border at the beginning, from the mean absolute change from each row to the next."""
    outermost = changes[: len(changes) // 5]
    still = outermost < 0.4 * np.median(changes)
    first = int(np.argmax(still)) if still.any() else len(still)
    if first > _STRAY_ROWS:
        return 0
    length = int(np.argmin(still[first:])) if not still[first:].all() else 0
    # Among n equal rows there are n - 1 changes, and the row behind them is mixed of both sides when it is rescaled.
    return first + length + 2 if length >= _FEWEST_ROWS else 0


def normalise(image: Image) -> Image:
    """Subtract the local mean and divide by the robust noise level; clipped to +-5, float32, same shape.

    The local mean is a box of two particle diameters applied twice, so an image must have 24 px per diameter. The
    noise level is 1.4826 times the median absolute deviation. Padding at the borders counts for neither and becomes 0.
    """
    top, bottom, left, right = padding(image)
    if not top + bottom + left + right:
        return _normalised(image)
    normalised = np.zeros(image.shape, np.float32)
    inside = (slice(top, image.shape[0] - bottom), slice(left, image.shape[1] - right))
    normalised[inside] = _normalised(image[inside])
    return normalised


def _running_mean(image: Image) -> Image:
    """Return the mean of the window around each pixel: ``scipy.ndimage.uniform_filter``, bit by bit.

    The noise that a run is compared with is drawn anew where an image differs in its last bit. And SciPy is not loaded
    before the network has run.
    """
    import cv2

    for window in ((1, _BACKGROUND_WINDOW), (_BACKGROUND_WINDOW, 1)):
        total = cv2.boxFilter(image, cv2.CV_64F, window, normalize=False, borderType=cv2.BORDER_REFLECT)
        image = np.empty(total.shape, np.float32)
        np.divide(total, _BACKGROUND_WINDOW, out=image, casting="same_kind")  # divided in double precision
    return image


def _normalised(image: Image) -> Image:
    image = image.astype(np.float32, copy=False)
    background = _running_mean(_running_mean(image))
    flat = np.subtract(image, background, out=background)
    flat -= _median(flat)
    spread = 1.4826 * _median(np.abs(flat))
    if spread > 0:
        flat /= spread
    return np.clip(flat, -CLIP, CLIP, out=flat)
