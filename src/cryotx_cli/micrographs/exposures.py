"""Micrographs that a .cs file of CryoSPARC lists as exposures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.errors import ParticleFileError
from cryotx_cli.events import Tell
from cryotx_cli.files.cs_table import CsTable, read_cs_table
from cryotx_cli.micrographs.ctf import Ctf, ctfs_of

EXPOSURE_SUFFIXES = (".cs", ".csg")
_CTF = {
    "defocus_u": ("ctf/df1_A",),
    "defocus_v": ("ctf/df2_A",),
    "angle": ("ctf/df_angle_rad",),
    "voltage": ("ctf/accel_kv", "mscope_params/accel_kv"),
    "spherical_aberration": ("ctf/cs_mm", "mscope_params/cs_mm"),
    "amplitude_contrast": ("ctf/amp_contrast",),
    "phase_shift": ("ctf/phase_shift_rad",),
}
_IN_RADIANS = ("angle", "phase_shift")


@dataclass(frozen=True)
class ListedExposure:
    """A micrograph as exposures list it.

    Parameters
    ----------
    name
        ``micrograph_blob/path``, relative to the CryoSPARC project.
    pixel_size
        Å per pixel.
    defocus
        Å of underfocus along the first axis (``ctf/df1_A``).
    ctf
        Its contrast transfer. None of these where the file does not say.
    """

    name: str
    pixel_size: float | None
    defocus: float | None
    ctf: Ctf | None


def list_exposures(path: Path, tell: Tell) -> list[ListedExposure]:
    """List the micrographs of exposures, each once, in the order of the file.

    Raises
    ------
    ParticleFileError
        If it cannot be read, or lists no micrographs.
    """
    table = read_cs_table(path, ("micrograph_blob/path", "micrograph_blob/psize_A"), "exposures", tell)
    sizes, defoci = table.optional_numbers("micrograph_blob/psize_A"), table.optional_numbers("ctf/df1_A")
    rows = zip(table.texts("micrograph_blob/path"), sizes.tolist(), defoci.tolist(), _ctfs(table), strict=True)
    listed: dict[str, ListedExposure] = {}
    for name, size, defocus, ctf in rows:
        # NaN is not greater than anything.
        known = ListedExposure(name, size if 0 < size < float("inf") else None, defocus if defocus > 0 else None, ctf)
        listed.setdefault(name, known)
    if not listed:
        raise ParticleFileError(f"{path}: lists no exposures", "Give the exposures of a job that has some.")
    return list(listed.values())


def _ctfs(table: CsTable) -> list[Ctf | None]:
    columns: dict[str, NDArray[np.float64]] = {}
    for name, places in _CTF.items():
        values = table.optional_numbers(next((place for place in places if place in table), places[0]))
        columns[name] = np.degrees(values) if name in _IN_RADIANS else values
    return ctfs_of(columns)
