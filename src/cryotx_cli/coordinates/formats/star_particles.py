"""RELION's tables of particles: which of a file are meant, of which micrographs they are, and where the centres lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.formats.scores import known_scores
from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import NoCoordinatesError, ParticleFileError
from cryotx_cli.events import Event, Tell, warn
from cryotx_cli.files.star_blocks import Table, contents, named, read_tables, tables_with
from cryotx_cli.micrographs.find import pixel_sizes

_X, _Y, _Z, _SCORE = "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", "rlnAutopickFigureOfMerit"
_NAME, _STACK = "rlnMicrographName", "rlnImageName"
_OF_TOMOGRAMS = ("rlnTomoName", "rlnTomoParticleName", "rlnCenteredCoordinateXAngst")
_OF_FILAMENTS = ("rlnHelicalTubeID", "rlnHelicalTrackLength", "rlnHelicalTrackLengthAngst")
# Columns whose values are those of a micrograph: several values are several micrographs.
_OF_MICROGRAPHS = (
    "rlnMicrographMovieName",
    "rlnMicrographNameNoDW",
    "rlnMicrographId",
    "rlnGroupName",
    "rlnGroupNumber",
    "rlnOpticsGroup",
)
_NO_NAMES = ("", "<NA>")


def read_particles_star(path: str | Path, tell: Tell = warn) -> dict[str, Particles]:
    """Read the particles of a STAR file, grouped by micrograph.

    Parameters
    ----------
    path
        Merged or of one micrograph, of any RELION version. Several tables of coordinates, as in files that were
        joined, are read together where each names its micrographs.
    tell
        Takes what was odd.

    Returns
    -------
    dict of str to Particles
        By ``_rlnMicrographName``; by the stem of the file where it has no such column. Centres are coordinates less the
        shifts of a refinement (``_rlnOriginXAngst``, ``_rlnOriginX``), where RELION itself would extract them again.
        Scores are ``_rlnAutopickFigureOfMerit`` (1 where missing); diameters are NaN; pixel sizes are the optics
        table's ``_rlnMicrographPixelSize`` (NaN where missing: the pixel sizes of extracted particles and of movies say
        nothing certain about these coordinates).

    Raises
    ------
    ParticleFileError
        If there is no table of coordinates, or they are not numbers, or those of tomograms; or if particles of several
        micrographs do not tell which ones.
    """
    path = Path(path)
    tables = read_tables(path)
    _refuse_tomograms(path, tables)
    chosen = tables_with(tables, _X, _Y)
    if not chosen:
        raise NoCoordinatesError(
            f"{path}: no table with _rlnCoordinateX and _rlnCoordinateY; it holds {contents(tables)}",
            "Give a STAR file of particle coordinates, as RELION's autopick and cryotx pick write them.",
        )
    if len(chosen) > 1:
        if not all(_NAME in table for table in chosen):
            raise ParticleFileError(
                f"{path}: {len(chosen)} tables of coordinates, not all with _rlnMicrographName: {named(chosen)}",
                "Give each table as a file of its own, named after its micrograph.",
            )
        tell(Event(f"{len(chosen)} tables of coordinates were read together: {named(chosen)}"))
    found: dict[str, list[Particles]] = {}
    for table in chosen:
        for name, particles in _read_table(path, tables, table, tell).items():
            found.setdefault(name, []).append(particles)
    return {name: _joined(path, name, parts) for name, parts in found.items()}


def _read_table(path: Path, tables: Sequence[Table], table: Table, tell: Tell) -> dict[str, Particles]:
    scores = known_scores(table.optional_numbers(_SCORE)[:, 0], tell) if _SCORE in table else np.ones(len(table))
    if any(column in table and np.isfinite(table.optional_numbers(column)).any() for column in _OF_FILAMENTS):
        tell(Event("these are segments of filaments (_rlnHelicalTubeID): each counts as a particle", "warning"))
    coordinates = table.numbers(_X, _Y)
    everything = checked_particles(path, coordinates - _shifts(tables, table, tell), scores)
    sizes = pixel_sizes(tables, table)
    found = {}
    for name, rows in _rows_of(path, table, tell).items():
        found[name] = replace(everything.select(rows), pixel_size=_pixel_size(path, name, sizes[rows], "row"))
    return found


def _refuse_tomograms(path: Path, tables: Sequence[Table]) -> None:
    for table in tables:
        column = next((column for column in _OF_TOMOGRAMS if column in table), None)
        flat = _Z not in table or _X not in table or not np.nan_to_num(table.optional_numbers(_Z)).any()
        if column or not flat:
            raise ParticleFileError(
                f"{path}: data_{table.block} holds coordinates in tomograms (_{column or _Z}), not in micrographs",
                "cryotx works on 2D micrographs only: give coordinates without z.",
            )


# --- micrographs -----------------------------------------------------------------------------------------------------


def _rows_of(path: Path, table: Table, tell: Tell) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each micrograph."""
    if _NAME not in table:
        _refuse_several_micrographs(path, table)
        return {path.stem: np.arange(len(table))}
    rows = _rows_by_name(table.texts(_NAME))
    if rows and not rows.keys() - {*_NO_NAMES}:
        raise ParticleFileError(f"{path}: no particle names its micrograph (_rlnMicrographName is empty)")
    nameless = sum(len(rows.pop(name, ())) for name in _NO_NAMES)
    if nameless:
        tell(Event(f"{nameless} of {len(table)} particles name no micrograph: left out", "warning"))
    return rows


def _refuse_several_micrographs(path: Path, table: Table) -> None:
    """Refuse particles that other columns show to be of several micrographs, none of which is named."""
    for column in (_STACK, *_OF_MICROGRAPHS):
        if column in table:
            # Images of particles are numbered: 000001@Extract/job018/m1.mrcs
            values = dict.fromkeys(re.sub(r"^\d+@", "", text) for text in table.texts(column))
            if len(values) > 1:
                raise ParticleFileError(
                    f"{path}: names no micrographs (_rlnMicrographName), and _{column} tells that there are several: "
                    f"{', '.join([*values][:2])}",
                    "Give the STAR file that the particles were extracted with, which has _rlnMicrographName, or one "
                    "file for each micrograph.",
                )


def _rows_by_name(names: Sequence[str]) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each name, names in the order in which they come first."""
    numbers: dict[str, int] = {}
    of_row = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.intp, len(names))
    order = np.argsort(of_row, kind="stable")
    starts = np.searchsorted(of_row[order], np.arange(1, len(numbers)))
    return dict(zip(numbers, np.split(order, starts), strict=False))


def _joined(path: Path, name: str, parts: Sequence[Particles]) -> Particles:
    """Return the particles that several tables have of a micrograph as one."""
    size = _pixel_size(path, name, np.array([part.pixel_size for part in parts]), "table")
    if len(parts) == 1:
        return parts[0]
    centres, scores, diameters = (
        np.concatenate([getattr(part, what) for part in parts]) for what in ("centres", "scores", "diameters")
    )
    return Particles(centres, scores, diameters, size)


def _pixel_size(path: Path, name: str, sizes: NDArray[np.float64], where: str) -> float:
    """Return the pixel size that rows or tables state for one micrograph; NaN where none does."""
    known = sizes[np.isfinite(sizes)]
    if not known.size:
        return np.nan
    low, high = float(known.min()), float(known.max())
    if high > 1.01 * low:
        raise ParticleFileError(
            f"{path}: the particles of {name} are in pixels of {low:.4g} Å in one {where} and of {high:.4g} Å in "
            "another",
            "Check its optics groups, or give what belongs together as a file of its own.",
        )
    return low


# --- shifts of a refinement ------------------------------------------------------------------------------------------


@np.errstate(over="ignore")  # what absurd pixel sizes make of shifts is refused as coordinates
def _shifts(tables: Sequence[Table], table: Table, tell: Tell) -> NDArray[np.float64]:
    """Return by how many pixels of the micrograph a refinement has moved each particle, (n, 2).

    The particle's centre is its coordinate less this: RELION's origin is what moves the image into the middle.
    """
    in_angstrom, in_pixels = ("rlnOriginXAngst", "rlnOriginYAngst"), ("rlnOriginX", "rlnOriginY")
    columns = next((pair for pair in (in_angstrom, in_pixels) if all(column in table for column in pair)), None)
    shifts = np.nan_to_num(table.optional_numbers(*columns)) if columns else np.zeros((len(table), 2))
    if columns is None or not shifts.any():
        return shifts
    sizes, of_what = _sizes_of_coordinates(tables, table)
    if columns == in_angstrom:
        factors, how = 1 / sizes, f"at {np.nanmedian(sizes):.4g} Å per pixel ({of_what})" if of_what else ""
    else:
        # These are pixels of the extracted images, which may be binned.
        ratios = pixel_sizes(tables, table, "rlnImagePixelSize") / sizes
        factors, how = np.where(np.isfinite(ratios), ratios, 1.0), "in pixels"
    if not np.isfinite(factors).all():
        tell(
            Event(
                f"the shifts of the refinement (_{columns[0]}) were not applied: nothing states the pixel size of the "
                "micrographs (_rlnMicrographPixelSize in the optics table), and the centres may be off by up to "
                f"{np.abs(shifts).max():.4g} Å",
                "warning",
            )
        )
        return np.zeros_like(shifts)
    tell(Event(f"the shifts of the refinement (_{columns[0]}) were applied {how}: centre = coordinate - origin"))
    return np.asarray(shifts * factors[:, None], np.float64)


def _sizes_of_coordinates(tables: Sequence[Table], table: Table) -> tuple[NDArray[np.float64], str]:
    """Return Å per pixel of the coordinates (n,), that of movies where no other is stated, and the column with it."""
    for column in ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize"):
        sizes = pixel_sizes(tables, table, column)
        if np.isfinite(sizes).all():
            return sizes, f"_{column}"
    return np.full(len(table), np.nan), ""
