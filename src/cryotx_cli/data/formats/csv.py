"""Coordinates as comma-separated values: the tables of CryoPPP, and plain ``x,y[,score[,diameter]]``."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from cryotx_cli.data.formats.whole_file import whole_file
from cryotx_cli.data.particles import Particles
from cryotx_cli.errors import ParticleFileError

# Column names without case, blanks and punctuation.
_X = ("xcoordinate", "x", "xcoord", "rlncoordinatex")
_Y = ("ycoordinate", "y", "ycoord", "rlncoordinatey")
_DIAMETER = ("diameter", "diameterpx")
_SCORE = ("score", "confidence", "rlnautopickfigureofmerit")


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
        If there are no x and y columns, or a value is not a finite number.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                (number, row) for number, row in enumerate(csv.reader(file), 1) if any(cell.strip() for cell in row)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ParticleFileError(f"{path}: cannot be read: {error}", "Check the path.") from error
    if rows and all(_is_number(cell) for cell in rows[0][1][:2]):
        columns: list[int | None] = [i if i < len(rows[0][1]) else None for i in range(4)]
    else:
        header = ["".join(c for c in cell.lower() if c.isalnum()) for cell in (rows[0][1] if rows else [])]
        columns = [_find(header, names) for names in (_X, _Y, _SCORE, _DIAMETER)]
        rows = rows[1:]
    if columns[0] is None or columns[1] is None:
        raise ParticleFileError(
            f"{path}: no columns of x and y coordinates",
            "Name them X-Coordinate and Y-Coordinate in the first line, or begin with rows such as 812.5,1440.0",
        )
    missing = (np.nan, np.nan, 1.0, np.nan)
    table = np.array(
        [
            [
                _number(row, column, default, needed, path, number)
                for column, default, needed in zip(columns, missing, (True, True, False, False), strict=True)
            ]
            for number, row in rows
        ]
    ).reshape(-1, 4)
    return Particles(table[:, :2], table[:, 2], table[:, 3], np.nan)


def _find(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(row: list[str], column: int | None, default: float, needed: bool, path: Path, line: int) -> float:
    if column is None:
        return default
    cell = row[column].strip() if column < len(row) else ""
    if not cell and not needed:
        return default
    if not _is_number(cell) or not np.isfinite(float(cell)):
        raise ParticleFileError(f"{path}: line {line} has {cell[:60]!r} where a number belongs")
    return float(cell)
