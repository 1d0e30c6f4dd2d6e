"""CrYOLO's .cbox files: STAR with one box a particle, given by its corner of smallest x and y.

Written by crYOLO 1.8 and later (``cryolo/CoordsIO.py``): ``data_global`` with the version of the format,
``data_cryolo`` with the boxes as floating-point pixels, ``data_cryolo_include`` with the slices of a tomogram, none for
a micrograph.
``<NA>`` stands for what is not known. y runs down the stored rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.formats.entry import MicrographFormat
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.files.star_blocks import contents, read_tables, table_with
from cryotx_cli.files.whole_file import whole_file

_COLUMNS = (
    "_CoordinateX",
    "_CoordinateY",
    "_CoordinateZ",
    "_Width",
    "_Height",
    "_Depth",
    "_EstWidth",
    "_EstHeight",
    "_Confidence",
    "_NumBoxes",
    "_Angle",
)


def write_cbox(path: str | Path, particles: Particles, box_px: int | None) -> None:
    """Write boxes of `box_px` pixels around one micrograph's particles; estimated sizes are their diameters.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    if box_px is None:
        raise ValueError("a cbox file needs the side of its boxes")
    header = "".join(f"{column} #{i}\n" for i, column in enumerate(_COLUMNS, 1))
    corners = particles.centres - box_px / 2
    rows = zip(*corners.T.tolist(), particles.diameters.tolist(), particles.scores.tolist(), strict=True)
    with whole_file(path) as file:
        file.write(f"\ndata_global\n\n_cbox_format_version 1.0\n\ndata_cryolo\n\nloop_\n{header}")
        for x, y, diameter, score in rows:
            size = "<NA>" if np.isnan(diameter) else f"{diameter:.3f}"
            file.write(f"{x:.3f} {y:.3f} <NA> {box_px} {box_px} <NA> {size} {size} {score:.6f} <NA> <NA>\n")
        file.write("\n\ndata_cryolo_include\n\nloop_\n_slice_index #1\n\n")


def read_cbox(path: str | Path) -> Particles:
    """Read the boxes of one micrograph.

    Returns
    -------
    Particles
        Centres of the boxes; ``_Confidence`` as score, 1 where it is missing; the mean of ``_EstWidth`` and
        ``_EstHeight``, crYOLO's estimate of the particle's size, as diameter, NaN where those are missing; the pixel
        size is NaN; `box_px` is the median of the boxes' mean sides.

    Raises
    ------
    ParticleFileError
        If there is no table of boxes, or they are not numbers.
    """
    path = Path(path)
    tables = read_tables(path)
    table = table_with(tables, "CoordinateX", "CoordinateY", "Width", "Height")
    if table is None:
        raise NoCoordinatesError(
            f"{path}: no table with _CoordinateX, _CoordinateY, _Width and _Height; it holds {contents(tables)}",
            "Give a .cbox file of crYOLO 1.8 or later.",
        )
    boxes = table.numbers("CoordinateX", "CoordinateY", "Width", "Height")
    corners, sides = boxes[:, :2], boxes[:, 2:]
    if (sides < 0).any():
        row = int(np.flatnonzero((sides < 0).any(axis=1))[0])
        raise ParticleFileError(f"{path}: box {row + 1} has a negative side", "Check that the file is whole.")
    estimated = "EstWidth" in table and "EstHeight" in table
    diameters = table.numbers_or_nan("EstWidth", "EstHeight").mean(axis=1) if estimated else None
    scores = table.numbers_or_nan("Confidence")[:, 0] if "Confidence" in table else np.ones(len(table))
    scores = np.where(np.isfinite(scores), scores, 1.0)
    return checked_particles(path, corners + sides / 2, scores, diameters, sides=sides.mean(axis=1))


def is_cbox(beginning: bytes) -> bool:
    """Tell whether a STAR file that begins so is one of crYOLO's boxes."""
    return any(line.startswith(b"data_cryolo") for line in beginning.splitlines())


CBOX = MicrographFormat(
    name="cbox",
    suffix=".cbox",
    recognises=is_cbox,
    read=read_cbox,
    write=write_cbox,
    holds_boxes=True,
    in_run="cbox",
)
