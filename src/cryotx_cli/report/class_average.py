"""The classes of a run's picks, as its report shows them: the best first, noise last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles

_EXTREMES = (0.5, 99.5)  # percent of the pixels that may be black or white


@dataclass(frozen=True, eq=False)
class ReportClass:
    """One class.

    Parameters
    ----------
    number
        As ``cryotx threshold --drop-classes`` takes it.
    average
        (side, side) what its picks average to.
    mean_score
        Of its picks.
    resolution
        Å to which its halves agree; None: no further than those of noise.
    suggested
        Whether ``--drop-classes auto`` would drop it.
    remarks
        What else is known of it, each a few words.
    """

    number: int
    average: NDArray[np.floating]
    mean_score: float
    resolution: float | None
    suggested: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ReportClasses:
    """All of them.

    Parameters
    ----------
    classes
        In any order.
    pixel_size
        Å per pixel of the averages.
    numbers_of
        Gives the class of each candidate of a micrograph, by the name of the micrograph: (n,), 0 where it has none.
    dropped
        Numbers of the classes whose picks were taken out of the run.
    """

    classes: tuple[ReportClass, ...]
    pixel_size: float
    numbers_of: Callable[[str, Particles], NDArray[np.int64]]
    dropped: frozenset[int] = frozenset()

    @property
    def best_first(self) -> list[ReportClass]:
        """Those that are more than noise by what they resolve, then the others by their scores."""
        return sorted(self.classes, key=lambda one: (one.resolution or np.inf, -one.mean_score, one.number))

    @property
    def side(self) -> float:
        """How wide an average is, in Å."""
        return self.pixel_size * (self.classes[0].average.shape[1] if self.classes else 1)

    def pictures(self) -> Iterator[bytes]:
        """Yield a PNG of each, the best first."""
        for one in self.best_first:
            yield _png(one.average)


def _png(average: NDArray[np.floating]) -> bytes:
    """Each has its own black and white, as RELION shows averages."""
    low, high = np.percentile(average, _EXTREMES)
    grey = np.clip((average - low) / max(float(high - low), 1e-12) * 255, 0, 255).round().astype(np.uint8)
    return bytes(cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])
