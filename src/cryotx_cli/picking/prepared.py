"""A micrograph as the network sees it, and the noise in it, which decoys are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.micrographs.decoy import radial_spectrum
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.micrographs.unread import UnreadMicrograph, seed_of
from cryotx_cli.picking.subjects import Subject
from cryotx_cli.runs.settled import Settled


@dataclass(frozen=True, eq=False)
class Noise:
    """What decoys of a micrograph are drawn from; `micrograph` says what they measure."""

    spectrum: NDArray[np.float64]
    shape: tuple[int, int]
    seed: int
    micrograph: Micrograph


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the network looks at, the micrograph without its pixels, and what is known of these and of their file."""

    micrograph: Micrograph
    image: NDArray[np.float32]
    seed: int
    checksum: int | None

    def noise(self) -> Noise | None:
        """Return what its decoys are drawn from; None where that cannot be told."""
        spectrum = radial_spectrum(self.image)
        if spectrum is None:
            return None
        height, width = self.image.shape
        return Noise(spectrum, (height, width), self.seed, self.micrograph)


def prepared(subject: Subject, settled: Settled, picker: ParticlePicker, diameter: float) -> Prepared:
    """Read a micrograph and prepare it for particles of `diameter` Å, which need not be that of the run."""
    micrograph = subject.read()
    if isinstance(micrograph, UnreadMicrograph) and not picker.prepares_unread:
        micrograph = micrograph.read()
    image = picker.prepare(settled.with_dark_particles(micrograph), diameter)
    checksum = micrograph.passed.checksum if isinstance(micrograph, UnreadMicrograph) else None
    return Prepared(micrograph.without_pixels(), image, seed_of(micrograph), checksum)
