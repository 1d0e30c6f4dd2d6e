"""The classes of a run's picks, as its report shows them: the best first, noise last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.files.whole_file import whole_path

_EXTREMES = (0.5, 99.5)  # percent of the pixels that may be black or white
_LAST = ("agrees", "too few", "unclear", "noise", "leftover")
_IN_A_ROW, _CELL_PX, _STRIP_PX, _PAPER = 6, 160, 30, 255


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
        Å to which its halves agree; None where that is not known.
    words
        What its halves say, in a few words.
    verdict
        ``agrees``, ``too few``, ``unclear``, ``noise`` or ``leftover``.
    few
        Whether it has too few picks for a number in Å.
    suggested
        Whether ``--drop-classes auto`` would drop it.
    remarks
        What else is known of it, each a few words.
    """

    number: int
    average: NDArray[np.floating]
    mean_score: float
    resolution: float | None
    words: str
    verdict: str
    few: bool = False
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
        """Those that are more than noise by what they resolve, then the others by verdict and score."""

        def key(one: ReportClass) -> tuple[int, bool, float, float, int]:
            return _LAST.index(one.verdict), one.few, one.resolution or np.inf, -one.mean_score, one.number

        return sorted(self.classes, key=key)

    @property
    def side(self) -> float:
        """How wide an average is, in Å."""
        return self.pixel_size * (self.classes[0].average.shape[1] if self.classes else 1)

    def pictures(self) -> Iterator[bytes]:
        """Yield a PNG of each, the best first."""
        for one in self.best_first:
            yield _png(one.average)


def write_sheet(path: Path, averages: Sequence[NDArray[np.floating]], captions: Sequence[str]) -> None:
    """Write a picture of averages side by side, each with a line of text below it.

    Parameters
    ----------
    path
        PNG file to write, whole or not at all.
    averages
        (side, side) each.
    captions
        One for each.
    """
    cells = [_cell(average, caption) for average, caption in zip(averages, captions, strict=True)]
    rows = [cells[i : i + _IN_A_ROW] for i in range(0, len(cells), _IN_A_ROW)]
    empty = np.full_like(cells[0], _PAPER)
    sheet = np.vstack([np.hstack([*row, *[empty] * (min(_IN_A_ROW, len(cells)) - len(row))]) for row in rows])
    with whole_path(path) as unfinished:
        unfinished.write_bytes(bytes(cv2.imencode(".png", sheet)[1]))


def _cell(average: NDArray[np.floating], caption: str) -> NDArray[np.uint8]:
    grey = cv2.resize(_grey(average), (_CELL_PX, _CELL_PX), interpolation=cv2.INTER_CUBIC)
    strip = np.full((_STRIP_PX, _CELL_PX), _PAPER, np.uint8)
    cv2.putText(strip, caption, (4, _STRIP_PX - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 0, 1, cv2.LINE_AA)
    return np.pad(np.vstack([grey, strip]), 4, constant_values=_PAPER).astype(np.uint8)


def _png(average: NDArray[np.floating]) -> bytes:
    return bytes(cv2.imencode(".png", _grey(average), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def _grey(average: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Each has its own black and white, as RELION shows averages."""
    low, high = np.percentile(average, _EXTREMES)
    grey: NDArray[np.floating] = (average - low) / max(float(high - low), 1e-12) * 255
    return np.asarray(np.clip(grey, 0, 255).round(), np.uint8)
