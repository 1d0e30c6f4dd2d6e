"""A micrograph as the network sees it, and the noise in it, which decoys are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.blank import zeroed_parts
from cryotx_cli.micrographs.decoy import radial_spectrum
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.micrographs.unread import UnreadMicrograph, seed_of
from cryotx_cli.picking.subjects import Subject
from cryotx_cli.runs.settled import Settled
from cryotx_cli.wording import counted


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

    @property
    def blank(self) -> float:
        """Which share of the image is padding, or blank otherwise at its border."""
        blank = zeroed_parts(self.image)
        return 0.0 if blank is None else float(blank.mean())

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


def tell_of_blank(shares: Sequence[float], tell: Tell) -> None:
    """Say that micrographs have borders, from how much of each is `Prepared.blank`."""
    if any(shares):
        number = f"{sum(share > 0 for share in shares)} of {counted(len(shares), 'micrographs')}"
        text = f"Padded or blank borders in {number} that were looked at, up to {max(shares):.0%} of their area"
        tell(Event(f"{text}: nothing is picked there, or so near that it would reach into them."))
