"""Two grids of pixels: coordinates on one image, brought onto another of the same field of view, or refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.micrograph import MicrographFile, MicrographHeader
from cryotx_cli.wording import counted

SAME_PIXEL_SIZE = 0.01
"""Relative; headers and optics tables round differently."""


@dataclass(frozen=True)
class Grid:
    """The pixels of an image.

    Parameters
    ----------
    shape
        (height, width); None where it is not known.
    pixel_size
        Å per pixel; None where it is not known.
    """

    shape: tuple[int, int] | None = None
    pixel_size: float | None = None

    @classmethod
    def of(cls, particles: Particles) -> Grid:
        """Return the grid that particles are on, as far as their file has told."""
        return cls(particles.shape, particles.pixel_size if particles.pixel_size > 0 else None)

    def __str__(self) -> str:
        shape = f"{self.shape[1]} x {self.shape[0]} px" if self.shape else ""
        size = f"{self.pixel_size:.4g} Å per pixel" if self.pixel_size else ""
        return " of ".join(filter(None, (shape, size))) or "unknown pixels"


def grid_of(file: MicrographFile, header: MicrographHeader | None, particles: Particles) -> Grid:
    """Return the grid of a micrograph, whose list and header may state two pixel sizes: that of the particles counts.

    Parameters
    ----------
    file, header
        The micrograph, and what its file says; None where that cannot be read.
    particles
        Those that belong to it, with the pixel size that they are said to have.
    """
    sizes = [size for size in (file.pixel_size, header.pixel_size if header else None) if size]
    agreeing = (size for size in sizes if abs(size / particles.pixel_size - 1) <= SAME_PIXEL_SIZE)
    return Grid((header.height, header.width) if header else None, next(agreeing, sizes[0] if sizes else None))


def factor_between(one: Grid, other: Grid) -> float | None:
    """Return what turns lengths in pixels of `one` into pixels of `other`, an image of the same field of view.

    Returns
    -------
    float or None
        1 for the same pixels, or where nothing tells that they are not. None where no enlargement leads from one to the
        other: another shape, a part cut out, or a pixel size that is not that of the shape.
    """
    by_size = one.pixel_size / other.pixel_size if one.pixel_size and other.pixel_size else None
    if by_size is not None and abs(by_size - 1) <= SAME_PIXEL_SIZE:
        by_size = 1.0
    if one.shape is None or other.shape is None:
        return by_size or 1.0
    if one.shape == other.shape:
        return 1.0
    by_shape = math.sqrt(math.prod(other.shape) / math.prod(one.shape))
    if not _fits(one.shape, other.shape, by_shape):
        return None
    if by_size is None:
        return by_shape
    # Stated pixel sizes are rounded, shapes cut; where both lead from one to the other, the former are more exact.
    closer = by_size if _fits(one.shape, other.shape, by_size) else by_shape
    return closer if abs(by_shape / by_size - 1) <= 2 * SAME_PIXEL_SIZE else None


def _fits(shape: tuple[int, int], other: tuple[int, int], factor: float) -> bool:
    """Tell whether an image enlarged has the other shape; programs that bin cut off what is less than a pixel."""
    return all(abs(b - a * factor) <= 1 + max(1.0, factor) for a, b in zip(shape, other, strict=True))


def on_grid(name: str, particles: Particles, other: Grid, what: str, advice: str) -> tuple[Particles, str]:
    """Bring the particles of a micrograph into the pixels of another image of it.

    Parameters
    ----------
    name
        Of the micrograph.
    particles
        On the grid that their file has told.
    other
        The pixels that are wanted.
    what
        Whose they are, with an article.
    advice
        What to do if that cannot be done; may hold ``{factor}``.

    Returns
    -------
    particles : Particles
        The same ones, rescaled where that is the case.
    told : str
        What was done, nothing where nothing was.

    Raises
    ------
    ParticleFileError
        If the two are not the same field of view, or if only pixel sizes differ: where no shape is known a pixel size
        may just as well be wrong as the coordinates be those of another image.
    """
    own = Grid.of(particles)
    factor = factor_between(own, other)
    if factor is None or (factor != 1 and own.shape is None):
        lie = f"its particles are in pixels of {own}, and {what} has {other}"
        by_size = own.pixel_size / other.pixel_size if own.pixel_size and other.pixel_size else 1.0
        raise ParticleFileError(f"{name}: {lie}", advice.format(factor=f"{by_size:.6g}"))
    if factor == 1:
        return replace(particles, shape=other.shape or own.shape), ""
    shape = other.shape or particles.scaled(factor).shape
    moved = particles.scaled(factor)
    moved = replace(moved, shape=shape, pixel_size=other.pixel_size or moved.pixel_size)
    return moved, f"rescaled by {factor:.6g}, from {own} to {other} of {what}"


def on_grids(
    particles: Mapping[str, Particles], others: Mapping[str, Grid], what: str, advice: str, tell: Tell
) -> dict[str, Particles]:
    """Bring the particles of many micrographs `on_grid`, those that have another one, and tell what was done."""
    brought, done = dict(particles), Counter[str]()
    for name, other in others.items():
        brought[name], told = on_grid(name, particles[name], other, what, advice)
        done.update([told] if told else [])
    for told, count in done.items():
        tell(Event(f"the coordinates of {counted(count, 'micrographs')} were {told}"))
    return brought
