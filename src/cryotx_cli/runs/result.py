"""What became of the micrographs of a run of picking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.micrographs.micrograph import MicrographFile
from cryotx_cli.runs.ledger import LedgerRow


@dataclass(frozen=True, eq=False)
class PickResult:
    """What became of one micrograph.

    Parameters
    ----------
    file
        The micrograph.
    particles
        Its picks in its own pixels; None where it was skipped.
    error
        Why it was skipped; None where it was picked.
    seconds
        Time spent on it: reading, network and writing (they overlap with those of other micrographs).
    row
        Its line of the ledger.
    resumed
        True where an earlier run had finished it.
    """

    file: MicrographFile
    particles: Particles | None
    error: str | None
    seconds: float
    row: LedgerRow
    resumed: bool = False


@dataclass(frozen=True)
class ClassCounts:
    """What the picks of a run average to, in numbers.

    Parameters
    ----------
    made
        Classes.
    more_than_noise
        How many of them show something.
    too_few
        How many have too few picks to tell.
    picks
        Picks in the classes.
    resolution
        Å that half of those with many picks reach, or better; None where there are not two that show something.
    """

    made: int
    more_than_noise: int
    too_few: int
    picks: int
    resolution: float | None


@dataclass(frozen=True)
class PickSummary:
    """What a run has done so far.

    Parameters
    ----------
    micrographs, particles
        Micrographs picked, earlier ones included, and picks on them.
    resumed
        How many of the micrographs an earlier run had finished.
    expected_false
        How many of the picks are expected to be no particles; None in a run without decoys.
    dropped_at_border, dropped_beside_better
        Would-be picks dropped because they lay too close to the border, or to a better pick.
    skipped
        Micrographs without picks because of an error, with their reasons.
    film
        On how many micrographs support film or large ice crystals were seen; None where they were not looked for.
    left
        Micrographs that are there and whole, but were not picked before the run was told to stop.
    seconds
        Wall-clock time from the first micrograph on.
    box
        Side of the boxes to extract in pixels of the micrographs, the largest one; None where there are no picks.
    star, folder, report
        The merged STAR file, the folder that holds everything else, and the report in it (None: not wanted).
    classes
        What the picks average to, in words; None where they were not averaged.
    class_counts
        The same in numbers.
    """

    micrographs: int
    particles: int
    resumed: int
    expected_false: float | None
    dropped_at_border: int
    dropped_beside_better: int
    film: int | None
    skipped: tuple[PickResult, ...]
    left: int
    seconds: float
    box: int | None
    star: Path
    folder: Path
    report: Path | None
    classes: str | None = None
    class_counts: ClassCounts | None = None
