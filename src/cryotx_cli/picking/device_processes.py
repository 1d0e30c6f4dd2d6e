"""One process for each device of this machine."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Lock

from cryotx_cli.errors import CryotxError, DeviceError, MicrographError
from cryotx_cli.events import Event, Tell
from cryotx_cli.picking.micrograph_work import threads_beside
from cryotx_cli.picking.workers import WAIT_SECONDS, Outcome, Worker, WorkerSettings
from cryotx_cli.runs.jobs import PickJob
from cryotx_cli.wording import counted

_LOSSES = 3  # processes that a micrograph may take with it before it is skipped

_Answer = tuple[int, Outcome] | CryotxError | str | None
"""What a process sends: a micrograph by its index, why it cannot go on, or None as soon as it has loaded its model."""


@dataclass(eq=False)
class _Process:
    device: str
    process: BaseProcess
    connection: Connection
    jobs: dict[int, PickJob] = field(default_factory=dict)
    is_ready: bool = False


class DeviceProcesses:
    """One process for each device of this machine; a process that dies is replaced and its micrographs picked again.

    Parameters
    ----------
    devices
        Names such as ``cpu`` or ``cuda:1``; one that is named twice gets two processes.
    settings
        What they need to know; its device is of no account.
    tell
        Hears of processes that die.
    """

    def __init__(self, devices: Sequence[str], settings: WorkerSettings, tell: Tell) -> None:
        self.name, self.reason = ", ".join(devices), ""
        self._tell = tell
        self._settings, self._count = settings, len(devices)
        self._processes: list[_Process] = []
        self._idle_devices = deque(devices)  # without a process
        self._lost: deque[PickJob] = deque()  # to be picked again
        self._losses: Counter[int] = Counter()
        self._given_up: list[tuple[PickJob, Outcome]] = []

    @property
    def has_room(self) -> bool:
        """Whether a process would be idle otherwise."""
        return not self._lost and any(self._room(one) for one in self._running())

    @property
    def under_way(self) -> int:
        """How many micrographs have been sent and not come back."""
        return sum(len(one.jobs) for one in self._processes) + len(self._lost) + len(self._given_up)

    def send(self, job: PickJob) -> None:
        """Give one micrograph to the process that has the fewest."""
        self._give(job, max(self._running(), key=self._room))

    def receive(self) -> list[tuple[PickJob, Outcome]]:
        """Return what has come back, after waiting for it a moment.

        Raises
        ------
        CryotxError
            The model cannot be loaded, or no process stays alive until it is.
        """
        try:
            self._send_lost()
            connections = {one.connection: one for one in self._processes}
            done: list[tuple[PickJob, Outcome]] = []
            for connection in wait(list(connections), WAIT_SECONDS):
                done += self._receive_from(connections[connection])  # type: ignore[index]
        except Exception:
            self._forget()
            raise
        done, self._given_up = done + self._given_up, []
        return done

    def cancel(self, at_once: bool = False) -> None:
        """Pick nothing again; the rest is being worked on, and ends with its process if it is to be at once."""
        self._lost.clear()
        if at_once:
            self._forget()
            for one in self._processes:
                one.process.kill()

    def close(self) -> None:
        """End the processes; they finish what they are at."""
        for one in self._processes:
            one.connection.close()
        for one in self._processes:
            one.process.join()

    def _forget(self) -> None:
        self._lost.clear()
        self._given_up.clear()
        for one in self._processes:
            one.jobs.clear()

    def _running(self) -> list[_Process]:
        """Return the processes, after starting those that are missing."""
        while self._idle_devices:
            self._processes.append(self._start(self._idle_devices.popleft()))
        return self._processes

    def _start(self, device: str) -> _Process:
        # Forking a process that holds a GPU, or threads, does not work.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        settings = replace(self._settings, device=device)
        process = context.Process(target=_serve, args=(there, settings, self._count), daemon=True)
        process.start()
        there.close()  # or its end would not be noticed here when the process dies
        return _Process(device, process, here)

    def _room(self, one: _Process) -> int:
        # What may have killed a process is alone in the next one, so that nothing else can be blamed.
        return 0 if any(self._losses[index] for index in one.jobs) else _at_once(one.device) - len(one.jobs)

    def _give(self, job: PickJob, one: _Process) -> None:
        one.jobs[job.index] = job
        try:
            one.connection.send(job)
        except OSError:  # it has just died, which receiving from it will show
            return

    def _send_lost(self) -> None:
        for one in self._running():
            if self._lost and not one.jobs:
                self._give(self._lost.popleft(), one)

    def _receive_from(self, one: _Process) -> list[tuple[PickJob, Outcome]]:
        try:
            answer: _Answer = one.connection.recv()
        except (EOFError, OSError):
            self._bury(one)
            return []
        if answer is None:
            one.is_ready = True
            return []
        if isinstance(answer, CryotxError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"the process on {one.device} failed:\n{answer}")
        index, outcome = answer
        self._losses.pop(index, None)
        return [(one.jobs.pop(index), outcome)]

    def _bury(self, one: _Process) -> None:
        """Take the micrographs of a dead process back."""
        one.process.join()
        one.connection.close()
        self._processes.remove(one)
        code = one.process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if one.is_ready:
            self._idle_devices.append(one.device)
            theirs, are = counted(len(one.jobs), "micrographs"), "is" if len(one.jobs) == 1 else "are"
            again = f"its {theirs} {are} picked again" if one.jobs else "there is a new one"
            self._tell(Event(f"The process on {one.device} has died ({how}); {again}.", "warning"))
        elif self._processes:
            text = f"The process on {one.device} died while it loaded the model ({how}): left out."
            self._tell(Event(text, "warning"))
        else:
            raise DeviceError(
                f"--device {one.device}: the process there died while it loaded the model ({how})",
                "Is there memory enough? Give fewer devices, or others.",
            )
        for index, job in one.jobs.items():
            self._losses[index] += one.is_ready
            if self._losses[index] < _LOSSES:
                self._lost.append(job)
            else:
                reason = f"{job.file.path}: {_LOSSES} processes have died over it, the last by {how}"
                self._given_up.append((job, MicrographError(reason, "Is the file damaged, or the memory too small?")))


def _at_once(device: str) -> int:
    """Micrographs in a process: those that are read, one in the network, one that is written."""
    return threads_beside(device).readers + 2


def _serve(connection: Connection, settings: WorkerSettings, processes: int) -> None:
    """Pick what comes over the connection until it is closed at the other end."""
    # Ctrl-C reaches every process of a terminal, a SIGTERM of SLURM or systemd every process of a job: the one that
    # started this one decides when to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if settings.picker is None and settings.device == "cpu":
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    sending = Lock()

    def send(answer: _Answer) -> None:
        with sending, suppress(OSError):  # the other end has been closed: nobody wants it any more
            connection.send(answer)

    try:
        worker = Worker(settings)
    except CryotxError as error:
        send(error)
        return
    send(None)

    def pick(job: PickJob) -> None:
        try:
            send((job.index, worker(job)))
        except Exception:
            send(traceback.format_exc())

    with ThreadPoolExecutor(_at_once(settings.device)) as threads:
        while True:
            try:
                threads.submit(pick, connection.recv())
            except (EOFError, OSError):  # the other end is closed, or its process is gone
                return
