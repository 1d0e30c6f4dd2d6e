"""Pickers without a network; other processes can import them."""

from __future__ import annotations

import os
import signal
import time
import zlib
from dataclasses import dataclass

import numpy as np

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.coordinates.region import Region
from cryotx_cli.detector.particle_picker import Located, ParticlePicker
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.micrograph import Micrograph


class PickerWithoutNetwork(ParticlePicker):
    """All that is expected of a picker but `locate`; says nothing about the micrographs."""

    device = "cpu"
    fingerprint = "without network"
    scales_to_diameter = True
    compares_with_noise = False

    def prepare(self, micrograph: Micrograph, diameter: float):
        return micrograph.image

    def film_share(self, prepared) -> float:
        return 0.0

    def estimate_diameter(self, micrographs) -> float:
        return 60.0

    def is_inverted(self, micrographs, diameter: float) -> bool:
        return False


@dataclass
class QuickPicker(PickerWithoutNetwork):
    """Candidates that depend on the pixels alone.

    Takes `seconds` for a micrograph, refuses those in `refused`, and dies over those in `deadly`.
    """

    seconds: float = 0.0
    refused: tuple[str, ...] = ()
    deadly: tuple[str, ...] = ()

    fingerprint = "quick"

    def locate(self, prepared, micrograph: Micrograph) -> Located:
        time.sleep(self.seconds)
        if micrograph.source.name in self.refused:
            raise MicrographError(f"{micrograph.source}: refused", "There is nothing to be done.")
        if micrograph.source.name in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        rng = np.random.default_rng(zlib.crc32(prepared.tobytes()))
        height, width = prepared.shape
        centres = rng.uniform((0, 0), (width, height), (30, 2))
        found = Particles(centres, rng.uniform(0, 1, 30), rng.uniform(27, 33, 30), micrograph.pixel_size)
        corner = np.array([[-0.5, -0.5], [rng.integers(9, 40), -0.5], [-0.5, rng.integers(9, 40)]])
        return Located(found, film=Region((corner,)))
