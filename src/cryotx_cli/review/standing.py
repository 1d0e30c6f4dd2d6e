"""The corrected picks of a moment."""

from __future__ import annotations

from dataclasses import dataclass

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.review.subject import Subject

Marked = tuple[Subject, str | None, Particles]
"""A micrograph, its mark, and its picks."""


@dataclass(frozen=True, eq=False)
class Standing:
    """All corrected picks as they were at a moment.

    Parameters
    ----------
    moment
        Number of the last change, and version of the list of micrographs.
    picks
        Each micrograph that was not skipped, its mark, and its picks.
    """

    moment: tuple[int, int]
    picks: list[Marked]
