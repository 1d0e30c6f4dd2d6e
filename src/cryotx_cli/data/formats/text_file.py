"""Text files of other programs, as they come: any line ends, with or without a byte order mark, any bytes in names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryotx_cli.data.micrograph_files import is_there
from cryotx_cli.data.particles import Particles
from cryotx_cli.errors import ParticleFileError

MAX_COORDINATE = 1e9
"""Pixels. What lies further out was no coordinate on a micrograph, and has no place in 32-bit integers."""


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file for reading; line ends come as they are, bytes that are not UTF-8 as surrogates.

    Raises
    ------
    ParticleFileError
        If it is no file, or cannot be read.
    """
    require_file(path)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield file
    except OSError as error:
        raise ParticleFileError(f"{path}: cannot be read: {error.strerror or error}", "Check the path.") from error


def require_file(path: Path) -> None:
    """Refuse what is not there and what is no plain file: reading a pipe waits for its other end for ever.

    Raises
    ------
    ParticleFileError
        If there is no such file.
    """
    if not is_there(path):
        raise ParticleFileError(f"{str(path)[:300]}: no such file or folder", "Check the path.")
    if not path.is_file():
        raise ParticleFileError(f"{path}: a folder, a pipe or a device, not a file", "Save it as a file first.")


def checked_particles(
    path: Path, centres: ArrayLike, scores: ArrayLike, diameters: ArrayLike, pixel_size: float = np.nan
) -> Particles:
    """Return what a file holds as particles; diameters of 0 stand for unknown ones and become NaN.

    Raises
    ------
    ParticleFileError
        If a centre cannot lie on a micrograph, or a diameter is negative.
    """
    particles = Particles(np.asarray(centres), np.asarray(scores), np.asarray(diameters), pixel_size)
    _refuse(path, "coordinates", particles.centres, (~(np.abs(particles.centres) <= MAX_COORDINATE)).any(axis=1))
    _refuse(path, "a size", particles.diameters, (particles.diameters < 0) | np.isinf(particles.diameters))
    if not (particles.diameters == 0).any():
        return particles
    known = np.where(particles.diameters == 0, np.nan, particles.diameters)
    return Particles(particles.centres, particles.scores, known, pixel_size)


def _refuse(path: Path, what: str, values: NDArray[np.float64], bad: ArrayLike) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        row = int(rows[0])
        shown = ", ".join(f"{value:g}" for value in np.atleast_1d(values[row]))
        raise ParticleFileError(
            f"{path}: particle {row + 1} has {what} of {shown} pixels, which no micrograph has",
            "Check that the file is whole and that its columns are the expected ones.",
        )
