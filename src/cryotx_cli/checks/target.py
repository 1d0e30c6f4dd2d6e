"""What checks look at: micrographs as the program knows them that will take the picks, and the picks on each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.formats.box import box_side_px
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.micrographs.find import MicrographFile


@dataclass(frozen=True)
class Target:
    """A micrograph as the program knows it that will take the picks.

    Parameters
    ----------
    name
        What the picks have to call it.
    path
        Its file; None where it is not to be found.
    shape
        (height, width) in pixels; None: the file says.
    pixel_size
        Å per pixel as the list of micrographs states it; None where it does not.
    """

    name: str
    path: Path | None
    shape: tuple[int, int] | None = None
    pixel_size: float | None = None

    @classmethod
    def of(cls, file: MicrographFile, shape: tuple[int, int] | None = None) -> Target:
        """Make one of a micrograph that `find_micrographs` has found."""
        return cls(file.name, file.path, shape, file.pixel_size)


@dataclass(frozen=True, eq=False)
class PickedTarget:
    """A target paired with its picks.

    Parameters
    ----------
    name
        As the picks call it.
    particles
        The picks.
    target
        The micrograph.
    header_shape, header_pixel_size
        (height, width) in pixels and Å per pixel as its file states them; None where it does not, or was not read.
    error
        Why the file cannot be read; empty if it can be, or has not been tried.
    """

    name: str
    particles: Particles
    target: Target
    header_shape: tuple[int, int] | None = None
    header_pixel_size: float | None = None
    error: str = ""

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) in pixels; None where it is not known."""
        return self.header_shape or self.target.shape

    @property
    def pixel_size(self) -> float | None:
        """Å per pixel, of whoever states it; None where nobody does."""
        stated = self.particles.pixel_size if self.particles.pixel_size > 0 else None
        return self.target.pixel_size or self.header_pixel_size or stated

    def diameter_px(self, diameter: float | None) -> float | None:
        """Return the diameter of the picks in pixels: their own, or else this one, in Å."""
        known = self.particles.diameters[np.isfinite(self.particles.diameters)]
        if known.size:
            return float(np.median(known))
        return diameter / self.pixel_size if diameter and self.pixel_size else None

    def box_px(self, diameter: float | None) -> int | None:
        """Return the side of the boxes that the picks are in, or else what suits picks of `diameter` Å, in pixels."""
        if self.particles.box_px > 0:
            return max(1, round(self.particles.box_px))
        diameter_px = self.diameter_px(diameter)
        return box_side_px(diameter_px) if diameter_px else None
