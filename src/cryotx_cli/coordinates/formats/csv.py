"""Coordinates as comma-separated values: the tables of CryoPPP, and plain ``x,y[,score[,diameter]]``."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.formats.entry import MicrographFormat
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.files.text_file import first_line, is_number, open_text
from cryotx_cli.files.whole_file import whole_file

# Column names without case, blanks and punctuation.
_X = ("xcoordinate", "x", "xcoord", "rlncoordinatex")
_Y = ("ycoordinate", "y", "ycoord", "rlncoordinatey")
_DIAMETER = ("diameter", "diameterpx")
_SCORE = ("score", "confidence", "rlnautopickfigureofmerit")
_MISSING = (None, None, 1.0, np.nan)  # x and y have to be there
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


def read_csv(path: str | Path) -> Particles:
    """Read the coordinates of one micrograph, y as it stands in the file.

    Parameters
    ----------
    path
        With a header that names x and y (``X-Coordinate``, ``x``, ``x_coord``, ...), in any order and beside any other
        columns; or without a header, the columns then being x, y, score and diameter as far as they are there.

    Returns
    -------
    Particles
        Scores are 1 and diameters NaN where the file has none; the pixel size is NaN.

    Raises
    ------
    ParticleFileError
        If there are no x and y columns, a value is not a finite number, or a row has more values than the header.
    """
    path, values = Path(path), array("d")
    with open_text(path) as file:
        rows = _rows(csv.reader(file), path)
        first_number, first = next(rows, (1, list[str]()))
        headless = len(first) >= 2 and all(map(is_number, first[:2]))
        columns = _columns(first, headless, path)
        for number, row in chain([(first_number, first)] if headless else [], rows):
            if not headless and any(cell.strip() for cell in row[len(first) :]):
                raise ParticleFileError(
                    f"{path}: line {number} has {len(row)} values for the {len(first)} columns of the header",
                    "Commas part the columns; decimal numbers have points.",
                )
            for column, default in zip(columns, _MISSING, strict=True):
                values.append(_number(row, column, default, path, number))
    table = np.array(values).reshape(-1, 4)
    return checked_particles(path, table[:, :2], table[:, 2], table[:, 3])


def _rows(reader: Iterator[list[str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty with their line numbers."""
    try:
        for number, row in enumerate(reader, 1):
            if any(cell.strip() for cell in row):
                yield number, row
    except csv.Error as error:
        raise ParticleFileError(f"{path}: cannot be read as comma-separated values: {error}", _EXAMPLE) from error


def _columns(first: list[str], headless: bool, path: Path) -> list[int | None]:
    """Return where x, y, score and diameter stand."""
    if headless:
        return [i if i < len(first) else None for i in range(4)]
    header = ["".join(c for c in cell.lower() if c.isalnum()) for cell in first]
    columns = [_find(header, names) for names in (_X, _Y, _SCORE, _DIAMETER)]
    if columns[0] is None or columns[1] is None:
        found = f"it begins with {','.join(first)[:60]!r}" if first else "it is empty"
        raise NoCoordinatesError(f"{path}: no columns of x and y coordinates; {found}", _EXAMPLE)
    return columns


def _find(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _number(row: list[str], column: int | None, default: float | None, path: Path, line: int) -> float:
    cell = row[column].strip() if column is not None and column < len(row) else ""
    if not cell and default is not None:
        return default
    if not is_number(cell) or not np.isfinite(float(cell)):
        raise ParticleFileError(
            f"{path}: line {line} has {cell[:60]!r} where a number belongs",
            "Commas part the columns; decimal numbers have points.",
        )
    return float(cell)


CSV = MicrographFormat(
    name="csv",
    suffix=".csv",
    recognises=lambda beginning: "," in first_line(beginning),
    read=read_csv,
    write=lambda path, particles, _: write_csv(path, particles),
    in_run="csv",
)
