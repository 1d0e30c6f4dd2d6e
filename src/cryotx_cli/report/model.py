"""What a report is made of: its micrographs, the run, and how the run agrees with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.detector.particle_picker import DiameterEstimate
from cryotx_cli.events import Event
from cryotx_cli.report.class_average import ReportClasses
from cryotx_cli.report.truth import Truth
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.settled import Settled
from cryotx_cli.runs.start import Start


@dataclass(frozen=True, eq=False)
class ReportMicrograph:
    """One micrograph of a run.

    Parameters
    ----------
    name
        As the user or a STAR file named it.
    candidates
        Candidates among which a threshold chooses, those dropped for the border or a better neighbour left out; None
        where the micrograph was skipped.
    height, width
        Its pixels.
    picks
        How many of the best candidates are picks.
    thumbnail
        Picture by `cryotx_cli.report.thumbnail.write_thumbnail`; the gallery shows grey where it is missing.
    defocus
        Å of underfocus, as `_rlnDefocusU`; None where not known.
    error
        Why it was skipped.
    truth
        The true particles, in a report that compares with them.
    film
        Where support film or large ice crystals were seen; None where they were not looked for.
    classes
        (n,) class of each candidate, 0: none; None in a run without classes.
    chosen
        How many of the best candidates the choice takes, those in dropped classes among them; None: the picks.
    false_picks
        How many of the picks are expected to be false, as the run tells; None where it does not.
    unpicked
        It has labels, and the run that is compared with them has not picked it.
    """

    name: str
    candidates: Particles | None = None
    height: int = 0
    width: int = 0
    picks: int = 0
    thumbnail: Path | None = None
    defocus: float | None = None
    error: str | None = None
    truth: Truth | None = None
    film: Region | None = None
    classes: NDArray[np.int64] | None = None
    chosen: int | None = None
    false_picks: float | None = None
    unpicked: bool = False

    @property
    def film_share(self) -> float | None:
        """Share of it that shows film or ice; None where they were not looked for."""
        return None if self.film is None else self.film.share(max(self.height, 1), max(self.width, 1))


@dataclass(frozen=True)
class RunAgreement:
    """How the picks of a run agree with the truth, all micrographs together.

    Parameters
    ----------
    truth
        File or folder of the truth, as the user would type it.
    radius
        Largest distance of a pair in diameters.
    precision, recall, f1, average_precision, dice, chance
        As ``cryotx evaluate`` prints them.
    left_out
        Micrographs that are not compared, with the reason.
    """

    truth: Path
    radius: float
    precision: float
    recall: float
    f1: float
    average_precision: float
    dice: float
    chance: float
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ReportRun:
    """What a report says of the run as a whole.

    Parameters
    ----------
    star, folder
        The merged STAR file and the folder that ``cryotx threshold`` takes, as the user would type them. The folder is
        None where the picks are no run of ``cryotx pick``: `star` is then any file or folder of picks.
    settled
        Settings that the picks were made with; None where they are not known.
    scores
        Lowest and highest setting of the slider: 0 and 1 unless the scores are no probabilities.
    agreement
        With the truth; None where there is none.
    found
        What decoys say of the run; None where it has none.
    events
        What its reader should know.
    start
        How it was started; None where nobody knows.
    estimate
        How its diameter was estimated; None where it was given.
    classes
        What its picks average to; None where nobody has averaged them.
    """

    star: Path
    folder: Path | None
    settled: Settled | None
    scores: tuple[float, float] = (0.0, 1.0)
    agreement: RunAgreement | None = None
    found: FalseDiscovery | None = None
    events: tuple[Event, ...] = ()
    start: Start | None = None
    estimate: DiameterEstimate | None = None
    classes: ReportClasses | None = None
