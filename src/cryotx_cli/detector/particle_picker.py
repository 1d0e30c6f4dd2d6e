"""What the rest of the program may expect of a detector, whatever its family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.events import Event
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.wording import counted


@dataclass(frozen=True, eq=False)
class Located:
    """What a detector found in one micrograph.

    Parameters
    ----------
    particles
        Every candidate with a calibrated probability, in the micrograph's own pixels, best first.
    events
        What the user should know of how they were found.
    film
        Support film and large ice crystals, on which candidates were thought less of; None where none were looked for.
    """

    particles: Particles
    events: tuple[Event, ...] = ()
    film: Region | None = None


_AGREE = 0.15  # of the estimate: F1 hardly falls within it
ENOUGH_PARTICLES = 20
"""In all micrographs that are looked at: fewer may be lumps of dirt that look alike."""


@dataclass(frozen=True)
class DiameterEstimate:
    """A particle diameter and what each micrograph alone says of it.

    Parameters
    ----------
    value
        Å, what they say together.
    each
        Å, one for each micrograph that says something alone, in rising order.
    tried
        How many micrographs were looked at.
    count
        How many particles they show together, as far as noise does not explain them; None where that is not known.
    """

    value: float
    each: tuple[float, ...]
    tried: int
    count: float | None = None

    @property
    def agreeing(self) -> int:
        """How many micrographs say the same within 15 %."""
        return sum(abs(one / self.value - 1) <= _AGREE for one in self.each)

    @property
    def doubt(self) -> str | None:
        """Why nobody should rely on it, with what to do; None where most micrographs agree on a good many particles."""
        if self.count is not None and self.count < ENOUGH_PARTICLES:
            seen = counted(max(1, round(self.count)), "candidates")
            why = f"{seen} in {counted(self.tried, 'micrographs')} stand out from noise, as dirt may"
        elif 2 * self.agreeing > self.tried:
            return None
        else:
            why = str(self)
        return (
            f"The diameter is not sure ({why}): there may be no particles, or several sizes of them. Look whether the "
            "circles in the pictures fit, and give --diameter if you know it."
        )

    def __str__(self) -> str:
        if self.tried == 1:
            return "from one micrograph"
        if not self.each:
            return f"from {self.tried} micrographs together, each of which shows too little alone"
        low, high = f"{self.each[0]:.0f}", f"{self.each[-1]:.0f}"
        spread = f"{low} Å" if low == high else f"{low} to {high} Å"
        silent = self.tried - len(self.each)
        rest = f"; {silent} {'shows' if silent == 1 else 'show'} too little alone" if silent else ""
        return f"{self.agreeing} of {self.tried} agree within {_AGREE:.0%}, alone they say {spread}{rest}"


class ParticlePicker(Protocol):
    """Finds every candidate particle in one micrograph at a time and keeps no memory of the last one."""

    @property
    def device(self) -> object:
        """Where the network runs."""

    @property
    def fingerprint(self) -> str:
        """Text that differs between pickers that may pick differently: weights and input settings."""

    @property
    def scales_to_diameter(self) -> bool:
        """Whether the network sees micrographs at a scale that follows from the diameter.

        If so, a wrong diameter harms the picks, and the sizes found tell whether it is right.
        """

    @property
    def compares_with_noise(self) -> bool:
        """Whether `locate` takes noise in place of what `prepare` returns: normalised, a particle 24 px across."""

    @property
    def prepares_unread(self) -> bool:
        """Whether `prepare` does with what `Micrograph.shrunk` returns, so that none has to be in memory as a whole."""

    @property
    def locates_at_once(self) -> bool:
        """Whether several threads may `locate` at a time, which is faster than one that uses all cores."""

    def prepare(self, micrograph: Micrograph, diameter: float) -> NDArray[np.float32]:
        """Bring a micrograph to the network's scale and grey levels; (height, width). Several threads do it at once.

        Parameters
        ----------
        diameter
            Of the particle, in Å.

        Raises
        ------
        MicrographError
            If the image cannot be used, or the diameter does not fit it.
        """

    def locate(self, prepared: NDArray[np.float32], micrograph: Micrograph) -> Located:
        """Run the network on what `prepare` returned for this micrograph; in one thread, or `locates_at_once`."""

    def film_share(self, prepared: NDArray[np.float32]) -> float:
        """Return which share of what `prepare` returned looks like support film or large ice crystals.

        0 where the detector cannot tell.
        """

    def estimate_diameter(self, micrographs: Sequence[Micrograph]) -> float:
        """Return the particle diameter in Å that suits all these micrographs best.

        Raises
        ------
        MicrographError
            If no micrograph shows particles.
        """

    def is_inverted(self, micrographs: Iterable[Micrograph], diameter: float) -> bool:
        """Whether particles are bright in these micrographs, and not dark as in raw ones.

        Parameters
        ----------
        micrographs
            Are read as they are asked for: who cannot tell says no and asks for none.
        diameter
            Of the particle, in Å.
        """
