"""Micrographs that may be compared with noise, and where what is known of them is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.micrographs.unread import open_micrograph
from cryotx_cli.runs.candidates import Candidates, read_candidates, write_candidates
from cryotx_cli.runs.jobs import PickJob, stored_candidates
from cryotx_cli.runs.settled import Settled


class Subject(Protocol):
    """A micrograph that may be compared with noise, and what is known of it already."""

    @property
    def name(self) -> str:
        """Decides, with the defocus, which ones are compared."""

    @property
    def defocus(self) -> float | None:
        """Å of underfocus."""

    @property
    def key(self) -> str:
        """Changes with its pixels and with all that its candidates depend on."""

    def read(self) -> Micrograph:
        """Return it, as it was recorded; it may be an `UnreadMicrograph`."""

    @property
    def candidates(self) -> Candidates | None:
        """What the network has proposed; None if it has not seen it."""

    @property
    def decoys(self) -> Candidates | None:
        """What the network has proposed in its decoys."""

    def keep(self, candidates: Candidates | None, decoys: Candidates | None) -> None:
        """Keep what the network has proposed now; None is what was there."""

    def forget_decoys(self) -> None:
        """Keep nothing of its decoys: it is not among those that are compared now."""


@dataclass(frozen=True)
class OfRun:
    """A micrograph of a run: its candidates and those of its decoys are in files."""

    job: PickJob
    settled: Settled

    @property
    def name(self) -> str:  # noqa: D102
        return self.job.file.name

    @property
    def defocus(self) -> float | None:  # noqa: D102
        return self.job.file.defocus

    @property
    def key(self) -> str:  # noqa: D102
        return self.job.candidates_key

    def read(self) -> Micrograph:  # noqa: D102
        return open_micrograph(self.job.file, self.settled.config.pixel_size)

    @property
    def candidates(self) -> Candidates | None:  # noqa: D102
        return stored_candidates(self.job, self.settled)

    @property
    def decoys(self) -> Candidates | None:  # noqa: D102
        return read_candidates(self.job.outputs.decoy, self.job.decoy_key)

    def keep(self, candidates: Candidates | None, decoys: Candidates | None) -> None:  # noqa: D102
        if candidates is not None:
            write_candidates(self.job.outputs.candidates, candidates, self.job.candidates_key)
        if decoys is not None:
            write_candidates(self.job.outputs.decoy, decoys, self.job.decoy_key)

    def forget_decoys(self) -> None:  # noqa: D102
        self.job.outputs.decoy.unlink(missing_ok=True)
