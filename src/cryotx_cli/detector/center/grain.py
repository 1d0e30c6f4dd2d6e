"""Where a micrograph is grainier than its ice: support film whose edge the film finder does not know.

Film adds structural noise of its own, as fine as the grain of the camera. Ice has hardly any, whatever its thickness,
and particles too faint to be sure of add none that shows. So a region whose finest noise is far louder than that of the
rest, and where few candidates convince, is film; one where they do may just be full of particles.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.detector.center.film import CELL
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER, padding
from cryotx_cli.runs.expected_f1 import expected_f1_cut

GRAIN_IS_FILM = 0.95
"""Probability of film where `is_grainy` and `is_guesswork` say so."""
_DIAMETER = round(PIXELS_PER_DIAMETER / CELL)  # cells
_WINDOW = 3 * _DIAMETER
_LOUDER = 1.4  # times the noise of the quieter parts; from window to window of one ice it differs by a tenth
_MOST = 0.5  # of the micrograph: more is what it shows, and the rest is an empty hole or in the shadow of something
_QUIET = 25  # percent: of the cells of a window, which particles leave free, and of the windows, which film does
_MOSTLY_WRONG = 0.5


def is_grainy(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which cells of a normalised image lie where its finest noise is far louder than in its quieter parts.

    Returns
    -------
    ndarray of bool, shape (h, w)
        h and w are the image's sides over 4, rounded up. All False where the image is less than nine diameters wide in
        both directions, or its louder part is more than half of it.
    """
    height, width = (-(-side // CELL) for side in image.shape)
    grainy = np.zeros((height, width), bool)
    top, bottom, left, right = padding(image)
    noise = _fine_noise(image[top : image.shape[0] - bottom, left : image.shape[1] - right])
    if max(noise.shape) < 3 * _WINDOW or min(noise.shape) < _WINDOW:
        return grainy
    views = np.lib.stride_tricks.sliding_window_view(noise, (_WINDOW, _WINDOW))[::_DIAMETER, ::_DIAMETER]
    levels = np.percentile(views.reshape(*views.shape[:2], -1), _QUIET, axis=-1)
    known = levels[levels > 0]  # the rest is masked
    if not len(known):
        return grainy
    limit = _LOUDER * np.percentile(known, _QUIET)
    louder = _in_squares(levels > limit)  # four diameters wide
    if not louder.any():
        return grainy
    first_row, first_column = top // CELL, left // CELL
    inside = grainy[first_row : first_row + noise.shape[0], first_column : first_column + noise.shape[1]]
    inside[:] = _around(louder, inside.shape) & (_over_a_diameter(noise) > limit)
    return grainy if inside.mean() <= _MOST else np.zeros_like(grainy)


def is_guesswork(probabilities: NDArray[np.float64]) -> bool:
    """Whether the best of these candidates, those of the highest expected F1, are wrong more often than right."""
    kept = probabilities[probabilities >= expected_f1_cut(probabilities, 0.0)]
    return bool(len(kept) and kept.mean() < _MOSTLY_WRONG)


def _fine_noise(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the standard deviation, in the whole cells of an image, of its pixels less the mean of 3 x 3."""
    fine = (image - cv2.blur(image, (3, 3))) ** 2
    height, width = (side // CELL for side in image.shape)
    if not height or not width:
        return np.zeros((0, 0), np.float32)
    cells = fine[: height * CELL, : width * CELL].reshape(height, CELL, width, CELL).mean((1, 3))
    return np.asarray(np.sqrt(cells), np.float32)


def _around(louder: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the cells of and beside windows that are louder; each begins a diameter further on than the last."""
    rows, columns = (
        ((np.arange(side) - _DIAMETER) // _DIAMETER).clip(0, count - 1)
        for side, count in zip(shape, louder.shape, strict=True)
    )
    wide = cv2.dilate(louder.astype(np.uint8), np.ones((7, 7), np.uint8))
    return np.asarray(wide[rows[:, None], columns[None]] > 0)


def _in_squares(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the marks that belong to a square of 2 x 2 of them."""
    squares = marked[:-1, :-1] & marked[:-1, 1:] & marked[1:, :-1] & marked[1:, 1:]
    kept = np.zeros_like(marked)
    for row in (slice(None, -1), slice(1, None)):
        for column in (slice(None, -1), slice(1, None)):
            kept[row, column] |= squares
    return kept


def _over_a_diameter(noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the noise around each cell, within half a diameter: film ends where that does."""
    mean = cv2.blur(noise**2, (_DIAMETER, _DIAMETER))  # a running sum, which rounds a little below 0
    return np.asarray(np.sqrt(np.maximum(mean, 0)), np.float32)
