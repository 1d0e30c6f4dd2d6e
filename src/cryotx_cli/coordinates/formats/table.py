"""The table of coordinate formats. A new one is a module with its entry, a line here, and its name in the settings."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cryotx_cli.coordinates.formats.box import BOX
from cryotx_cli.coordinates.formats.cbox import CBOX
from cryotx_cli.coordinates.formats.cryosparc import CRYOSPARC
from cryotx_cli.coordinates.formats.csv import CSV
from cryotx_cli.coordinates.formats.eman import EMAN
from cryotx_cli.coordinates.formats.entry import CoordinateFormat, MicrographFormat, TableFormat
from cryotx_cli.coordinates.formats.star import RELION, STAR
from cryotx_cli.coordinates.formats.topaz import TOPAZ
from cryotx_cli.coordinates.formats.warp import WARP

FORMATS: tuple[CoordinateFormat, ...] = (STAR, RELION, CBOX, CRYOSPARC, BOX, EMAN, CSV, TOPAZ, WARP)
"""Of a folder with several kinds of files the first kind is read: the order of what a format keeps of the particles."""


def format_named(name: str) -> CoordinateFormat:
    """Return the format that settings call `name`."""
    return next(one for one in FORMATS if one.name == name)


def readable_formats() -> dict[str, CoordinateFormat]:
    """Return the formats that can be read by the suffix of their files, in the order of the table."""
    return {one.suffix: one for one in FORMATS if one.recognises is not None}


def micrograph_formats() -> list[MicrographFormat]:
    """Return the formats with one file a micrograph."""
    return [one for one in FORMATS if isinstance(one, MicrographFormat)]


def table_formats() -> list[TableFormat]:
    """Return the formats with one file for all micrographs."""
    return [one for one in FORMATS if isinstance(one, TableFormat)]


def require_names(names: Sequence[str], formats: Collection[str]) -> None:
    """Check that each of these formats has a name of its own for each of these micrographs.

    Raises
    ------
    ParticleFileError
        If one has not.
    """
    for one in table_formats():
        if one.name in formats:
            one.names(names)
