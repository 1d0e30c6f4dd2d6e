"""What a job of RELION leaves beside the run of picking that is in it."""

from __future__ import annotations

from pathlib import Path

RUN = "cryotx.star"
"""The merged STAR file of the run in the folder of a job; all else of the run is in the folder beside it."""


def run_of_job(folder: Path) -> Path:
    """Return the STAR file of the run that belongs to a job of RELION."""
    return folder / RUN
