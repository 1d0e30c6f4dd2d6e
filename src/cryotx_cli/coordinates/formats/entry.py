"""What a coordinate format is: how its files are recognised, read and written, and where a run keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.config import CoordinateFormatName
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.events import Tell


@dataclass(frozen=True)
class Exposure:
    """A micrograph as CryoSPARC knows it.

    Parameters
    ----------
    uid
        CryoSPARC's number of it.
    exp_group_id
        Its exposure group.
    path
        The micrograph file, relative to the CryoSPARC project.
    height, width
        Of the micrograph, pixels.
    pixel_size
        Å per pixel.
    """

    uid: int
    exp_group_id: int
    path: str
    height: int
    width: int
    pixel_size: float


@dataclass(frozen=True, eq=False)
class Alignments:
    """How the particles of one micrograph fit averages of their classes, in the terms of RELION.

    Parameters
    ----------
    classes
        (n,) from 1.
    psi
        (n,) degrees: ``_rlnAnglePsi``.
    origins
        (n, 2) Å: ``_rlnOriginXAngst`` and ``_rlnOriginYAngst``.
    """

    classes: NDArray[np.int64]
    psi: NDArray[np.float64]
    origins: NDArray[np.float64]


@dataclass(frozen=True)
class CoordinateIndex:
    """A list of the coordinate files of many micrographs, which stands for all of them.

    Parameters
    ----------
    file_name
        What it is called.
    recognises
        Whether a file is such a list.
    read
        Pairs of micrograph name and coordinate file, of any format.
    write
        Takes such pairs, the files as the list has to name them.
    """

    file_name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], list[tuple[str, Path]]]
    write: Callable[[Path, Iterable[tuple[str, str]]], None]


@dataclass(frozen=True, kw_only=True)
class CoordinateFormat:
    """What the two kinds of formats have in common.

    Parameters
    ----------
    name
        What ``--to`` and ``--formats`` call it.
    suffix
        Of its files, with the dot.
    recognises
        Whether a file that begins with these bytes is of this format, for names whose suffix says nothing; None where
        another format reads its files.
    read
        Takes a file and whom to tell what is odd about it, without its name. Returns the particles by the names of
        their micrographs in it; those of a micrograph that only the name of the file tells stand under the empty name.
        None where another format reads its files.
    index
        The lists that stand for many files of this suffix, if there are any.
    in_run
        The folder of its files, or its file, within the folder of a run of picking; empty where it has no place there.
    """

    name: CoordinateFormatName
    suffix: str
    recognises: Callable[[bytes], bool] | None
    read: Callable[[Path, Tell], dict[str, Particles]] | None
    index: CoordinateIndex | None = None
    in_run: str = ""


@dataclass(frozen=True, kw_only=True)
class MicrographFormat(CoordinateFormat):
    """A format with one file a micrograph, which is named after it.

    Parameters
    ----------
    write
        Takes the file, the particles and the side of their boxes in pixels; only those that `holds_boxes` need it.
    endings
        What stands between a micrograph's name and the suffix: the first is written, all are left out on reading.
    holds_boxes
        Whether its files say how large the boxes around the particles are.
    """

    write: Callable[[Path, Particles, int | None], None]
    endings: tuple[str, ...] = ("",)
    holds_boxes: bool = False

    def file_name(self, stem: str) -> str:
        """Return the name of the file of a micrograph."""
        return f"{stem}{self.endings[0]}{self.suffix}"


@dataclass(frozen=True, kw_only=True)
class TableFormat(CoordinateFormat):
    """A format with one file for all micrographs.

    Parameters
    ----------
    write
        Takes the file, pairs of micrograph name and particles, and by these names the exposures, empty unless
        `takes_exposures`.
    names
        What the format calls these micrographs. Raises `ParticleFileError` if a name cannot be written, or two of them
        could not be told apart.
    takes_exposures
        Whether it can only be written of micrographs that CryoSPARC knows.
    """

    write: Callable[[Path, Iterable[tuple[str, Particles]], Mapping[str, Exposure]], None]
    names: Callable[[Sequence[str]], list[str]] = list
    takes_exposures: bool = False
