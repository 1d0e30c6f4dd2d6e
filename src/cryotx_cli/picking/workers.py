"""Whoever picks the micrographs of a run, and what one of them in another process does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import Protocol

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CheckpointError, CryotxError
from cryotx_cli.events import Event
from cryotx_cli.picking.micrograph_work import MicrographWork
from cryotx_cli.runs.jobs import PickJob
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.settled import Settled
from cryotx_cli.version import __version__


@dataclass(frozen=True)
class WorkerSettings:
    """All that a worker has to know besides the micrograph; it is sent to other processes and machines.

    Parameters
    ----------
    settled
        Settings of the run.
    device
        Where the network of the worker runs.
    fingerprint
        That of the picker whose results are wanted.
    micrographs
        How many the report has to have room for.
    picker
        A copy to use instead of loading ``config.weights``.
    version
        Of cryotx, where the run was started.
    """

    settled: Settled
    device: str
    fingerprint: str
    micrographs: int
    picker: ParticlePicker | None = None
    version: str = __version__


@dataclass(frozen=True, eq=False)
class Done:
    """A micrograph whose files are written: its row of the ledger, its picks, and what the user should know of it."""

    row: LedgerRow
    particles: Particles
    events: tuple[Event, ...] = ()


Outcome = Done | CryotxError | OSError
"""What became of a micrograph; errors are those that skip it."""


WAIT_SECONDS = 0.2
"""How long `Workers.receive` waits at most."""


class Workers(Protocol):
    """Whoever picks: micrographs go out, outcomes come back, none is lost."""

    name: str
    """Where they are, in words."""
    reason: str
    """Why there; empty where there was no choice."""

    @property
    def has_room(self) -> bool:
        """Whether sending one more micrograph now keeps them busier."""

    @property
    def under_way(self) -> int:
        """How many micrographs have been sent and not come back."""

    def send(self, job: PickJob) -> None:
        """Give them one more micrograph, which is not under way yet."""

    def receive(self) -> Sequence[tuple[PickJob, Outcome]]:
        """Return what has come back, after a moment's work or a moment's wait; this may be nothing.

        Raises
        ------
        CryotxError
            Nothing more can come: the model cannot be loaded there, or nobody is left to work. Nothing is under way
            any more.
        """

    def cancel(self, at_once: bool = False) -> None:
        """Begin no more micrographs; those that are being worked on still come back, unless it is to be at once."""

    def close(self) -> None:
        """End what has been started for this run."""


class Worker:
    """Does all the work on one micrograph at a time in each of several threads.

    Raises
    ------
    CheckpointError
        The model is not the one that the run was started with.
    CryotxError
        It cannot be loaded.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        config = replace(settings.settled.config, device=settings.device)
        picker = load_picker(config).picker if settings.picker is None else settings.picker
        # Other weights or another version would give other picks, which nobody could tell from the rest.
        if (picker.fingerprint, __version__) != (settings.fingerprint, settings.version):
            raise CheckpointError(
                f"--weights {config.weights}: not the same on all machines, or cryotx is {__version__} on a "
                f"worker and {settings.version} here",
                "Install the same version everywhere, and keep the weights on a file system that all machines share.",
            )
        self._work, self._micrographs = MicrographWork(settings.settled, picker), settings.micrographs
        self._network = Lock()

    def __call__(self, job: PickJob) -> Outcome:
        """Pick one micrograph; what would skip it is returned, not raised."""
        # Other threads read and write meanwhile; the memory that the network takes is that of one micrograph.
        return outcome_of(self._work, job, self._micrographs, self._network)


def outcome_of(
    work: MicrographWork, job: PickJob, micrographs: int, network: AbstractContextManager[object]
) -> Outcome:
    """Do all the work on one micrograph; what would skip it is returned, not raised.

    Parameters
    ----------
    work
        Its steps.
    job
        Which micrograph.
    micrographs
        How many the report has to have room for.
    network
        Is entered while the network runs.
    """
    try:
        read = work.read(job)
        with network:
            picked = work.pick(job, read)
        seconds = work.write(picked, micrographs)
    except (CryotxError, OSError) as error:
        return error
    return Done(picked.row_when_written(seconds), picked.picks.particles, picked.events)


_loading = Lock()
_loaded = lru_cache(maxsize=1)(Worker)  # one: the memory of a worker that other runs use, too, is theirs as well


def pick_one(settings: WorkerSettings, job: PickJob) -> Outcome:
    """Pick one micrograph with a picker that this process loads once.

    Raises
    ------
    CryotxError
        The picker cannot be loaded.
    """
    if settings.picker is not None:
        return Worker(settings)(job)
    with _loading:
        worker = _loaded(settings)
    return worker(job)
