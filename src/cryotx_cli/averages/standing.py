"""Whether the classes of a run are still those of its picks, which may have been chosen anew since."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryotx_cli.averages.choice import StoredClasses, read_classes
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.runs.commands import word_of
from cryotx_cli.runs.dropped import Dropped
from cryotx_cli.runs.stored import StoredRun


@dataclass(frozen=True)
class Standing:
    """How classes stand to the picks.

    Parameters
    ----------
    picks
        How many there are now.
    in_no_class
        How many of these have come since.
    gone
        How many of those in classes are no picks any more, without those that were dropped with their classes.
    """

    picks: int
    in_no_class: int
    gone: int

    def in_words(self, run: Path) -> str:
        """Tell what is not as it was, and the command that mends it; nothing where all is."""
        if not self.what_differs:
            return ""
        return f"Class averages are those of the picks before: {self.what_differs}. Anew: cryotx classes {word_of(run)}"

    @property
    def what_differs(self) -> str:
        """What is not as it was, in words."""
        parts = [f"{self.in_no_class} of {self.picks} picks are in no class"] if self.in_no_class else []
        parts += [f"{self.gone} in classes are no picks any more"] if self.gone else []
        return ", ".join(parts)


def standing_of_classes(run: Path, picks: Iterable[tuple[str, Particles]], dropped: Dropped) -> Standing | None:
    """Compare the classes in the folder of a run with its picks; None where there are no classes.

    Parameters
    ----------
    run
        The folder.
    picks
        Micrographs and their picks.
    dropped
        What was taken out of them.
    """
    try:
        return _standing(read_classes(run), picks, dropped)
    except CryotxError:
        return None


def require_classes_of_picks(run: StoredRun, classes: StoredClasses) -> None:
    """Refuse classes that are not those of the picks of a run, as they are now.

    Picks that were dropped with their classes count as theirs. Micrographs that have none in classes do not count:
    those that cannot be read are left out of classes, and would be again.

    Raises
    ------
    ConfigError
        Picks have come or gone since the classes were made.
    """
    rows = [row for row in run.picked if row.micrograph in classes.places]
    available = ((row, run.available(row)) for row in rows)
    # As many as the run has picked, whatever this version would choose.
    picks = (
        (row.micrograph, some[0].select(np.arange(min(row.picks, len(some[0]))))) for row, some in available if some
    )
    standing = _standing(classes, picks, run.dropped)
    if standing.in_no_class or standing.gone:
        raise ConfigError(
            f"{run.folder.path}: its classes are those of other picks: {standing.what_differs}",
            f"Make them again: cryotx classes {word_of(run.folder.path)}",
        )


def _standing(classes: StoredClasses, picks: Iterable[tuple[str, Particles]], dropped: Dropped) -> Standing:
    total = found = accounted = 0
    for name, particles in picks:
        out = np.array(sorted(dropped.places.get(name, ())), np.float64).reshape(-1, 2)
        taken_out = Particles(out, np.zeros(len(out)), np.zeros(len(out)), math.nan)
        total += len(particles)
        here, there = (np.count_nonzero(classes.numbers_of(name, some)) for some in (particles, taken_out))
        found, accounted = found + int(here), accounted + int(here + there)
    return Standing(total, total - found, sum(map(len, classes.numbers.values())) - accounted)
