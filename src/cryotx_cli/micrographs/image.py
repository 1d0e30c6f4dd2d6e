"""Bring a micrograph to the scale and grey levels that the detector knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Limits = tuple[np.float32, np.float32]
Rows = Callable[[int, int], Image]
"""Returns the rows from one to before another, (n, width); they are asked for from top to bottom."""

PIXELS_PER_DIAMETER = 24.0
CLIP = 5.0
SAMPLED = 8
"""Of a large image every eighth row and column tell the grey levels."""
_DEVIATIONS = 10.0  # beyond which a pixel is hot or dead
_BACKGROUND_WINDOW = 49  # px at network scale: two diameters
_STRAY_ROWS, _FEWEST_ROWS = 8, 3  # px at network scale: beyond a padded border, and of it
_NARROWEST = 64  # px, of what may have another padded border
# Of the result: few enough that the rows they come from stay in the processor's cache; and that they do themselves.
_ROWS_AT_ONCE, _ROWS_OF_BLOCK = 4, 32


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
    return averaged(lambda first, last: image[first:last], image.shape, factor, limits)


def clipped_and_rescaled(image: Image, factor: float) -> Image:
    """Return what `rescale` makes of what `clip_outliers` returns, without a clipped copy of an image that shrinks."""
    if not shrinks(image.shape, factor):
        return rescale(clip_outliers(image), factor)
    return rescale(image, factor, outlier_limits(sampled(image)))


def shrinks(shape: tuple[int, ...], factor: float) -> bool:
    """Whether an image has fewer rows when it is rescaled."""
    return round(shape[0] * factor) < shape[0]


def averaged(rows: Rows, shape: tuple[int, ...], factor: float, limits: Limits | None) -> Image:
    """Average over areas what is read by rows; see `rescale`.

    Parameters
    ----------
    rows
        Of the image, float32.
    shape
        (height, width) of the image, which is to have fewer rows and no more columns.
    factor, limits
        As `rescale` takes them.
    """
    import cv2

    height, width = (max(1, round(n * factor)) for n in shape)
    step = shape[0] / height
    result = np.empty((height, width), np.float32)
    block = np.empty((_ROWS_OF_BLOCK, shape[1]), np.float32)
    # OpenCV takes 3 to 5 times as long to average in both directions at once.
    for first in range(0, height, _ROWS_OF_BLOCK):
        last = min(height, first + _ROWS_OF_BLOCK)
        for start in range(first, last, _ROWS_AT_ONCE):
            end = min(last, start + _ROWS_AT_ONCE)
            edges = np.minimum(np.arange(start, end + 1) * step, shape[0])
            _average_rows(rows, edges, step, limits, block[start - first : end - first])
        cv2.resize(block[: last - first], (width, last - first), result[first:last], interpolation=cv2.INTER_AREA)
    return result


def _average_rows(rows: Rows, edges: NDArray[np.float64], step: float, limits: Limits | None, out: Image) -> None:
    """Average what lies between edges, `step` rows of the image, to one row each."""
    within = np.arange(int(edges[0]), math.ceil(edges[-1]))
    overlap = np.minimum(edges[1:, None], within + 1) - np.maximum(edges[:-1, None], within)
    weights = (np.clip(overlap, 0, None) / step).astype(np.float32)
    band = rows(int(within[0]), int(within[-1]) + 1)
    np.dot(weights, band if limits is None else band.clip(*limits), out=out)


def clip_outliers(image: Image, deviations: float = _DEVIATIONS) -> Image:
    """Limit hot and dead pixels to so many robust standard deviations around the median.

    Statistics come from every eighth row and column: 2.6e5 of a 4k image's pixels fix them to better than 1 %.
    """
    limits = outlier_limits(sampled(image), deviations)
    if limits is None or (image.min() >= limits[0] and image.max() <= limits[1]):
        return image
    return np.clip(image, *limits)


def sampled(image: Image) -> Image:
    """Return the pixels that `outlier_limits` follow from: of an image that is not small a few."""
    return image[::SAMPLED, ::SAMPLED] if is_sampled(image.shape) else image


def is_sampled(shape: tuple[int, ...]) -> bool:
    """Whether every eighth row and column of an image are enough to know its grey levels."""
    return min(shape) >= 256


def outlier_limits(sample: Image, deviations: float = _DEVIATIONS) -> Limits | None:
    """Return so many robust standard deviations around the median of what `sampled` returns; None where it is flat."""
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
    found = _still(rows), _still(rows[::-1]), _still(columns), _still(columns[::-1])
    if not any(found):
        return found
    top, bottom, left, right = found
    inside = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    if min(inside.shape) < _NARROWEST:
        return found
    # One program may have put its border around that of another.
    top, bottom, left, right = (one + more for one, more in zip(found, padding(inside, every), strict=True))
    return top, bottom, left, right


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
    """Return the mean of the window around each pixel, twice: ``scipy.ndimage.uniform_filter``, bit by bit."""
    import cv2

    # Written again and again: new memory takes as long as adding up.
    mean, total = np.empty(image.shape, np.float32), np.empty(image.shape)
    for window in 2 * ((1, _BACKGROUND_WINDOW), (_BACKGROUND_WINDOW, 1)):
        cv2.boxFilter(image, cv2.CV_64F, window, total, normalize=False, borderType=cv2.BORDER_REFLECT)
        np.divide(total, _BACKGROUND_WINDOW, out=mean, casting="same_kind")  # divided in double precision
        image = mean
    return mean


def _normalised(image: Image) -> Image:
    image = image.astype(np.float32, copy=False)
    background = _running_mean(image)
    flat = np.subtract(image, background, out=background)
    flat -= _median(flat)
    spread = 1.4826 * _median(np.abs(flat))
    if spread > 0:
        flat /= spread
    return np.clip(flat, -CLIP, CLIP, out=flat)
