"""Which run of ``cryotx pick`` is meant where RELION hands the coordinates of a job to the next one."""

from __future__ import annotations

from pathlib import Path

from cryotx_cli.errors import CryotxError
from cryotx_cli.runs.folder import is_run

RUN = "cryotx.star"
"""The merged STAR file of the run in the folder of a job; all else of the run is in the folder beside it."""


def run_of_coordinates(coordinates: Path) -> Path:
    """Return the merged STAR file of the run whose job has written these coordinates.

    Parameters
    ----------
    coordinates
        ``autopick.star`` or ``coords_suffix_autopick.star`` of the job; or its folder.

    Raises
    ------
    CryotxError
        They are not those of such a job.
    """
    run = (coordinates if coordinates.is_dir() else coordinates.parent) / RUN
    if not is_run(run):
        raise CryotxError(
            f"{coordinates}: not the coordinates of a job of cryotx: there is no run {run} with them",
            "Give the output of a job that ran cryotx job relion.",
        )
    return run
