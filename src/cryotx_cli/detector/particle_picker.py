"""What the rest of the program may expect of a detector, whatever its family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.micrographs.micrograph import Micrograph


class ParticlePicker(Protocol):
    """Finds every candidate particle in one micrograph at a time and keeps no memory of the last one."""

    @property
    def device(self) -> object:
        """Where the network runs."""

    @property
    def fingerprint(self) -> str:
        """Text that differs between pickers that may pick differently: weights and input settings."""

    def prepare(self, micrograph: Micrograph, diameter: float) -> NDArray[np.float32]:
        """Bring a micrograph to the network's scale and grey levels."""

    def locate(self, prepared: NDArray[np.float32], micrograph: Micrograph) -> Particles:
        """Return every candidate with a calibrated probability, in the micrograph's own pixels."""

    def estimate_diameter(self, micrographs: Sequence[Micrograph]) -> float:
        """Return the particle diameter in Å that suits all these micrographs best."""
