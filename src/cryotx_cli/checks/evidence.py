"""What an image says about the picks on it: which way up they fit, and whether they are moved off the particles.

Where picks sit on particles, a band-pass filter of the particles' size answers more strongly there than elsewhere;
where they are upside down, mirrored or swapped it does not. Each filter D(d) is a difference of two Gaussians, of
standard deviation d/4 and d/2. Its mean over the picks is compared with the means over the same picks moved to many
other places, cyclically, which keeps their number and their pattern and so needs no assumption about the noise:

    z = (mean at the picks - mean over the moved ones) / standard deviation over the moved ones

A row of sizes d stands in for the particle's diameter, which need not be known, and the sign of z is left open: raw
and denoised micrographs, dark and bright particles are all served by the largest abs(z).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.micrographs.image import Image, clipped_and_rescaled, rescale
from cryotx_cli.micrographs.micrograph import Micrograph

Orientation = Literal["as written", "upside down", "mirrored", "swapped"]
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)
"""As written; y flipped; x flipped; x and y exchanged."""

MIN_PICKS = 10
"""Fewer picks on a micrograph are not measured: the mean of so few follows single spots."""

CLEAR, MARGIN, TIMES = 5.0, 3.0, 1.5
"""A verdict needs this evidence; and this much more, and so many times as much, as any other orientation has.

Chance alone seldom reaches 3.5 on one micrograph. Over many micrographs small leanings that all of them share, as of
picks that keep away from edges, add up to more, hence the factor.
"""

_SIZES = 1.5 ** np.arange(8) / 128  # of the long side: 32 to 547 px on a micrograph of 4096 px
_PIXELS_PER_SIZE = 8.0
_LIMIT = 4.0  # robust standard deviations; a few very strong spots must not speak for all picks
_MOVES = 128
# Multiples of the inverse plastic number and of its square spread evenly over the unit square.
_PLASTIC = 1.32471795724474602596
_SPREAD = np.arange(1, _MOVES + 1)[:, None] / np.array([_PLASTIC, _PLASTIC**2]) % 1
_STEPS = np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-6, 7)), axis=-1).reshape(-1, 2) / 3  # of the size


@dataclass(frozen=True, eq=False)
class Fit:
    """How well picks fit an image, or several.

    Parameters
    ----------
    scores
        (sizes, orientations) z of each filter.
    offset
        x and y in pixels by which the picks would have to be moved to fit clearly better; None: they need not.
    """

    scores: NDArray[np.float64]
    offset: tuple[float, float] | None = None

    @property
    def evidence(self) -> dict[Orientation, float]:
        """The largest abs(z) of any size, for each orientation."""
        return dict(zip(ORIENTATIONS, np.abs(self.scores).max(axis=0).tolist(), strict=True))

    @property
    def orientation(self) -> Orientation | None:
        """The one that fits clearly better than all others; None where the image cannot tell."""
        (best, most), (_, second) = sorted(self.evidence.items(), key=lambda item: -item[1])[:2]
        return best if most >= max(CLEAR, second + MARGIN, TIMES * second) else None


def measure_fit(image: Image, centres: NDArray[np.float64]) -> Fit | None:
    """Measure how well picks fit an image, as they are and in the other orientations.

    Parameters
    ----------
    image
        (height, width), finite.
    centres
        (n, 2) x and y in pixels of the image.

    Returns
    -------
    Fit or None
        None where there are fewer than `MIN_PICKS` picks.
    """
    return _fit(lambda factor: clipped_and_rescaled(image, factor), image.shape, centres)


def measure_fit_on(micrograph: Micrograph, centres: NDArray[np.float64]) -> Fit | None:
    """Do the same with a micrograph, which may not have been read yet.

    Raises
    ------
    MicrographError
        It cannot be read.
    """
    return _fit(micrograph.shrunk, micrograph.image.shape, centres)


def _fit(shrink: Callable[[float], Image], shape: tuple[int, ...], centres: NDArray[np.float64]) -> Fit | None:
    if len(centres) < MIN_PICKS:
        return None
    sizes = _SIZES * max(shape)
    # One pass over all pixels; the coarser filters start from its result.
    shrunk = min(1.0, _PIXELS_PER_SIZE / float(sizes[0]))
    image = shrink(shrunk)
    centres, sizes = _scaled(centres, shrunk), sizes * shrunk
    scores, moved = [], []
    for size in sizes:
        scale = min(1.0, _PIXELS_PER_SIZE / size)
        response = _response(rescale(image, scale), size * scale)
        here = _scaled(centres, scale)
        standardised = _standardised(response, here)
        scores.append(_means(standardised, _turned(here, response.shape)))
        moved.append(_means(standardised, here + (_STEPS * size * scale)[:, None]))
    return Fit(np.array(scores), _offset(np.array(scores), np.array(moved), sizes / shrunk))


def combined(fits: Sequence[Fit]) -> Fit:
    """Add up the evidence of several micrographs (Stouffer's sum); an offset is that of most of them.

    Raises
    ------
    ValueError
        If there are none.
    """
    scores = np.sum([fit.scores for fit in fits], axis=0) / np.sqrt(len(fits))
    offsets = [fit.offset for fit in fits if fit.offset]
    if 2 * len(offsets) <= len(fits):
        return Fit(scores)
    x, y = np.median(offsets, axis=0).tolist()
    return Fit(scores, (x, y))


def _response(image: Image, size: float) -> Image:
    """Band-pass for particles of `size` px, in robust standard deviations around its median, limited."""
    import cv2

    narrow, wide = (
        cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT) for deviation in (size / 4, size / 2)
    )
    response = narrow - wide
    sample = response[::2, ::2]
    response -= np.median(sample)
    spread = 1.4826 * np.median(np.abs(sample))
    return np.asarray(np.clip(response / (spread or 1.0), -_LIMIT, _LIMIT), np.float32)


def _standardised(response: Image, centres: NDArray[np.float64]) -> Image:
    """Rescale a response so that the mean at the picks, moved elsewhere together, has mean 0 and deviation 1."""
    height, width = response.shape
    x, y = np.rint(centres).astype(np.intp).T
    columns, rows = np.rint(_SPREAD * (width, height)).astype(np.intp).T
    means = response[(y + rows[:, None]) % height, (x + columns[:, None]) % width].mean(axis=1)
    return np.asarray((response - means.mean()) / (means.std() or 1.0), np.float32)


def _turned(centres: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the picks in each orientation, (orientations, n, 2), in the order of `ORIENTATIONS`."""
    height, width = shape
    x, y = centres.T
    return np.stack([np.column_stack(pair) for pair in ((x, y), (x, height - 1 - y), (width - 1 - x, y), (y, x))])


def _means(response: Image, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean response at each of several sets of places, (sets, n, 2); what lies outside the image counts as 0."""
    height, width = response.shape
    x, y = np.moveaxis(np.rint(places).astype(np.intp), -1, 0)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = response[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    return np.asarray((found * inside).mean(axis=1), np.float64)


def _offset(
    scores: NDArray[np.float64], moved: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Return the move in pixels that fits far better than staying or turning, if there is one."""
    strength = np.abs(moved)
    size, step = np.unravel_index(strength.argmax(), strength.shape)
    # Particles wider than the filter make a plateau, of which the middle counts.
    plateau = _STEPS[strength[size] >= 0.9 * strength[size, step]].mean(axis=0)
    x, y = (plateau * sizes[size]).tolist()
    far = float(np.hypot(*plateau)) > 0.5
    return (x, y) if far and strength[size, step] >= 2 * max(CLEAR, float(np.abs(scores).max())) else None


def _scaled(centres: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    return (centres + 0.5) * factor - 0.5
