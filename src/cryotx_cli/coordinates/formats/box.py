"""EMAN box files: tab-separated integers ``x0 y0 width height``, the corner of smallest x and y, no header."""

from __future__ import annotations

import math
import re
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.formats.entry import MicrographFormat
from cryotx_cli.coordinates.formats.scores import known_scores
from cryotx_cli.coordinates.particles import MAX_COORDINATE, Particles, checked_particles
from cryotx_cli.errors import ParticleFileError
from cryotx_cli.events import Event, Tell, warn
from cryotx_cli.files.text_file import first_line, is_number, open_text
from cryotx_cli.files.whole_file import whole_file

BOX_PER_DIAMETER = 1.5
"""Box side over particle diameter, as single-particle packages advise: room for the spread of defocused signal."""

_START, _END = -1.0, -2.0  # of a filament, in the fifth column of EMAN's helix boxes
_EMAN1_BOX = -3.0  # in the fifth column of all boxes that EMAN1 writes


def box_side_px(diameter_px: float) -> int:
    """Return the side of a particle's box: 1.5 diameters, rounded up to an even number of pixels."""
    return 2 * math.ceil(BOX_PER_DIAMETER * diameter_px / 2)


def write_box(path: str | Path, particles: Particles, box_px: int | None) -> None:
    """Write boxes of `box_px` pixels around the particles.

    Corners are rounded to whole pixels, the only ones that RELION's extraction reads; sub-pixel centres need a STAR
    file.

    Raises
    ------
    ParticleFileError
        If the file cannot be written, or a corner does not fit into RELION's integers.
    """
    if box_px is None:
        raise ValueError("a box file needs the side of its boxes")
    if (np.abs(particles.centres) > MAX_COORDINATE).any():
        raise ParticleFileError(f"{path}: cannot be written: a coordinate is larger than any micrograph")
    corners = np.rint(particles.centres - box_px / 2).astype(np.int64)
    with whole_file(path) as file:
        file.writelines(f"{x}\t{y}\t{box_px}\t{box_px}\n" for x, y in corners.tolist())


def read_box(path: str | Path, tell: Tell = warn) -> Particles:
    """Read the boxes of one micrograph; `tell` takes what was odd. Lines that begin with ``#`` are comments.

    Returns
    -------
    Particles
        Centres of the boxes; the fifth column as score, 1 where there is none or all are -3, EMAN1's mark of a box;
        diameters and the pixel size are NaN; `box_px` is the median of the boxes' mean sides.

    Raises
    ------
    ParticleFileError
        If a line does not begin with four finite numbers, or a side is negative, or the boxes are ends of filaments.
    """
    path, values, helical = Path(path), array("d"), False
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.lstrip().startswith("#"):
                helical |= bool(re.match(r"#\s*(helix|segment)", line.strip(), re.IGNORECASE))
            elif line.strip():
                values.extend(_box(line, number, path))
    table = np.array(values).reshape(-1, 4)
    _refuse_ends(path, table[:, 2])
    if helical:
        tell(Event("these are segments of helices (its # lines say so), each of which counts as a particle", "warning"))
    scores = np.ones(len(table)) if (table[:, 2] == _EMAN1_BOX).all() else known_scores(table[:, 2], tell)
    return checked_particles(path, table[:, :2], scores, sides=table[:, 3])


def _refuse_ends(path: Path, marks: NDArray[np.float64]) -> None:
    """Refuse boxes that EMAN's helix boxer has marked as starts and ends of filaments."""
    ends = marks[marks != 0]  # 0 marks points between the two
    if ends.size and ends.size % 2 == 0 and (ends[::2] == _START).all() and (ends[1::2] == _END).all():
        raise ParticleFileError(
            f"{path}: its fifth column is {_START:.0f} and {_END:.0f} in turn: starts and ends of filaments, not "
            "particles",
            "Give the boxes of the segments along the filaments.",
        )


def _box(line: str, number: int, path: Path) -> tuple[float, float, float, float]:
    """Return centre, score and mean side of the box in one line."""
    try:
        x, y, width, height = map(float, line.split(maxsplit=4)[:4])
        whole = all(map(math.isfinite, (x, y, width, height))) and min(width, height) >= 0
    except ValueError:
        whole = False
    if not whole:
        raise ParticleFileError(
            f"{path}: line {number} is {line.strip()[:60]!r}, not the numbers x, y, width and height",
            "A box file has one line a particle and no header, for example: 812 1440 180 180",
        )
    fifth = line.split(maxsplit=5)[4:5]
    score = (float(fifth[0]) if is_number(fifth[0]) else math.nan) if fifth else 1.0
    return x + width / 2, y + height / 2, score, (width + height) / 2


def _recognises(beginning: bytes) -> bool:
    rows = b"\n".join(line for line in beginning.splitlines() if not line.lstrip().startswith(b"#"))
    values = first_line(rows).split()[:4]
    return len(values) == 4 and all(map(is_number, values))


BOX = MicrographFormat(
    name="box",
    suffix=".box",
    recognises=_recognises,
    read=lambda path, tell: {"": read_box(path, tell)},
    write=write_box,
    holds_boxes=True,
    in_run="box",
)
