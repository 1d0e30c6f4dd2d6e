"""Parts of an image that reach in from its border and show nothing, as stitching and shifts leave along a ragged edge.

`padding` knows borders that are blank along a whole side. Here it is a corner, a wedge, steps, half of a side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, normalise, padding

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_STILL = 0.02  # of the median change from pixel to pixel: one change in fifty is as small in noise
_WINDOW = 7  # px within which nothing changes from row to row, or nothing from column to column
_OUTERMOST = 3  # px: rescaling may mix them with something
_SMALLEST = round(PIXELS_PER_DIAMETER**2 / 4)  # px²
_MOST = 0.9  # of an image: where more of it is blank, the rest does not tell what noise is
# Of the rest: pixels like a neighbour, 0.6 and more where a smooth image has few grey levels, 0.01 to 0.4 beside what
# is blank; and blank pieces that do not reach the border, 2 to 77 there, 1 at most here, and saturated lumps are a few.
_ALIKE, _INSIDE = 0.5, 3


def normalise_shown(image: Image) -> Image:
    """Do what `normalise` does, and set parts to 0 that are blank, which then count for nothing either.

    Parameters
    ----------
    image
        (height, width), at the network's scale.
    """
    top, bottom, left, right = padding(image)
    inside = slice(top, image.shape[0] - bottom), slice(left, image.shape[1] - right)
    blank = blank_parts(image[inside])
    if blank is None:
        return normalise(image)
    filled = image.copy()
    shown = filled[inside][~blank]
    # Whatever has the grey levels of the rest; it is taken away again.
    filled[inside][blank] = np.random.default_rng(0).choice(shown, int(blank.sum()))
    normalised = normalise(filled)
    normalised[inside][blank] = 0
    return normalised


def blank_parts(image: Image) -> Mask | None:
    """Find parts at the border that have one value, or are copies of one row or of one column.

    Parameters
    ----------
    image
        (height, width), at the network's scale; without the borders that `padding` counts.

    Returns
    -------
    ndarray of bool, shape (height, width), or None
        True where there is nothing to be seen; None where the image shows something everywhere. What is smooth and has
        few grey levels has pieces of one value all over, which are not blank.
    """
    if min(image.shape) <= 4 * _WINDOW:
        return None
    limits = [_STILL * float(np.median(np.abs(np.diff(image[::4, ::4], axis=axis)))) for axis in (0, 1)]
    if not _may_be_blank(image, limits):
        return None
    alike = [_changes(image, axis) <= limit for axis, limit in enumerate(limits)]
    still = _opened(alike[0], _WINDOW) | _opened(alike[1], _WINDOW)
    blank = _at_border(still)
    if blank is None or (alike[0] | alike[1])[~blank].mean() > _ALIKE or _pieces(still & ~blank) > _INSIDE:
        return None
    return blank


def zeroed_parts(prepared: Image) -> Mask | None:
    """Find all parts again that `normalise_shown` has set to 0, whole sides included; None if there are none.

    Parameters
    ----------
    prepared
        (height, width), as it was returned. Noise is seldom 0, and never in so many pixels side by side.
    """
    zero = prepared == 0
    if np.count_nonzero(zero) < _SMALLEST:
        return None
    return _at_border(_opened(zero, _OUTERMOST))


def distance_from(blank: Mask) -> Image:
    """Return how far each pixel is from the nearest blank one, in px; 0 where it is blank."""
    import cv2

    return np.asarray(cv2.distanceTransform((~blank).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _changes(image: Image, axis: int) -> Image:
    """Return the change from each pixel to the one before it or behind it, whichever is smaller."""
    changes = np.abs(np.diff(image, axis=axis))
    first, last = ((changes[:1], changes[-1:]), (changes[:, :1], changes[:, -1:]))[axis]
    before, behind = np.concatenate([first, changes], axis), np.concatenate([changes, last], axis)
    return np.asarray(np.minimum(before, behind), np.float32)


def _may_be_blank(image: Image, limits: list[float]) -> bool:
    """Whether nothing changes along a piece of the border; what is so seldom elsewhere need not be looked for."""
    band = _OUTERMOST + _WINDOW
    window = np.ones(_WINDOW, int)
    sides = ((image, limits), (image[::-1], limits), (image.T, limits[::-1]), (image.T[::-1], limits[::-1]))
    for turned, (across, along) in sides:
        strip = turned[_OUTERMOST:band]
        for axis, limit in enumerate((across, along)):
            still = (np.abs(np.diff(strip, axis=axis)) <= limit).all(0)
            if (np.convolve(still, window, "valid") == _WINDOW).any():
                return True
    return False


def _opened(mask: Mask, side: int) -> Mask:
    """Return the squares of so many pixels that lie in a mask as a whole."""
    import cv2

    # Beyond the border the mask goes on.
    kernel, grown = np.ones((side, side), np.uint8), np.pad(mask.astype(np.uint8), side, mode="edge")
    opened = cv2.morphologyEx(grown, cv2.MORPH_OPEN, kernel)
    return np.asarray(opened[side:-side, side:-side] > 0)


def _pieces(mask: Mask) -> int:
    """Return of how many pieces a mask consists."""
    import cv2

    return int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0]) - 1


def _at_border(blank: Mask) -> Mask | None:
    """Return the parts that reach the border and are not tiny; None if there are none, or too much is blank."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(blank.astype(np.uint8), connectivity=4)
    x, y, wide, high, area = stats.T
    height, width = blank.shape
    reaches = (x <= _OUTERMOST) | (y <= _OUTERMOST)
    reaches |= (x + wide >= width - _OUTERMOST) | (y + high >= height - _OUTERMOST)
    good = reaches & (area >= _SMALLEST)
    good[0] = False  # what is not blank
    if not good.any() or area[good].sum() > _MOST * blank.size:
        return None
    return np.asarray(good[labels])
