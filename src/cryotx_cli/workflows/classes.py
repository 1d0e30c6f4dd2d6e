"""Average the picks of a finished run: classes of views, and how far their halves agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cryotx_cli.averages.of_run import ClassesMade, average_run
from cryotx_cli.config import ClassesConfig
from cryotx_cli.coordinates.formats.cryosparc import exposures_of
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.events import Event, Tell
from cryotx_cli.picking.page import write_page
from cryotx_cli.runs.stored import StoredRun, read_run

__all__ = ["ClassesMade", "classes"]


def classes(
    run: str | Path,
    config: ClassesConfig,
    tell: Tell = lambda _: None,
    read: Callable[[], None] = lambda: None,
) -> ClassesMade:
    """Sort the picks of a run into classes and write their averages into ``classes/`` of its folder.

    What is there already stays until the new files are whole. The report of the run is written again, with the classes.

    Parameters
    ----------
    run
        The STAR file that ``cryotx pick`` wrote, or the folder of the same name.
    config
        Settings.
    tell
        Hears what there is to know.
    read
        Called after each micrograph that has picks.

    Raises
    ------
    CryotxError
        There is no such run, or it has too few picks, its micrographs are gone, or the folder cannot be written.
    DeviceError
        The device is not there.
    """
    stored = read_run(Path(run))
    made = average_run(stored, config, _exposures(stored, tell), tell, read)
    if stored.settled.config.report:
        write_page(stored, tell)
    return made


def _exposures(run: StoredRun, tell: Tell) -> Mapping[str, Exposure]:
    """Return CryoSPARC's exposures of a run, which only the file for CryoSPARC needs."""
    file = run.settled.config.exposures
    if file is None:
        return {}
    try:
        return exposures_of(file, [row.micrograph for row in run.picked], tell)
    except ParticleFileError as error:
        tell(Event(f"There is no particles.cs with classes: {error.message}", "warning"))
        return {}
