"""Where the picks of a class lie: beside other picks, at the border of the micrograph, along support film."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryotx_cli.coordinates.region import Region

_TOUCHING, _AT_BORDER, _AT_FILM = 0.75, 0.8, 1.0  # diameters
_MOST, _TIMES = 0.5, 2.0  # of the picks of a class, and more often than in the whole run


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Of each pick.

    Parameters
    ----------
    neighbour
        (n,) diameters to the nearest other pick of its micrograph; infinite where there is none.
    border
        (n,) diameters to the border of the micrograph.
    film
        (n,) diameters to the edge of support film or a large ice crystal; infinite where there is none, NaN where
        none was looked for.
    """

    neighbour: NDArray[np.float64]
    border: NDArray[np.float64]
    film: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[Surroundings]) -> Surroundings:
        """Return those of one micrograph after the other."""
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in ("neighbour", "border", "film")))


@dataclass(frozen=True)
class Whereabouts:
    """Of the picks of one class.

    Parameters
    ----------
    apart
        Diameters to the nearest other pick, the median; infinite where there is none.
    touching, at_border, at_film
        Share of the picks that have another within 0.75 diameters, that lie within 0.8 of the border of the micrograph,
        or within one of the edge of film; None where no film was looked for.
    """

    apart: float
    touching: float
    at_border: float
    at_film: float | None

    def looks_like(self, run: Whereabouts) -> str:
        """Return what sets its places apart from those of the whole run, or nothing."""
        shares = {
            "edge of film": (self.at_film, run.at_film),
            "border of the micrograph": (self.at_border, run.at_border),
            "touching": (self.touching, run.touching),
        }
        for name, (own, usual) in shares.items():
            if own is not None and usual is not None and own >= max(_MOST, _TIMES * usual):
                return name
        return ""


def surroundings(
    centres: NDArray[np.float64], height: float, width: float, film: Region | None, diameter_px: float
) -> Surroundings:
    """Return where the picks of one micrograph lie.

    Parameters
    ----------
    centres
        (n, 2) x and y in pixels.
    height, width
        Of the micrograph in pixels.
    film
        Where it shows film; None where none was looked for.
    diameter_px
        Of the particle.
    """
    import cv2

    alone = np.full(len(centres), np.inf)
    neighbour = cKDTree(centres).query(centres, 2)[0][:, 1] if len(centres) > 1 else alone
    border = np.minimum(centres + 0.5, np.array([width, height]) - 0.5 - centres).min(1)
    to_film = alone.copy() if film is not None else np.full(len(centres), np.nan)
    for outline in film.outlines if film is not None else ():
        points = np.ascontiguousarray(outline, np.float32)
        for i, (x, y) in enumerate(centres.tolist()):
            to_film[i] = min(to_film[i], abs(cv2.pointPolygonTest(points, (x, y), True)))
    return Surroundings(neighbour / diameter_px, border / diameter_px, to_film / diameter_px)


def whereabouts(of: Surroundings, some: NDArray[np.bool_]) -> Whereabouts:
    """Return where the picks that a mask (n,) names lie; at least one."""
    looked_for = ~np.isnan(of.film[some])
    return Whereabouts(
        float(np.median(of.neighbour[some])),
        float((of.neighbour[some] < _TOUCHING).mean()),
        float((of.border[some] < _AT_BORDER).mean()),
        float((of.film[some][looked_for] < _AT_FILM).mean()) if looked_for.any() else None,
    )
