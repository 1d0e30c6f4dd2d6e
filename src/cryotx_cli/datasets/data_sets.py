"""A tree of data sets: which sets there are, where the truth and the picks of each lie, how large its particles are.

The truth is a CryoPPP tree of several sets, or a folder with something named after each set that a table lists:
``<set>/`` or ``<set>.star``. Picks lie the same way, or are one file or folder for all micrographs of all sets.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryotx_cli.coordinates.formats.table import readable_formats
from cryotx_cli.datasets.cryoppp import cryoppp_sets
from cryotx_cli.errors import DatasetError, ParticleFileError
from cryotx_cli.files.text_file import is_number, open_text

_EXAMPLE = "A table of data sets looks like this: set,diameter,pixel_size, and below it 10017,191,1.77; lengths in Å."
_SET, _DIAMETER, _PIXEL_SIZE = (
    ("set", "dataset", "name", "empiar", "empiarid"),
    ("diameter", "diametera", "diameterå", "diameterangstrom", "diameterangst"),
    ("pixelsize", "apix", "angpix", "pixelsizea", "pixelsizeå", "apixel"),
)


@dataclass(frozen=True)
class SetSizes:
    """What a table says of a data set: particle diameter in Å, and Å per pixel; None where it says nothing."""

    diameter: float | None
    pixel_size: float | None


def read_set_sizes(path: str | Path) -> dict[str, SetSizes]:
    """Read a table of data sets.

    Parameters
    ----------
    path
        CSV file with a header: a column ``set``, and ``diameter`` in Å, ``pixel_size`` in Å per pixel or both. Commas,
        semicolons or tabs part the columns; others are passed over, and so are empty cells.

    Returns
    -------
    dict of str to SetSizes
        By the name of the set.

    Raises
    ------
    DatasetError
        If a column is missing, a number cannot be used, or a set is there twice.
    ParticleFileError
        If the file cannot be read.
    """
    path = Path(path)
    with open_text(path) as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    separator = max(",;\t", key=(lines[0] if lines else "").count)
    try:
        rows = list(csv.reader(lines, delimiter=separator))
    except csv.Error as error:
        raise DatasetError(f"{path}: cannot be read as a table of data sets: {error}", _EXAMPLE) from error
    header = ["".join(c for c in cell.lower() if c.isalnum()) for cell in rows[0]] if rows else []
    name, diameter, pixel_size = (
        next((i for i, cell in enumerate(header) if cell in names), None) for names in (_SET, _DIAMETER, _PIXEL_SIZE)
    )
    if name is None or (diameter is None and pixel_size is None):
        begins = f"it begins with {lines[0][:60]!r}" if lines else "it is empty"
        raise DatasetError(f"{path}: no columns set and diameter; {begins}", _EXAMPLE)
    for stated, known in zip(rows[0], header, strict=True):
        of_other_units = known.startswith(("diameter", "pixelsize", "apix")) and known not in _DIAMETER + _PIXEL_SIZE
        if of_other_units or (known in _SET + _DIAMETER + _PIXEL_SIZE and header.count(known) > 1):
            why = "is there twice" if header.count(known) > 1 else "is neither a diameter in Å nor Å per pixel"
            raise DatasetError(f"{path}: the column {stated.strip()!r} {why}", _EXAMPLE)
    sizes: dict[str, SetSizes] = {}
    for row in rows[1:]:
        if len(row) > len(header):
            raise DatasetError(
                f"{path}: {separator.join(row)[:60]!r} has {len(row)} values for {len(header)} columns", _EXAMPLE
            )
        of_set = _cell(row, name)
        if not of_set or of_set in sizes:
            said = f"{of_set} is there twice" if of_set else f"{separator.join(row)[:60]!r} names no set"
            raise DatasetError(f"{path}: {said}", "One row a data set, with its name.")
        sizes[of_set] = SetSizes(*(_length(path, of_set, header, row, column) for column in (diameter, pixel_size)))
    return sizes


def truth_of_sets(truth: str | Path, named: Collection[str] = ()) -> dict[str, Path]:
    """Return where the truth of each data set of a tree lies, by the name of the set.

    Parameters
    ----------
    truth
        The tree.
    named
        Sets that a table lists: those of them that are found make any folder a tree.

    Returns
    -------
    dict of str to Path
        Empty if it is the truth of one set: a file, a CryoPPP set or a tree that holds one, or a folder in which
        nothing has the name of a set.

    Raises
    ------
    ParticleFileError
        If it cannot be told which of two things is the truth of a set.
    """
    truth = Path(truth)
    of_cryoppp = cryoppp_sets(truth)
    if of_cryoppp:
        return {folder.name: folder for folder in of_cryoppp} if len(of_cryoppp) > 1 else {}
    return entries_of_sets(truth, named)


def entries_of_sets(folder: Path, sets: Collection[str]) -> dict[str, Path]:
    """Return the folder or coordinate file in `folder` that has the name of each set, of those that have one.

    The folder of a run beside its STAR file is that file's.

    Raises
    ------
    ParticleFileError
        If several files have the name of a set.
    """
    found: dict[str, Path] = {}
    for entry in _entries(folder):
        name = _set_name(entry, sets)
        if name not in sets:
            continue
        if name in found and not (found[name].is_dir() and entry.name == f"{name}.star"):
            raise ParticleFileError(
                f"{found[name]} and {entry}: both could be the coordinates of the set {name}", "Keep one of the two."
            )
        found[name] = entry
    return found


def entries_of_no_set(folder: Path, sets: Collection[str]) -> list[str]:
    """Return the names of what lies in a folder like the coordinates of a set, but has the name of none."""
    return sorted({entry.name for entry in _entries(folder) if _set_name(entry, sets) not in sets})


def _entries(folder: Path) -> list[Path]:
    """Folders and coordinate files in a folder, folders first."""
    if not folder.is_dir():
        return []
    here = [entry for entry in folder.glob("*") if not entry.name.startswith(".")]
    kept = [entry for entry in here if entry.is_dir() or entry.suffix.lower() in readable_formats()]
    return sorted(kept, key=lambda entry: (not entry.is_dir(), entry.name))


def _set_name(entry: Path, sets: Collection[str]) -> str:
    return entry.name if entry.is_dir() or entry.name in sets else entry.stem


def _cell(row: Sequence[str], column: int | None) -> str:
    return row[column].strip() if column is not None and column < len(row) else ""


def _length(path: Path, name: str, header: Sequence[str], row: Sequence[str], column: int | None) -> float | None:
    cell = _cell(row, column)
    if not cell:
        return None
    if not is_number(cell) or not 0 < float(cell) < math.inf:
        raise DatasetError(
            f"{path}: {name} has {cell[:60]!r} in its column {header[column or 0]}, where a length in Å belongs",
            "Decimal numbers have points.",
        )
    return float(cell)


def sizes_of(name: str, sizes: Mapping[str, SetSizes], diameter: float | None, pixel_size: float | None) -> SetSizes:
    """Return what a table says of a set, and what holds for all sets where it says nothing."""
    of_set = sizes.get(name, SetSizes(None, None))
    return SetSizes(of_set.diameter or diameter, of_set.pixel_size or pixel_size)
