"""The workers of a Dask cluster that is already running."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from cryotx_cli.errors import ConfigError, CryotxError, MicrographError
from cryotx_cli.events import Event, Tell
from cryotx_cli.picking.workers import WAIT_SECONDS, Outcome, WorkerSettings, pick_one
from cryotx_cli.runs.folder import absolute_path
from cryotx_cli.runs.jobs import PickJob
from cryotx_cli.wording import counted

_POLL_SECONDS = 0.02
_AHEAD = 64  # micrographs that wait at the scheduler: a cluster that grows with its load has to see some


@dataclass(frozen=True)
class Connection:
    """A scheduler that has answered.

    Parameters
    ----------
    address
        As the user gave it.
    client
        Its ``distributed.Client``.
    """

    address: str
    client: Any

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell that the connection is lost, for which Dask has many errors."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, (OSError, CancelledError)) and self.client.status == "running":
                raise
            raise CryotxError(
                f"--scheduler {self.address}: the connection to the Dask scheduler is lost",
                "What is finished is kept. The same command goes on with the rest, as soon as there is a scheduler "
                "with workers again, or without --scheduler.",
            ) from error


def connect(address: str) -> Connection:
    """Connect to a cluster that is running.

    Raises
    ------
    ConfigError
        Dask is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f"--scheduler {address}: needs Dask, which is not installed here ({error})",
            "Install it with pip install 'cryotx-cli[cluster]'.",
        ) from error
    try:
        return Connection(address, Client(address, set_as_default=False, name="cryotx-pick"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--scheduler {address}: no Dask scheduler answers there ({error})",
            "Give the address that the scheduler prints when it starts, such as tcp://10.0.0.1:8786.",
        ) from error


class Cluster:
    """The workers of a Dask cluster. They need the same files under the same paths, and the same version of cryotx.

    Dask gives the micrographs of a worker that is lost to another one. One that takes several workers with it (as
    many as Dask's setting ``distributed.scheduler.allowed-failures`` says, and one more) is skipped.

    Parameters
    ----------
    connection
        What `connect` returned; closed by `close`.
    settings
        What the workers need to know.
    tell
        Hears of workers that are lost.

    Raises
    ------
    CryotxError
        The cluster is gone; all methods but `close` raise it, too.
    """

    def __init__(self, connection: Connection, settings: WorkerSettings, tell: Tell) -> None:
        from distributed import as_completed

        self.reason, self._tell = "", tell
        weights = Path(settings.settled.config.weights)
        if weights.is_file():
            settings = replace(settings, settled=settings.settled.changed(weights=str(absolute_path(weights))))
        self._connection, self._client, self._settings = connection, connection.client, settings
        self._returning = as_completed(loop=self._client.loop, raise_errors=False)
        self._run = f"cryotx-pick-{uuid.uuid4().hex}"  # Dask knows work by its name, and would not do it twice
        self._sent: dict[str, tuple[PickJob, Any]] = {}
        self._numbers = count()  # a micrograph that is replaced is sent again
        self._lost_workers: deque[str] = deque()
        with connection.watched():
            workers = len(self._client.nthreads())
            self._client.subscribe_topic("all", self._see_event)
        self.name = f"{counted(workers, 'workers')} of {connection.address}"

    @property
    def has_room(self) -> bool:
        """Whether workers might become idle otherwise."""
        with self._connection.watched():
            threads: int = sum(self._client.nthreads().values())
        return self.under_way < _AHEAD + 2 * threads

    @property
    def under_way(self) -> int:
        """How many micrographs have been sent and not come back."""
        return len(self._sent)

    def send(self, job: PickJob) -> None:
        """Give one micrograph to the scheduler."""
        key = f"{self._run}-{next(self._numbers)}"
        with self._connection.watched():
            future = self._client.submit(pick_one, self._settings, _with_absolute_paths(job), key=key)
        self._sent[key] = job, future
        self._returning.add(future)

    def receive(self) -> list[tuple[PickJob, Outcome]]:
        """Return what has come back, after waiting for it a moment.

        Raises
        ------
        CryotxError
            The model cannot be loaded on a worker, or the cluster is gone.
        """
        until = time.monotonic() + WAIT_SECONDS
        while not self._returning.has_ready() and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        try:
            done = self._come_back(next(self._returning)) if self._returning.has_ready() else []
        except Exception:
            self._sent.clear()
            raise
        while self._lost_workers:
            address = self._lost_workers.popleft()
            self._tell(Event(f"The worker at {address} is lost; what it was at is picked again.", "warning"))
        return done

    def cancel(self, at_once: bool = False) -> None:
        """Take back what no worker has been given yet, or everything."""
        if not self._sent:
            return
        with self._connection.watched():
            assigned = {key for keys in self._client.processing().values() for key in keys}
        for key, (_, future) in list(self._sent.items()):
            if at_once or (key not in assigned and not future.done()):
                future.cancel()
                del self._sent[key]

    def close(self) -> None:
        """Leave the cluster, which goes on running."""
        log = logging.getLogger("distributed.client")
        log.disabled = True  # it shows where it is interrupted while it tries to connect again
        try:
            self._client.close()
        finally:
            log.disabled = False

    def _come_back(self, future: Any) -> list[tuple[PickJob, Outcome]]:
        if future.key not in self._sent:  # it has been cancelled
            return []
        if future.status in ("lost", "pending"):  # its worker died before it could tell: Dask does it again
            self._returning.add(future)
            return []
        job, _ = self._sent[future.key]
        outcome = self._outcome(job, future)
        del self._sent[future.key]
        return [(job, outcome)]

    def _outcome(self, job: PickJob, future: Any) -> Outcome:
        from distributed import KilledWorker

        with self._connection.watched():
            error = future.exception()
            if error is None:
                outcome: Outcome = future.result()
                return _with_given_paths(outcome, job)
        if isinstance(error, KilledWorker):
            reason = f"{job.file.path}: {error.allowed_failures + 1} workers were lost over it"
            return MicrographError(reason, "Is the file damaged, or the memory of a worker too small?")
        if isinstance(error, ImportError):
            raise CryotxError(
                f"--scheduler {self._connection.address}: cryotx is not installed on its workers ({error})",
                "Start scheduler and workers in an environment with the same version of cryotx-cli[cluster].",
            ) from error
        raise error

    def _see_event(self, event: tuple[float, Any]) -> None:
        """Note a worker that has left with micrographs of this run; runs in Dask's thread."""
        _, what = event
        if isinstance(what, dict) and what.get("action") == "remove-worker":
            keys = (*what["processing-tasks"], *what["lost-computed-tasks"])
            if any(str(key).startswith(self._run) for key in keys):
                self._lost_workers.append(what["worker"])


def _with_absolute_paths(job: PickJob) -> PickJob:
    """Return the same micrograph for a process that runs in another folder."""
    outputs = job.outputs
    absolute = replace(
        outputs,
        candidates=absolute_path(outputs.candidates),
        decoy=absolute_path(outputs.decoy),
        crops=absolute_path(outputs.crops),
        png=absolute_path(outputs.png),
        thumbnail=absolute_path(outputs.thumbnail),
        coordinates={one: absolute_path(path) for one, path in outputs.coordinates.items()},
    )
    return replace(job, file=replace(job.file, path=absolute_path(job.file.path)), outputs=absolute)


def _with_given_paths(outcome: Outcome, job: PickJob) -> Outcome:
    """Let an error name its file as the user did: reasons are the same wherever a micrograph was picked."""
    if not isinstance(outcome, CryotxError):
        return outcome
    message, outputs = outcome.message, job.outputs
    for path in (job.file.path, outputs.candidates, outputs.png, outputs.thumbnail, *outputs.coordinates.values()):
        message = message.replace(str(absolute_path(path)), str(path))
    return type(outcome)(message, outcome.hint)
