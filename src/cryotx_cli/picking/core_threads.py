"""Threads of this process, one for each core of the processor, each of which works on a micrograph of its own."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from pathlib import Path

from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.memory import release_large_blocks
from cryotx_cli.picking.micrograph_work import MicrographWork
from cryotx_cli.picking.workers import WAIT_SECONDS, Outcome, WorkerSettings, outcome_of
from cryotx_cli.processor import free_memory
from cryotx_cli.runs.jobs import PickJob

_EACH = 1 << 30  # bytes of free memory for a micrograph in work; one of 8192 x 8192 px takes half of it
_AHEAD = 1 << 21  # bytes: of more at a time Linux may forget the rest


def cores_for(picker: ParticlePicker) -> int:
    """Return how many micrographs are worked on at a time: one for each thread to calculate with, if memory allows."""
    if not picker.locates_at_once:
        return 1
    import torch

    cores, free = torch.get_num_threads(), free_memory()
    return cores if free is None else max(1, min(cores, free // _EACH))


class CorePool(ThreadPoolExecutor):
    """So many threads, in each of which a network runs in that thread alone.

    Two threads of one network wait for each other in each of its layers: on two cores, two micrographs with a thread
    each take a quarter less time than one after the other with two threads. And a sum is added up in the same order
    whatever the number of cores, so that picks are the same to the last bit.
    """

    def __init__(self, cores: int) -> None:
        import torch

        release_large_blocks()
        self._torch_threads = torch.get_num_threads()
        super().__init__(cores, initializer=_calculate_alone)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; those that the program begins later calculate with as many as before."""
        import torch

        super().shutdown(wait, cancel_futures=cancel_futures)
        # What a thread of the pool has set for itself holds for every new thread of the process, too.
        torch.set_num_threads(self._torch_threads)


def _calculate_alone() -> None:
    import torch

    torch.set_num_threads(1)


class CoreThreads:
    """Threads of this process that read, pick and write; micrographs come back in the order in which they were sent.

    In memory is one micrograph for each core; the system is told which files come next, lest a core waits for a disk.

    Parameters
    ----------
    settings
        What they need to know; its picker is of no account.
    picker
        The one to use, which `locates_at_once`.
    reason
        Why it runs where it runs.
    """

    def __init__(self, settings: WorkerSettings, picker: ParticlePicker, reason: str) -> None:
        self.name, self.reason = str(picker.device), reason
        self._work, self._micrographs = MicrographWork(settings.settled, picker), settings.micrographs
        self._cores = cores_for(picker)
        self._pool = CorePool(self._cores)
        self._sent: deque[tuple[PickJob, Future[Outcome]]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether a core might become idle otherwise."""
        return len(self._unfinished) < 2 * self._cores

    @property
    def under_way(self) -> int:
        """How many micrographs have been sent and not come back."""
        return len(self._sent)

    def send(self, job: PickJob) -> None:
        """Have one more micrograph picked."""
        if len(self._unfinished) >= self._cores:
            _read_ahead(job.file.path)
        self._sent.append((job, self._pool.submit(outcome_of, self._work, job, self._micrographs, nullcontext())))

    def receive(self) -> list[tuple[PickJob, Outcome]]:
        """Return what is done; wait a moment if the next one is not."""
        if self._sent and not self._sent[0][1].done():
            wait(self._unfinished, WAIT_SECONDS, FIRST_COMPLETED)
        done = []
        while self._sent and self._sent[0][1].done():
            job, outcome = self._sent.popleft()
            done.append((job, outcome.result()))
        return done

    def cancel(self, at_once: bool = False) -> None:
        """Forget what nobody has begun; what is being worked on still comes back, for it takes a moment."""
        self._sent = deque((job, outcome) for job, outcome in self._sent if not outcome.cancel())

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)
        release_large_blocks()  # at its end a process has all of PyTorch in memory

    @property
    def _unfinished(self) -> list[Future[Outcome]]:
        return [outcome for _, outcome in self._sent if not outcome.done()]


def _read_ahead(path: Path) -> None:
    """Ask the system to have a file in memory when it is read; whoever reads it says what is wrong with it."""
    if not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # the other end of a pipe may never come
        try:
            for start in range(0, os.fstat(file).st_size, _AHEAD):
                os.posix_fadvise(file, start, _AHEAD, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(file)
