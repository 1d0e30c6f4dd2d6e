"""The report of a run with what its picks average to, where somebody has averaged them."""

from __future__ import annotations

import numpy as np

from cryotx_cli.averages.choice import StoredClasses, read_classes
from cryotx_cli.averages.crops import SIDE
from cryotx_cli.averages.output import FEW, STACK
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ConfigError, CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.stack import read_stack
from cryotx_cli.report.class_average import ReportClass, ReportClasses
from cryotx_cli.report.run_report import write_run_report
from cryotx_cli.runs.commands import word_of
from cryotx_cli.runs.stored import StoredRun

_LOOKED_AT = 20  # micrographs that tell whether the classes are those of this run


def write_page(run: StoredRun, tell: Tell = lambda _: None) -> None:
    """Write the report of a run, and show its classes if it has some.

    Parameters
    ----------
    run
        The run.
    tell
        Hears of classes that cannot be shown because they are damaged: the report does without them.

    Raises
    ------
    ParticleFileError
        The report cannot be written.
    """
    try:
        classes = classes_to_show(run)
    except Exception as error:  # whatever is wrong with this section, the others are not to be lost for it
        reason = error.message if isinstance(error, CryotxError) else f"{type(error).__name__}: {error}"
        again = f"Make them again: cryotx classes {word_of(run.folder.path)}"
        tell(Event(f"Class averages are left out of the report: {reason}. {again}", "warning"))
        classes = None
    write_run_report(run, classes)


def classes_to_show(run: StoredRun) -> ReportClasses | None:
    """Return the classes in the folder of a run; None where there are none, or those of other picks.

    Raises
    ------
    CryotxError
        They are damaged.
    """
    try:
        stored = read_classes(run.folder.path)
    except ConfigError:
        return None  # there are none
    images, pixel_size = read_stack(run.folder.path / STACK)
    if images.shape != (len(stored.rows), SIDE, SIDE) or not (np.isfinite(images).all() and 0 < pixel_size < np.inf):
        raise CryotxError(f"{run.folder.path / STACK}: damaged")
    if not _are_of(run, stored):
        return None
    suggested = stored.to_drop("auto", None)
    classes = tuple(
        ReportClass(
            row.number,
            average,
            row.mean_score,
            row.resolution,
            row.in_words,
            row.told,
            few=row.picks < FEW,
            suggested=row.number in suggested,
            remarks=(row.looks,) if row.looks else (),
        )
        for row, average in zip(stored.rows, images, strict=True)
    )
    return ReportClasses(classes, pixel_size, stored.numbers_of, _dropped(run, stored))


def _are_of(run: StoredRun, stored: StoredClasses) -> bool:
    """Whether most of the places in classes are candidates of the run, on some of its micrographs."""
    rows = [row for row in run.picked if row.micrograph in stored.places][:_LOOKED_AT]
    found = places = 0
    for row in rows:
        candidates = run.candidates(row)
        if candidates is not None:
            found += int(np.count_nonzero(stored.numbers_of(row.micrograph, candidates[1].particles)))
            places += len(stored.places[row.micrograph])
    return found > places / 2


def _dropped(run: StoredRun, stored: StoredClasses) -> frozenset[int]:
    """Return the numbers of the classes that were taken out of the run."""
    numbers: set[int] = set()
    for name, places in run.dropped.places.items():
        centres = np.array(sorted(places), np.float64).reshape(-1, 2)
        nothing = np.zeros(len(centres))
        numbers.update(stored.numbers_of(name, Particles(centres, nothing, nothing, np.nan)).tolist())
    return frozenset(numbers - {0})
