"""The threads of this process, which read, prepare and write beside the one network."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CryotxError
from cryotx_cli.picking.micrograph_work import MicrographWork, PickedMicrograph, ReadMicrograph, threads_beside
from cryotx_cli.picking.workers import Done, Outcome, WorkerSettings
from cryotx_cli.runs.jobs import PickJob


class LocalThreads:
    """Threads of this process; micrographs come back in the order in which they were sent.

    The network runs in the thread that receives: an interrupt ends it at once, and a processor is not shared by the
    threads of several networks. In memory are the micrographs read ahead, one more than there are readers, one in the
    network and those being written.

    Parameters
    ----------
    settings
        What they need to know; its picker is of no account.
    picker
        The one to use.
    reason
        Why it runs where it runs.
    """

    def __init__(self, settings: WorkerSettings, picker: ParticlePicker, reason: str) -> None:
        self.name, self.reason = str(picker.device), reason
        self._work, self._micrographs = MicrographWork(settings.settled, picker), settings.micrographs
        self._threads = threads_beside(picker.device)
        self._readers = ThreadPoolExecutor(self._threads.readers)
        self._writers = ThreadPoolExecutor(self._threads.writers)
        self._reading: deque[tuple[PickJob, Future[ReadMicrograph]]] = deque()
        self._writing: deque[tuple[PickedMicrograph, Future[float]]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether readers might become idle otherwise."""
        return len(self._reading) <= self._threads.readers

    @property
    def under_way(self) -> int:
        """How many micrographs have been sent and not come back."""
        return len(self._reading) + len(self._writing)

    def send(self, job: PickJob) -> None:
        """Have one more micrograph read."""
        self._reading.append((job, self._readers.submit(self._work.read, job)))

    def receive(self) -> list[tuple[PickJob, Outcome]]:
        """Return what is written; if nothing is, run the network on the next micrograph."""
        done: list[tuple[PickJob, Outcome]] = []
        while self._writing and (
            not self._reading or len(self._writing) > self._threads.writers or self._writing[0][1].done()
        ):
            picked, written = self._writing.popleft()
            done.append((picked.job, _outcome(picked, written)))
        if done or not self._reading:
            return done
        job, reading = self._reading.popleft()
        try:
            picked = self._work.pick(job, reading.result())
        except (CryotxError, OSError) as error:
            return [(job, error)]
        self._writing.append((picked, self._writers.submit(self._work.write, picked, self._micrographs)))
        return []

    def cancel(self, at_once: bool = False) -> None:
        """Forget what has only been read; what the network has seen still comes back, for writing it takes no time."""
        for _, reading in self._reading:
            reading.cancel()
        self._reading.clear()

    def close(self) -> None:
        """End the threads."""
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown()


def _outcome(picked: PickedMicrograph, written: Future[float]) -> Outcome:
    try:
        return Done(picked.row_when_written(written.result()), picked.picks.particles, picked.events)
    except (CryotxError, OSError) as error:
        return error
