"""Particles: centres, scores and diameters, with the pixel size that the coordinates refer to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotx_cli.coordinates.close_pairs import close_pairs
from cryotx_cli.errors import ParticleFileError

MAX_COORDINATE = 1e9
"""Pixels. What lies further out was no coordinate on a micrograph, and has no place in 32-bit integers."""


@dataclass(frozen=True, eq=False)
class Particles:
    """The particles of one micrograph. Immutable: every method returns a new object.

    Parameters
    ----------
    centres
        (n, 2) x and y in pixels; (0, 0) is the centre of the first stored pixel, y runs down the stored rows.
    scores
        (n,) the probability of being a particle, 0 to 1. What another program wrote is kept as it stands; 1 where a
        file has no score.
    diameters
        (n,) pixels; NaN where a file has none.
    pixel_size
        Å per pixel; NaN where a coordinate file does not say.
    box_px
        Median side in pixels of the boxes that a coordinate file draws around them; NaN where it draws none. A box is
        no diameter: programs put it 1.3 to 2 times as wide, or as their user has asked.
    shape
        (height, width) in pixels of the image that the centres lie on; None where a coordinate file does not say.

    Raises
    ------
    ValueError
        If the three arrays do not describe the same number of particles.
    """

    centres: NDArray[np.float64]
    scores: NDArray[np.float64]
    diameters: NDArray[np.float64]
    pixel_size: float
    box_px: float = math.nan
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        centres = np.asarray(self.centres, np.float64)
        if centres.size == 0:
            centres = centres.reshape(0, 2)
        scores, diameters = np.asarray(self.scores, np.float64), np.asarray(self.diameters, np.float64)
        if centres.ndim != 2 or centres.shape[1] != 2:
            raise ValueError(f"centres must have the shape (n, 2), not {centres.shape}")
        if scores.shape != (len(centres),) or diameters.shape != (len(centres),):
            raise ValueError(
                f"{len(centres)} centres need as many scores and diameters, not {scores.shape} and {diameters.shape}"
            )
        object.__setattr__(self, "centres", centres)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "diameters", diameters)
        object.__setattr__(self, "pixel_size", float(self.pixel_size))

    @classmethod
    def empty(cls, pixel_size: float) -> Particles:
        """No particles, on a micrograph of `pixel_size` Å per pixel."""
        return cls(np.zeros((0, 2)), np.zeros(0), np.zeros(0), pixel_size)

    @property
    def area(self) -> float:
        """Å² of the micrograph; nan where its shape is not known."""
        height, width = self.shape or (np.nan, np.nan)
        return float(height * width * self.pixel_size**2)

    def __len__(self) -> int:
        return len(self.centres)

    def select(self, mask_or_index: ArrayLike) -> Particles:
        """Return those that a boolean mask (n,) keeps or an array of indices names, in the order of the indices."""
        index = np.asarray(mask_or_index)
        if index.size == 0:
            index = index.astype(np.intp)
        return replace(self, centres=self.centres[index], scores=self.scores[index], diameters=self.diameters[index])

    def at_pixel_size(self, pixel_size: float) -> Particles:
        """Return the same particles in the pixels of the image rescaled to `pixel_size` Å per pixel.

        Rescaling keeps the image's border where it is, not the centre of its first pixel, hence (x + 1/2) f - 1/2.

        Raises
        ------
        ValueError
            If the pixel size of these particles is not known.
        """
        if not (self.pixel_size > 0 and pixel_size > 0):
            raise ValueError(f"cannot rescale coordinates from {self.pixel_size} to {pixel_size} Å per pixel")
        return replace(self.scaled(self.pixel_size / pixel_size), pixel_size=pixel_size)

    def scaled(self, factor: float) -> Particles:
        """Return the same particles in the pixels of the image enlarged `factor` times, as `at_pixel_size` does."""
        return replace(
            self,
            centres=(self.centres + 0.5) * factor - 0.5,
            diameters=self.diameters * factor,
            pixel_size=self.pixel_size / factor,
            box_px=self.box_px * factor,
            shape=(round(self.shape[0] * factor), round(self.shape[1] * factor)) if self.shape else None,
        )

    def flipped_y(self, height: int) -> Particles:
        """Return the same particles on the image of `height` rows turned upside down: row 0 becomes the last one."""
        return replace(self, centres=self.centres * (1, -1) + (0, height - 1))

    def above(self, threshold: float) -> Particles:
        """Return those with a score of at least `threshold`."""
        return self.select(self.scores >= threshold)

    def inside(self, height: int, width: int, edge_px: float = 0.0) -> Particles:
        """Return those whose centres lie on an image of (height, width), at least `edge_px` pixels from its border."""
        # The border runs half a pixel outside the outermost pixel centres.
        low, high = edge_px - 0.5, np.array([width, height]) - 0.5 - edge_px
        return self.select(((self.centres >= low) & (self.centres <= high)).all(axis=1))

    def sorted_by_score(self) -> Particles:
        """Return them with the best score first; equal scores keep their order."""
        return self.select(np.argsort(-self.scores, kind="stable"))

    def with_minimum_distance(self, distance_px: float) -> Particles:
        """Drop each one that lies closer than `distance_px` pixels to a kept one of higher score.

        Greedy from the best score down; equal scores favour the one listed first. The order is kept.
        """
        if len(self) < 2 or distance_px <= 0:
            return self
        order = np.argsort(-self.scores, kind="stable")
        pairs, gaps = close_pairs(self.centres[order], distance_px)
        pairs = pairs[gaps < distance_px]
        keep = np.ones(len(self), bool)
        better, starts = np.unique(pairs[:, 0], return_index=True)
        for i, worse in zip(better, np.split(pairs[:, 1], starts[1:]), strict=False):
            if keep[i]:
                keep[worse] = False
        return self.select(np.sort(order[keep]))

    def to_structured(self) -> NDArray[np.void]:
        """Return a table for other programs, one row a particle: ``pandas.DataFrame(particles.to_structured())``.

        Returns
        -------
        ndarray, shape (n,)
            Fields ``x``, ``y`` and ``diameter`` in pixels, as here (times `pixel_size` for Å), and ``score``; float64.
        """
        table = np.empty(len(self), [(name, np.float64) for name in ("x", "y", "score", "diameter")])
        table["x"], table["y"] = self.centres.T
        table["score"], table["diameter"] = self.scores, self.diameters
        return table


def checked_particles(
    path: Path,
    centres: ArrayLike,
    scores: ArrayLike,
    diameters: ArrayLike | None = None,
    *,
    pixel_size: float = math.nan,
    sides: ArrayLike = (),
) -> Particles:
    """Return what a file holds as particles.

    Parameters
    ----------
    path
        The file, for messages.
    centres, scores
        (n, 2) and (n,) as `Particles` has them.
    diameters
        (n,) pixels, 0 or NaN where one is not known; None: the file has none.
    pixel_size
        Å per pixel.
    sides
        (n,) sides in pixels of the boxes that the file draws.

    Raises
    ------
    ParticleFileError
        If a centre cannot lie on a micrograph, or a diameter is negative.
    """
    scores, sides = np.asarray(scores), np.asarray(sides, np.float64)
    known = np.full(scores.shape, np.nan) if diameters is None else np.asarray(diameters)
    box_px = float(np.median(sides[sides > 0])) if (sides > 0).any() else math.nan
    particles = Particles(np.asarray(centres), scores, known, pixel_size, box_px)
    _refuse(path, "coordinates", particles.centres, (~(np.abs(particles.centres) <= MAX_COORDINATE)).any(axis=1))
    _refuse(path, "a size", particles.diameters, (particles.diameters < 0) | np.isinf(particles.diameters))
    return replace(particles, diameters=np.where(particles.diameters == 0, np.nan, particles.diameters))


def _refuse(path: Path, what: str, values: NDArray[np.float64], bad: ArrayLike) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        row = int(rows[0])
        shown = ", ".join(f"{value:g}" for value in np.atleast_1d(values[row]))
        raise ParticleFileError(
            f"{path}: particle {row + 1} has {what} of {shown} pixels, which no micrograph has",
            "Check that the file is whole and that its columns are the expected ones.",
        )
