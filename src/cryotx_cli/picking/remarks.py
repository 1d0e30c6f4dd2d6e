"""What the picks of a run say of themselves: drift, a diameter that does not fit, empty micrographs, bad imports."""

from __future__ import annotations

from dataclasses import replace

from cryotx_cli.checks.names import check_run
from cryotx_cli.checks.target import Target
from cryotx_cli.detector.diameter_estimate import SizeCheck
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.memory import release_large_blocks
from cryotx_cli.picking.diagnosis import LOOKED_AT, Run, diagnose
from cryotx_cli.runs.commands import NextCommands
from cryotx_cli.runs.diagnosis import drop_diagnosis, keep_diagnosis, kept_diagnosis, was_looked_at
from cryotx_cli.runs.drift import Drift
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.folder import PickFolder, fingerprint
from cryotx_cli.runs.record import RunRecord
from cryotx_cli.runs.result import PickResult
from cryotx_cli.runs.settled import Settled
from cryotx_cli.runs.verdict import verdict
from cryotx_cli.wording import counted

_CHECKED = 3  # images that the check of what was written looks at


class Remarks:
    """Compares micrographs as they come, and looks at all of them at the end.

    Parameters
    ----------
    folder, settled, record
        Those of the run.
    next_commands
        What to type after it.
    sizes
        Whether a diameter that does not fit the picks is worth a word.
    drift
        Whether micrographs come as they are acquired, so that a change of level means something.
    tell
        Hears all remarks.

    Attributes
    ----------
    settled : Settled
        The settings that the picks are made with now.
    found : FalseDiscovery or None
        What comparing with noise has shown.
    """

    def __init__(
        self,
        folder: PickFolder,
        settled: Settled,
        record: RunRecord,
        next_commands: NextCommands,
        *,
        sizes: bool,
        drift: bool,
        tell: Tell,
    ) -> None:
        self.settled = settled
        self.found: FalseDiscovery | None = None
        self._folder, self._record, self._next, self._tell = folder, record, next_commands, tell
        self._sizes = SizeCheck(settled.diameter) if sizes else None
        self._drift = Drift() if drift else None

    def add(self, result: PickResult) -> None:
        """Take one more micrograph."""
        if result.particles is None:
            return
        if not result.resumed:
            drop_diagnosis(self._folder.path)
        if self._sizes is not None:
            self._sizes.add(result.particles)
        for line in self._drift.add(result.particles) if self._drift is not None else []:
            if not result.resumed:  # the earlier run has said it
                self._tell(Event(line, "warning", result.file.name))

    def look(self, picker: ParticlePicker) -> None:
        """If the picks are few or not what was said, look why; it is told at the end and in the report."""
        picked = [(result.file, row) for result, row, _ in self._record.picked]
        ratio = self._sizes.ratio if self._sizes is not None else None
        run = Run(self.settled, picked, self.found, ratio, self._next)
        if not (picker.compares_with_noise and run.is_suspicious):
            drop_diagnosis(self._folder.path)
            return
        key = fingerprint(picker.fingerprint, [row.key for _, row in picked])
        if not was_looked_at(self._folder.path, key):
            told = "There are few picks, or picks that do not fit --diameter: trying other diameters on"
            self._tell(Event(f"{told} {counted(min(len(picked), LOOKED_AT), 'micrographs')} to see why."))
            release_large_blocks()  # those of the networks that have picked
            try:
                keep_diagnosis(self._folder.path, diagnose(run, picker), key)
            except (CryotxError, OSError):  # no room: the run itself is done, and says what it can
                return

    def at_end(self) -> None:
        """Say what only all picks together show, once the merged files are written."""
        explained = kept_diagnosis(self._folder.path) is not None
        if not explained and self._sizes is not None and (warning := self._sizes.warning()):
            self._tell(Event(warning, "warning"))
        rows = [row for _, row, _ in self._record.picked]
        for event in verdict(rows, self.found, self.settled, self._folder.path):
            self._tell(event)
        self._check_written()

    def _check_written(self) -> None:
        """Read the merged STAR file as an importer would; what may go wrong then is said now."""
        # The pixel size of the picks is the one that counts, whatever the files say.
        targets = [
            replace(Target.of(result.file), pixel_size=particles.pixel_size)
            for result, row, particles in self._record.picked
            if row.picks
        ]
        if not targets:
            return
        try:
            findings = check_run(self._folder.star, targets, self.settled.diameter, _CHECKED, self.settled.config.box)
        except (CryotxError, OSError):  # it could not be written, which is said elsewhere
            return
        for one in findings:
            self._tell(Event(f"Check of {self._folder.star.name}: {one.summary}. {one.advice}", "warning"))
