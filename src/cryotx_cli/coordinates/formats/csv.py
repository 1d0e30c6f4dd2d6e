"""Coordinates as comma-separated values: the tables of CryoPPP, and plain ``x,y[,score[,diameter]]``."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np

from cryotx_cli.coordinates.formats.entry import MicrographFormat
from cryotx_cli.coordinates.formats.separated import read_separated
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.events import Tell, warn
from cryotx_cli.files.text_file import first_line
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.wording import some_of

_EXAMPLE = (
    "Part columns by commas and name them X-Coordinate and Y-Coordinate in the first line, or begin with rows such as "
    "812.5,1440.0"
)


def write_csv(path: str | Path, particles: Particles) -> None:
    """Write the columns ``X-Coordinate``, ``Y-Coordinate`` and ``Diameter`` of CryoPPP, in pixels, y as it is.

    A diameter that is not known is left empty. ``Score`` is a fourth column unless every score is 1.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    scored = bool((particles.scores != 1).any())
    diameters = ["" if np.isnan(diameter) else f"{diameter:.6g}" for diameter in particles.diameters.tolist()]
    rows = zip(*particles.centres.T.tolist(), diameters, particles.scores.tolist(), strict=True)
    with whole_file(path) as file:
        file.write(f"X-Coordinate,Y-Coordinate,Diameter{',Score' if scored else ''}\n")
        file.writelines(
            f"{x:.3f},{y:.3f},{diameter}{f',{score:.6f}' if scored else ''}\n" for x, y, diameter, score in rows
        )


CRYOPPP_LABELS = PurePath("ground_truth", "particle_coordinates")
"""Where CryoPPP keeps CSV files, in the folder of a data set; their y depends on the micrographs beside them."""


def read_csv(path: str | Path, tell: Tell = warn) -> Particles:
    """Read the coordinates of one micrograph, y as it stands in the file.

    Parameters
    ----------
    path
        As `read_separated` reads it, with commas, semicolons or tabs between the columns.
    tell
        Takes what was odd.

    Returns
    -------
    Particles
        Scores are 1 and diameters NaN where the file has none; the pixel size is NaN.

    Raises
    ------
    ParticleFileError
        As of `read_csv_micrographs`, or if the file names several micrographs.
    """
    found = read_csv_micrographs(path, tell)
    if len(found) > 1:
        raise ParticleFileError(
            f"{path}: names {some_of(found)}, and should be of one micrograph", "Give each a file of its own."
        )
    return next(iter(found.values()))


def read_csv_micrographs(path: str | Path, tell: Tell = warn) -> dict[str, Particles]:
    """Read the coordinates of all micrographs that a file names, by their names, as `read_separated` does."""
    return read_separated(Path(path), (",", ";", "\t"), _EXAMPLE, tell)


CSV = MicrographFormat(
    name="csv",
    suffix=".csv",
    recognises=lambda beginning: "," in first_line(beginning),
    read=read_csv_micrographs,
    write=lambda path, particles, _: write_csv(path, particles),
    in_run="csv",
)
