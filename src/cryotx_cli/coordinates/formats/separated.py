"""Tables of separated values, one particle a row, whatever program or spreadsheet has written them."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np

from cryotx_cli.coordinates.formats.scores import known_scores
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Event, Tell
from cryotx_cli.files.text_file import is_number, open_text
from cryotx_cli.micrographs.names import without_micrograph_suffix
from cryotx_cli.wording import counted

# Column names without case, blanks and punctuation.
_X = ("xcoordinate", "x", "xcoord", "rlncoordinatex")
_Y = ("ycoordinate", "y", "ycoord", "rlncoordinatey")
_Z = ("zcoordinate", "z", "zcoord", "rlncoordinatez")
_SCORE = ("score", "confidence", "rlnautopickfigureofmerit")
_DIAMETER = ("diameter", "diameterpx")
_SIDES = (("width", "height"), ("w", "h"), ("boxwidth", "boxheight"), ("boxsizex", "boxsizey"), ("widthpx", "heightpx"))
_SHIFT = ("rlnoriginxangst", "rlnoriginx")
_MICROGRAPH = (
    *("micrographname", "rlnmicrographname", "micrograph", "imagename", "micrographpath", "micrographfile"),
    *("locationmicrographpath", "micrographfilename", "micname", "mic", "filename"),
)
_PERHAPS_MICROGRAPH = ("image", "imagepath", "imagefile", "file", "filepath", "path", "rlnimagename", "name")
"""Such columns may just as well name the particles, each by a name of its own."""

# Of a particle in its stack: 000001@Extract/job018/m1.mrcs. A micrograph may be called 1@a.mrc.
_IMAGE_NUMBER = re.compile(r"^\s*(\d{6,}@|\d+@(?=.*\.mrcs\s*$))")


@dataclass(frozen=True)
class _Columns:
    """Where a value stands in a row; None where the table has no such column."""

    x: int
    y: int
    score: int | None = None
    diameter: int | None = None
    z: int | None = None
    shift: int | None = None
    micrograph: int | None = None
    surely: bool = True  # the column of names is one of micrographs


@dataclass
class _Rows:
    """The rows read so far: x, y, score and diameter of each, by micrograph."""

    of_micrograph: dict[str, array[float]] = field(default_factory=dict)
    count: int = 0
    empty: int = 0
    nameless: int = 0
    shifted: bool = False


def read_separated(path: Path, separators: Sequence[str], example: str, tell: Tell) -> dict[str, Particles]:
    """Read a table of coordinates.

    Parameters
    ----------
    path
        With a header that names x and y (``X-Coordinate``, ``x``, ``x_coord``, ...), in any order and beside any other
        columns; or without a header, the columns then being x, y, score and diameter as far as they are there.
    separators
        What may part the columns; the first line decides.
    example
        What such a table looks like, for messages.
    tell
        Takes what was odd.

    Returns
    -------
    dict of str to Particles
        By the column that names micrographs (``image_name``, ``micrograph``, ``filename``, ...), under the empty name
        where there is none. Scores are 1 and diameters NaN where the file has none; the pixel size is NaN.

    Raises
    ------
    ParticleFileError
        If there are no x and y columns, a coordinate is not a finite number, a row has more values than the header, or
        the coordinates are those of a tomogram; or if it is not certain whether a column names micrographs, or whether
        x and y are middles or corners of boxes.
    """
    found = _Rows()
    with open_text(path) as file:
        separator = _separator(file, separators)
        rows = _filled(csv.reader(file, delimiter=separator), path, example)
        first_number, first = next(rows, (1, list[str]()))
        headless = len(first) >= 2 and all(map(is_number, first[:2]))
        second = (first_number, first) if headless else next(rows, None)
        columns = _columns(path, first, second[1] if second else [], headless, example)
        for number, row in chain([second] if second else [], rows):
            if not headless and any(cell.strip() for cell in row[len(first) :]):
                raise ParticleFileError(
                    f"{path}: line {number} has {len(row)} values for the {len(first)} columns of the header",
                    f"{_SEPARATES[separator]} part the columns; decimal numbers have points.",
                )
            _take(found, row, columns, path, number, separator)
    _refuse_boxes(path, found, headless, first)
    _require_micrographs(path, found, columns, first)
    _tell_of(path, found, tell)
    return {name: _particles(path, values, tell) for name, values in (found.of_micrograph or {"": array("d")}).items()}


_SEPARATES = {",": "Commas", ";": "Semicolons", "\t": "Tabs"}


def _separator(file: TextIO, separators: Sequence[str]) -> str:
    """Return what parts x from y in the first line."""
    line = next((line for line in iter(lambda: file.readline(10_000), "") if line.strip()), "")
    file.seek(0)
    for separator in separators:
        cells = next(csv.reader([line], delimiter=separator), [])
        header = _header(cells)
        if all(map(is_number, cells[:2])) if _find(header, _X) is None else _find(header, _Y) is not None:
            return separator
    return separators[0]


def _filled(reader: Iterator[list[str]], path: Path, example: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty with their line numbers."""
    try:
        for number, row in enumerate(reader, 1):
            if any(cell.strip() for cell in row):
                yield number, row
    except csv.Error as error:
        raise ParticleFileError(f"{path}: cannot be read as a table of separated values: {error}", example) from error


# --- columns ---------------------------------------------------------------------------------------------------------


def _columns(path: Path, first: list[str], second: list[str], headless: bool, example: str) -> _Columns:
    """Tell the columns by the header and the first row below it."""
    with_micrographs = [i for i, cell in enumerate(second) if _is_micrograph(cell)]
    if headless:
        name = with_micrographs[0] if with_micrographs else None
        score, diameter = (i if i < len(first) and name is None else None for i in (2, 3))
        return _Columns(0, 1, score, diameter, micrograph=name)
    header = _header(first)
    x, y, z, score, diameter, shift, name = (
        _find(header, names) for names in (_X, _Y, _Z, _SCORE, _DIAMETER, _SHIFT, _MICROGRAPH)
    )
    if x is None or y is None:
        begins = f"it begins with {','.join(first)[:60]!r}" if first else "it is empty"
        raise NoCoordinatesError(f"{path}: no columns of x and y coordinates; {begins}", example)
    surely = name is not None or bool(with_micrographs)
    if name is None:
        name = with_micrographs[0] if with_micrographs else _find(header, _PERHAPS_MICROGRAPH)
    return _Columns(x, y, score, diameter, z, shift, name, surely)


def _header(cells: Sequence[str]) -> list[str]:
    return ["".join(c for c in cell.lower() if c.isalnum()) for cell in cells]


def _find(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _is_micrograph(cell: str) -> bool:
    """Tell whether a value is the name of a micrograph's file, not of an image in a stack (``000001@m1.mrcs``)."""
    return not _IMAGE_NUMBER.match(cell.strip()) and without_micrograph_suffix(cell.strip()) != cell.strip()


# --- rows ------------------------------------------------------------------------------------------------------------


def _take(found: _Rows, row: list[str], columns: _Columns, path: Path, line: int, separator: str) -> None:
    cells = (_cell(row, columns.x), _cell(row, columns.y))
    if not any(cells) and len(row) > max(columns.x, columns.y):
        found.empty += 1
        return
    if not all(is_number(cell) and np.isfinite(float(cell)) for cell in cells):
        wrong = next(cell for cell in cells if not is_number(cell) or not np.isfinite(float(cell)))
        raise ParticleFileError(
            f"{path}: line {line} has {wrong[:60]!r} where a number belongs",
            f"{_SEPARATES[separator]} part the columns; decimal numbers have points.",
        )
    if np.nan_to_num(_optional(row, columns.z)):
        raise ParticleFileError(
            f"{path}: holds coordinates in a tomogram (line {line} has a z of {_cell(row, columns.z)}), not in a "
            "micrograph",
            "cryotx works on 2D micrographs only: give coordinates without z.",
        )
    name = _cell(row, columns.micrograph)
    if separator == "\t" and name and columns.micrograph is not None:
        name = row[columns.micrograph]  # blanks part nothing there, and belong to the name
    name = _IMAGE_NUMBER.sub("", name)
    if columns.micrograph is not None and not name:
        found.nameless += 1
        return
    found.shifted |= bool(np.nan_to_num(_optional(row, columns.shift)))
    found.count += 1
    score = _optional(row, columns.score) if _cell(row, columns.score) else 1.0
    values = found.of_micrograph.setdefault(name, array("d"))
    values.extend((float(cells[0]), float(cells[1]), score, _optional(row, columns.diameter)))


def _cell(row: list[str], column: int | None) -> str:
    return row[column].strip() if column is not None and column < len(row) else ""


def _optional(row: list[str], column: int | None) -> float:
    cell = _cell(row, column)
    number = float(cell) if is_number(cell) else np.nan
    return number if np.isfinite(number) else np.nan


# --- what came of it -------------------------------------------------------------------------------------------------


def _require_micrographs(path: Path, found: _Rows, columns: _Columns, first: Sequence[str]) -> None:
    names = [*found.of_micrograph]
    if columns.surely or len(names) < 2:
        return
    head = first[columns.micrograph] if columns.micrograph is not None else ""
    if len(names) == found.count > 2 or _header([head]) == ["rlnimagename"]:
        raise ParticleFileError(
            f"{path}: not certain that the column {head!r} names micrographs: it holds {names[0]}, {names[1]}, ...",
            "Call the column micrograph_name if it does; leave it out if all particles are of one micrograph.",
        )


def _refuse_boxes(path: Path, found: _Rows, headless: bool, first: Sequence[str]) -> None:
    """Refuse rows that may be boxes: whether x and y are then their middles or corners no table tells."""
    header = _header(first)
    # ImageJ has the corners as BX and BY, beside X and Y for the middles.
    sides = None if "bx" in header else next((pair for pair in _SIDES if set(pair) <= set(header)), None)
    if headless and len(first) >= 4 and found.of_micrograph:
        last_two = np.concatenate([np.array(rows).reshape(-1, 4)[:, 2:] for rows in found.of_micrograph.values()])
        # In every row above 1 and a whole number, or the same as the other, neither a probability nor the logarithm of
        # a ratio of two is.
        alike = (last_two == np.round(last_two)).all() or (last_two[:, 0] == last_two[:, 1]).all()
        sides = ("3", "4") if (last_two > 1).all() and alike else None
    if sides and found.count:
        raise ParticleFileError(
            f"{path}: x and y may be the middles of boxes or their corners: the columns {sides[0]} and {sides[1]} look "
            "like their sides",
            "If x and y are middles, leave the sides out; scores and diameters need a first line that names them. If x "
            "and y are corners, the smallest of each box, save x, y, width and height with blanks between them as "
            "a .box file.",
        )


def _tell_of(path: Path, found: _Rows, tell: Tell) -> None:
    if found.nameless and not found.count:
        raise ParticleFileError(f"{path}: no row names its micrograph", "Fill in the column of names, or leave it out.")
    if found.empty:
        tell(Event(f"{counted(found.empty, 'rows')} without coordinates left out"))
    if found.nameless:
        tell(Event(f"{found.nameless} of {found.count + found.nameless} rows name no micrograph: left out", "warning"))
    if found.shifted:
        tell(Event("the shifts of a refinement (rlnOriginX) were not applied: give the STAR file for that", "warning"))


def _particles(path: Path, values: array[float], tell: Tell) -> Particles:
    table = np.array(values).reshape(-1, 4)
    return checked_particles(path, table[:, :2], known_scores(table[:, 2], tell), table[:, 3])
