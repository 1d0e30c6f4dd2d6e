"""Topaz's coordinate tables: tab-separated ``image_name x_coord y_coord [score]``, all micrographs in one file.

``image_name`` is the micrograph's file name without folders and without its suffix; coordinates are centres in pixels,
y down the stored rows (``topaz/utils/files.py``). Scores stand as they are: those of Topaz itself are log-likelihood
ratios, not probabilities.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cryotx_cli.coordinates.formats.entry import TableFormat
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.files.text_file import first_line, open_text
from cryotx_cli.files.whole_file import whole_file
from cryotx_cli.micrographs.names import file_name, without_micrograph_suffix


def topaz_names(names: Sequence[str]) -> list[str]:
    """Return the name that Topaz gives each of these micrographs, in their order.

    Raises
    ------
    ParticleFileError
        If two of them get the same name, or one has tabs, quotes or line breaks.
    """
    users: dict[str, str] = {}
    for name in names:
        stem = without_micrograph_suffix(file_name(name))
        if not stem or not stem.isprintable() or '"' in stem:
            raise ParticleFileError(
                f"the micrograph name {name!r} cannot be written for Topaz: it is empty or holds quotes or tabs",
                "Rename the micrograph.",
            )
        if stem in users:
            raise ParticleFileError(
                f"Topaz has one name for {users[stem]} and {name}: it leaves out folders and suffixes",
                "Write the Topaz files of each folder apart.",
            )
        users[stem] = name
    return list(users)


def write_topaz(path: str | Path, particles: Iterable[tuple[str, Particles]]) -> None:
    """Write the particles of many micrographs, given as pairs of micrograph name and particles.

    Raises
    ------
    ParticleFileError
        If the file cannot be written, or Topaz could not tell two of the micrographs apart.
    """
    pairs = list(particles)
    stems = topaz_names([name for name, _ in pairs])
    with whole_file(path) as file:
        file.write("image_name\tx_coord\ty_coord\tscore\n")
        for stem, (_, here) in zip(stems, pairs, strict=True):
            rows = zip(*here.centres.T.tolist(), here.scores.tolist(), strict=True)
            file.writelines(f"{stem}\t{x:.3f}\t{y:.3f}\t{score:.6f}\n" for x, y, score in rows)


def read_topaz(path: str | Path) -> dict[str, Particles]:
    """Read a table of coordinates.

    Returns
    -------
    dict of str to Particles
        By ``image_name``. Scores are 1 where the table has none; diameters and pixel sizes are NaN.

    Raises
    ------
    ParticleFileError
        If the columns are missing, or a coordinate or score is not a finite number.
    """
    path = Path(path)
    tables: dict[str, array[float]] = {}
    with open_text(path) as file:
        rows = _rows(csv.reader(file, delimiter="\t"), path)
        columns = _columns(next(rows, (1, []))[1], path)
        for number, row in rows:
            name, values = _row(row, columns, number, path)
            tables.setdefault(name, array("d")).extend(values)
    found = {}
    for name, of_name in tables.items():
        table = np.array(of_name).reshape(-1, len(columns) - 1)
        scores = table[:, 2] if table.shape[1] == 3 else np.ones(len(table))
        found[name] = checked_particles(path, table[:, :2], scores)
    return found


def _rows(reader: Iterator[list[str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty with their line numbers."""
    try:
        for number, row in enumerate(reader, 1):
            if any(cell.strip() for cell in row):
                yield number, row
    except csv.Error as error:
        raise ParticleFileError(f"{path}: cannot be read as a table of tab-separated values: {error}") from error


def _columns(first: list[str], path: Path) -> list[int]:
    """Return where name, x, y and, if there is one, score stand."""
    header = [cell.strip() for cell in first]
    if not {"image_name", "x_coord", "y_coord"} <= set(header):
        raise NoCoordinatesError(
            f"{path}: its first line is {chr(9).join(header)[:60]!r}, not the columns image_name, x_coord and y_coord",
            "Give a table as topaz extract writes it, with tabs between the columns.",
        )
    return [header.index(name) for name in ("image_name", "x_coord", "y_coord", "score") if name in header]


def _row(row: list[str], columns: list[int], number: int, path: Path) -> tuple[str, tuple[float, ...]]:
    try:
        name, *cells = (row[column] for column in columns)
        values = tuple(float(cell) for cell in cells)
    except (LookupError, ValueError):
        values, name = (np.nan,), ""
    if not name or not np.isfinite(values).all():
        raise ParticleFileError(
            f"{path}: line {number} is {chr(9).join(row)[:60]!r}, not a name and finite numbers with tabs between them"
        )
    return name, values


TOPAZ = TableFormat(
    name="topaz",
    suffix=".txt",
    recognises=lambda beginning: first_line(beginning).startswith("image_name\t"),
    read=read_topaz,
    write=lambda path, particles, _: write_topaz(path, particles),
    names=topaz_names,
    in_run="topaz/particles.txt",
)
