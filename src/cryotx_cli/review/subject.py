"""The micrographs of a review, whether a run has picked them or nobody has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.review.class_gallery import ClassGallery
from cryotx_cli.runs.ledger import LedgerRow


@dataclass(frozen=True)
class Cut:
    """What chooses the picks of a run anew.

    Parameters
    ----------
    threshold
        Smallest score of a pick; None for what the run has chosen.
    distance
        Smallest distance between picks in Å; None for that of the run.
    """

    threshold: float | None = None
    distance: float | None = None


@dataclass(frozen=True)
class Subject:
    """One micrograph of a review.

    Parameters
    ----------
    position
        Its number in addresses; it stays the same as long as the server runs.
    path
        The file.
    row
        Its row of the ledger; without a run one that says where its files go.
    """

    position: int
    path: Path
    row: LedgerRow

    @property
    def name(self) -> str:
        """The micrograph as the user or a STAR file has named it."""
        return self.row.micrograph


@dataclass(frozen=True, eq=False)
class Proposed:
    """What there is to choose among on a micrograph before anybody corrects it.

    Parameters
    ----------
    candidates
        What a threshold chooses among, best first.
    chosen
        How many of them are picks, from the top.
    height, width
        Of the micrograph in pixels.
    diameter_px
        Of a particle.
    film
        Support film and ice; None where nobody has looked.
    """

    candidates: Particles
    chosen: int
    height: int
    width: int
    diameter_px: float
    film: Region | None = None


class Subjects(Protocol):
    """All micrographs of a review, and what is known of them."""

    @property
    def title(self) -> str:
        """What the page is called."""

    @property
    def diameter(self) -> float:
        """Of a particle in Å."""

    @property
    def distance(self) -> float:
        """Smallest distance between picks in Å."""

    @property
    def formats(self) -> tuple[str, ...]:
        """Formats to write beside a merged STAR file."""

    @property
    def cuts_of_rates(self) -> list[tuple[float, float]]:
        """Shares of false picks and the threshold that gives each; empty where nothing is known of them."""

    def all(self) -> Sequence[Subject]:
        """Return the micrographs, in their order."""

    def proposed(self, subject: Subject, cut: Cut) -> Proposed:
        """Return what there is to choose among on a micrograph.

        Raises
        ------
        CryotxError
            It is not known: a file is missing or damaged.
        """

    @property
    def classes(self) -> ClassGallery | None:
        """What its picks average to; None without a run."""

    def box_px(self, pixel_size: float) -> int:
        """Return the side of the boxes around particles in micrographs of this pixel size, in their pixels."""

    def refresh(self) -> bool:
        """Look whether a run has gone on; return whether it has."""
