"""EMAN box files: tab-separated integers ``x0 y0 width height``, the corner of smallest x and y, no header."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cryotx_cli.data.formats.whole_file import whole_file
from cryotx_cli.data.particles import Particles
from cryotx_cli.errors import ParticleFileError

BOX_PER_DIAMETER = 1.5
"""Box side over particle diameter, as single-particle packages advise: room for the spread of defocused signal."""


def box_side_px(diameter_px: float) -> int:
    """Return the side of a particle's box: 1.5 diameters, rounded up to an even number of pixels."""
    return 2 * math.ceil(BOX_PER_DIAMETER * diameter_px / 2)


def write_box(path: str | Path, particles: Particles, box_px: int) -> None:
    """Write boxes of `box_px` pixels around the particles.

    Corners are rounded to whole pixels, the only ones that RELION's extraction reads; sub-pixel centres need a STAR
    file.

    Raises
    ------
    ParticleFileError
        If the file cannot be written.
    """
    corners = np.rint(particles.centres - box_px / 2).astype(np.int64)
    with whole_file(path) as file:
        file.writelines(f"{x}\t{y}\t{box_px}\t{box_px}\n" for x, y in corners.tolist())


def read_box(path: str | Path) -> Particles:
    """Read the boxes of one micrograph.

    Returns
    -------
    Particles
        Centres of the boxes; the mean side of a box as diameter, the only size that the format holds; the fifth
        column as score, 1 where there is none; the pixel size is NaN.

    Raises
    ------
    ParticleFileError
        If a line does not begin with four finite numbers.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ParticleFileError(f"{path}: cannot be read: {error}", "Check the path.") from error
    boxes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            x, y, width, height, *rest = (float(value) for value in line.split()[:5])
            if not np.isfinite([x, y, width, height, *rest]).all():
                raise ValueError
        except ValueError:
            raise ParticleFileError(
                f"{path}: line {number} is {line[:60]!r}, not the numbers x, y, width and height",
                "A box file has one line a particle and no header, for example: 812 1440 180 180",
            ) from None
        boxes.append((x + width / 2, y + height / 2, rest[0] if rest else 1.0, (width + height) / 2))
    table = np.array(boxes).reshape(-1, 4)
    return Particles(table[:, :2], table[:, 2], table[:, 3], np.nan)
