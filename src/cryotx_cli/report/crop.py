"""Small pictures of single particles: the galleries of misses and false picks are made of them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

CROP_DIAMETERS = 2.6
"""Side of a crop in particle diameters: the particle and what surrounds it."""

_CROP_PX = 120
_SMOOTHING_PX = 1.6
_QUALITY = 60


def crop_jpeg(image: NDArray[np.generic], x: float, y: float, diameter_px: float) -> bytes:
    """Return a small grey JPEG of a particle in the middle of `CROP_DIAMETERS` diameters, rows as stored.

    Parameters
    ----------
    image
        (height, width); what lies outside is shown in a flat grey.
    x, y, diameter_px
        Centre and diameter in pixels of `image`.
    """
    scale = _CROP_PX / (CROP_DIAMETERS * diameter_px)
    margin = int(np.ceil(CROP_DIAMETERS * diameter_px / 2)) + 2
    left, top = round(x) - margin, round(y) - margin
    part = _padded(image, top, left, 2 * margin + 1)
    # Outliers before averaging: one hot pixel would outshine its whole neighbourhood.
    middle, spread = float(np.median(part)), 1.4826 * float(np.median(np.abs(part - np.median(part))))
    limit = 6 * spread if spread > 0 else np.inf
    calm = np.clip(part - middle, -limit, limit)
    source = cv2.GaussianBlur(calm, (0, 0), 0.5 / scale) if scale < 1 else calm
    # Warping keeps the particle in the middle to a fraction of a pixel: the centre of the crop is (119 / 2, 119 / 2).
    move = np.array([[scale, 0, 0], [0, scale, 0]])
    move[:, 2] = (_CROP_PX - 1) / 2 - scale * np.array([x - left, y - top])
    flags = cv2.INTER_LINEAR if scale < 1 else cv2.INTER_CUBIC
    crop = cv2.warpAffine(source, move, (_CROP_PX, _CROP_PX), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    smooth = cv2.GaussianBlur(crop, (0, 0), _SMOOTHING_PX)
    low, high = (float(level) for level in np.percentile(smooth, (0.5, 99.5)))
    grey = np.clip((smooth - low) * (255 / max(high - low, 1e-12)), 0, 255)
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return bytes(cv2.imencode(".jpg", grey.astype(np.uint8), options)[1].tobytes())


def _padded(image: NDArray[np.generic], top: int, left: int, side: int) -> NDArray[np.float32]:
    """Return the square at (top, left); what lies outside the image has the median of what lies inside."""
    rows, columns = slice(max(top, 0), max(top + side, 0)), slice(max(left, 0), max(left + side, 0))
    inside = image[rows, columns].astype(np.float32)
    part = np.full((side, side), np.median(inside) if inside.size else 0.0, np.float32)
    first_row, first_column = rows.start - top, columns.start - left
    part[first_row : first_row + inside.shape[0], first_column : first_column + inside.shape[1]] = inside
    return part
