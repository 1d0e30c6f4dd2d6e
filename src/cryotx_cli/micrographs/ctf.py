"""The contrast transfer function of a micrograph, as RELION and CryoSPARC state it, and where it turns contrast round.

gamma(k) = pi lambda d(theta) k^2 - pi/2 Cs lambda^3 k^4 + asin(w) + phase shift, and contrast follows sin(gamma), dark
protein being positive: RELION's convention (ctf.h) with the sign of images in which protein is bright after inversion.
d(theta) lies between the two defoci, the first of which is along an angle from the x axis towards the y axis, which
points along the rows as they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.files.star_blocks import Table, table_for

_IN_STAR = {
    "defocus_u": "rlnDefocusU",
    "defocus_v": "rlnDefocusV",
    "angle": "rlnDefocusAngle",
    "voltage": "rlnVoltage",
    "spherical_aberration": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
    "phase_shift": "rlnPhaseShift",
}
_MAY_LACK = ("defocus_v", "angle", "phase_shift")  # with one defocus there is no astigmatism
_VOLTAGES = 10.0, 2000.0  # kV: V or MV would pass for kV otherwise


@dataclass(frozen=True)
class Ctf:
    """What decides the contrast transfer of a micrograph.

    Parameters
    ----------
    defocus_u, defocus_v
        Å of underfocus along two axes.
    angle
        Of the first one, degrees from the x axis towards the y axis.
    voltage
        kV.
    spherical_aberration
        mm.
    amplitude_contrast
        0 to 1.
    phase_shift
        Degrees, of a phase plate.
    """

    defocus_u: float
    defocus_v: float
    angle: float
    voltage: float
    spherical_aberration: float
    amplitude_contrast: float
    phase_shift: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, float] | None) -> Ctf | None:
        """Return it from values by these names; None where one is missing, no number, or of no microscope."""
        try:
            known = {field.name: float((values or {})[field.name]) for field in fields(cls)}
        except (KeyError, TypeError, ValueError):
            return None
        ctf = cls(**known)
        sane = _VOLTAGES[0] <= ctf.voltage <= _VOLTAGES[1] and 0 <= ctf.amplitude_contrast <= 1
        return ctf if sane and all(map(math.isfinite, known.values())) else None

    @property
    def wavelength(self) -> float:
        """Å, of relativistic electrons."""
        volts = 1e3 * self.voltage
        return 12.2643 / math.sqrt(volts * (1 + 0.978476e-6 * volts))

    def sine(self, ky: NDArray[np.floating], kx: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return sin(gamma) at frequencies in 1/Å, of the broadcast shape of the two."""
        ky, kx = ky.astype(np.float32), kx.astype(np.float32)
        k2, turn = ky**2 + kx**2, math.radians(2 * self.angle)
        lobes = (kx**2 - ky**2) * np.float32(math.cos(turn)) + ky * kx * np.float32(2 * math.sin(turn))
        mean, half = (self.defocus_u + self.defocus_v) / 2, (self.defocus_u - self.defocus_v) / 2
        quartic = math.pi / 2 * 1e7 * self.spherical_aberration * self.wavelength**3
        gamma = k2 * (np.float32(math.pi * self.wavelength * mean) - np.float32(quartic) * k2)
        gamma += lobes * np.float32(math.pi * self.wavelength * half)
        gamma += np.float32(math.asin(self.amplitude_contrast) + math.radians(self.phase_shift))
        return np.asarray(np.sin(gamma), np.float32)


def ctfs_in_star(tables: Sequence[Table], table: Table) -> list[Ctf | None]:
    """Return the contrast transfer of each row of a table of micrographs, as it or its optics groups say.

    None where a fit has failed, or something is not stated.
    """
    columns = {name: _column(tables, table, column) for name, column in _IN_STAR.items()}
    return ctfs_of(columns)


def ctfs_of(columns: Mapping[str, NDArray[np.float64]]) -> list[Ctf | None]:
    """Return the contrast transfers that columns (n,) of these names state, NaN where one does not.

    Without a second defocus, and where it has no angle, there is no astigmatism; without a phase shift none.
    """
    filled = dict(columns)
    filled["defocus_v"] = np.where(np.isnan(columns["defocus_v"]), columns["defocus_u"], columns["defocus_v"])
    for name in _MAY_LACK[1:]:
        filled[name] = np.nan_to_num(columns[name])
    rows = zip(*(filled[name].tolist() for name in _IN_STAR), strict=True)
    return [Ctf.of(dict(zip(_IN_STAR, row, strict=True))) for row in rows]


def _column(tables: Sequence[Table], table: Table, column: str) -> NDArray[np.float64]:
    if column in table:
        return table.optional_numbers(column)[:, 0]
    optics = table_for(tables, table, "rlnOpticsGroup", column)
    if optics is None or "rlnOpticsGroup" not in table:
        return np.full(len(table), np.nan)
    of_group = dict(optics.optional_numbers("rlnOpticsGroup", column).tolist())
    groups = table.optional_numbers("rlnOpticsGroup")[:, 0].tolist()
    return np.array([of_group.get(group, np.nan) for group in groups], np.float64)
