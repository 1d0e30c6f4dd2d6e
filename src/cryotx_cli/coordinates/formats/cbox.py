"""CrYOLO's .cbox files: STAR with one box a particle, given by its corner of smallest x and y.

Written by crYOLO 1.8 and later (``cryolo/CoordsIO.py``): ``data_global`` with the version of the format,
``data_cryolo`` with the boxes as floating-point pixels, ``data_cryolo_include`` with the slices of a tomogram, none for
a micrograph.
``<NA>`` stands for what is not known. y runs down the stored rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.formats.entry import MicrographFormat
from cryotx_cli.coordinates.formats.scores import known_scores
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Event, Tell, warn
from cryotx_cli.files.star_blocks import Table, contents, named, read_tables, tables_with
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


def read_cbox(path: str | Path, tell: Tell = warn) -> Particles:
    """Read the boxes of one micrograph; `tell` takes what was odd.

    Returns
    -------
    Particles
        Centres of the boxes; ``_Confidence`` as score, 1 where it is missing; the mean of ``_EstWidth`` and
        ``_EstHeight``, crYOLO's estimate of the particle's size, as diameter, NaN where those are missing; the pixel
        size is NaN; `box_px` is the median of the boxes' mean sides.

    Raises
    ------
    ParticleFileError
        If there is no table of boxes, or there are several, or they are not numbers, or those of a tomogram.
    """
    path = Path(path)
    tables = read_tables(path)
    chosen = tables_with(tables, "CoordinateX", "CoordinateY", "Width", "Height")
    if not chosen:
        raise NoCoordinatesError(
            f"{path}: no table with _CoordinateX, _CoordinateY, _Width and _Height; it holds {contents(tables)}",
            "Give a .cbox file of crYOLO 1.8 or later.",
        )
    if len(chosen) > 1:
        raise ParticleFileError(
            f"{path}: {len(chosen)} tables of boxes, and a .cbox file is that of one micrograph: {named(chosen)}",
            "Give each table as a file of its own, named after its micrograph.",
        )
    table = chosen[0]
    _refuse_tomogram(path, tables, table)
    if "filamentid" in table and np.isfinite(table.optional_numbers("filamentid")).any():
        tell(Event("these are segments of filaments (_filamentid), each of which counts as a particle", "warning"))
    boxes = table.numbers("CoordinateX", "CoordinateY", "Width", "Height")
    corners, sides = boxes[:, :2], boxes[:, 2:]
    if (sides < 0).any():
        row = int(np.flatnonzero((sides < 0).any(axis=1))[0])
        raise ParticleFileError(f"{path}: box {row + 1} has a negative side", "Check that the file is whole.")
    estimated = "EstWidth" in table and "EstHeight" in table
    diameters = table.optional_numbers("EstWidth", "EstHeight").mean(axis=1) if estimated else None
    scores = np.ones(len(table))
    if "Confidence" in table and np.isfinite(confidences := table.optional_numbers("Confidence")[:, 0]).any():
        scores = known_scores(confidences, tell)
    return checked_particles(path, corners + sides / 2, scores, diameters, sides=sides.mean(axis=1))


def _refuse_tomogram(path: Path, tables: Sequence[Table], table: Table) -> None:
    # Boxes in micrographs have a depth as well, but no z.
    deep = "CoordinateZ" in table and np.nan_to_num(table.optional_numbers("CoordinateZ")).any()
    if deep or any(map(len, tables_with(tables, "slice_index"))):
        raise ParticleFileError(
            f"{path}: holds boxes in a tomogram ({'_CoordinateZ' if deep else '_slice_index'}), not in a micrograph",
            "cryotx works on 2D micrographs only: give boxes without z.",
        )


def is_cbox(beginning: bytes) -> bool:
    """Tell whether a STAR file that begins so is one of crYOLO's boxes."""
    return any(line.startswith(b"data_cryolo") for line in beginning.splitlines())


CBOX = MicrographFormat(
    name="cbox",
    suffix=".cbox",
    recognises=is_cbox,
    read=lambda path, tell: {"": read_cbox(path, tell)},
    write=write_cbox,
    holds_boxes=True,
    in_run="cbox",
)
