"""How a run decides what its settings leave open: diameter and contrast, from a few of its micrographs."""

from __future__ import annotations

from collections.abc import Sequence

from cryotx_cli.detector.diameter_estimate import (
    SAMPLE,
    estimate_diameter,
    is_inverted,
    keep_estimate,
    kept_estimate,
)
from cryotx_cli.detector.load_picker import LoadedPicker
from cryotx_cli.detector.particle_picker import DiameterEstimate
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.micrograph import MicrographFile
from cryotx_cli.picking.contradictions import tell_of_tiny_particles
from cryotx_cli.runs.arrivals import Arrivals
from cryotx_cli.runs.folder import PickFolder, fingerprint
from cryotx_cli.runs.settled import Settled, known_to_be_bright, settle
from cryotx_cli.wording import counted

_BRIGHT = (
    "Particles are bright in these micrographs: they seem to be inverted, and are picked as such (--contrast bright; "
    "--contrast dark if that is wrong)."
)


class Decision:
    """The settings of a run, and how they were found.

    Parameters
    ----------
    loaded
        Picker and settings.
    files
        All micrographs of the run, or those that are there already.
    arrivals
        Where more come from; None if none do.
    folder
        Where the run writes, and where an earlier run may have kept its estimate.
    tell
        Hears of particles that are bright, or tiny.

    Attributes
    ----------
    estimate : DiameterEstimate or None
        How the diameter was estimated; None where it was given.
    settled : Settled
        The settings.

    Raises
    ------
    MicrographError
        No micrograph can be read, or none shows particles.
    """

    def __init__(
        self,
        loaded: LoadedPicker,
        files: Sequence[MicrographFile],
        arrivals: Arrivals | None,
        folder: PickFolder,
        tell: Tell,
    ) -> None:
        self._loaded, self._files, self._arrivals, self._folder, self._tell = loaded, files, arrivals, folder, tell
        self.estimate: DiameterEstimate | None = None
        if loaded.picker.scales_to_diameter:
            tell_of_tiny_particles(files, loaded.config, tell)
        self.settled: Settled = settle(loaded.config, self._estimate_diameter, self._is_bright)

    def _estimate_diameter(self) -> float:
        """Take the diameter that an earlier run has estimated with these weights, or else estimate it."""
        config, picker, files = self._loaded.config, self._loaded.picker, self._files
        key = fingerprint(picker.fingerprint, config.pixel_size, config.contrast)
        self.estimate = None if config.restart else kept_estimate(self._folder.diameter, key)
        if self.estimate is None:
            if self._arrivals is not None:
                files = self._arrivals.first(SAMPLE, config.stop_after, self._folder.stop)
            if self._arrivals is None:
                looked_at = counted(min(SAMPLE, len(files)), "micrographs")
                self._tell(Event(f"Estimating the diameter from {looked_at}; --diameter starts without."))
            self.estimate = estimate_diameter(files, config.pixel_size, picker, known_to_be_bright(config.contrast))
            keep_estimate(self._folder.diameter, self.estimate, key)
        if self.estimate.doubt:
            self._tell(Event(self.estimate.doubt, "warning"))
        return self.estimate.value

    def _is_bright(self, diameter: float) -> bool:
        # A session that has just begun has nothing to judge by; its files come from the microscope, unchanged.
        if self._arrivals is not None:
            return False
        bright = is_inverted(self._files, self._loaded.config.pixel_size, self._loaded.picker, diameter)
        if bright:
            self._tell(Event(_BRIGHT))
        return bright
