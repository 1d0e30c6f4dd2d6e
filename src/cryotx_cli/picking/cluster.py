"""The workers of a Dask cluster that is already running."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryotx_cli.data.pick_folder import absolute_path
from cryotx_cli.data.pick_jobs import PickJob
from cryotx_cli.errors import ConfigError, CryotxError, MicrographError
from cryotx_cli.picking.workers import Outcome, WorkerSettings, pick_one

_AHEAD = 64  # micrographs that wait at the scheduler: a cluster that grows with its load has to see some


def connect(address: str) -> Any:
    """Return a ``distributed.Client`` of a running cluster.

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
        return Client(address, set_as_default=False, name="cryotx-pick")
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
    client
        What `connect` returned; closed by `close`.
    settings
        What the workers need to know.
    """

    def __init__(self, client: Any, settings: WorkerSettings) -> None:
        from distributed import as_completed

        count = len(client.nthreads())
        self.name = f"{count} worker{'s' * (count != 1)} of {client.scheduler.address}"
        self.messages: list[str] = []
        weights = Path(settings.config.weights)
        if weights.is_file():
            settings = replace(settings, config=replace(settings.config, weights=str(absolute_path(weights))))
        self._client, self._settings = client, settings
        self._returning = as_completed(loop=client.loop, raise_errors=False)
        self._run = f"cryotx-pick-{uuid.uuid4().hex}"  # Dask knows work by its name, and would not do it twice
        self._sent: dict[str, tuple[PickJob, Any]] = {}

    @property
    def has_room(self) -> bool:
        """Whether workers might become idle otherwise."""
        threads: int = sum(self._client.nthreads().values())
        return self.under_way < _AHEAD + 2 * threads

    @property
    def under_way(self) -> int:
        """How many micrographs have been sent and not come back."""
        return len(self._sent)

    def send(self, job: PickJob) -> None:
        """Give one micrograph to the scheduler."""
        key = f"{self._run}-{job.index}"
        future = self._client.submit(pick_one, self._settings, _with_absolute_paths(job), key=key)
        self._sent[key] = job, future
        self._returning.add(future)

    def receive(self) -> list[tuple[PickJob, Outcome]]:
        """Wait for at least one micrograph to come back.

        Raises
        ------
        CryotxError
            The model cannot be loaded on a worker, or the cluster is gone.
        """
        for future in self._returning:
            if future.key not in self._sent:  # it has been cancelled
                continue
            if future.status in ("lost", "pending"):  # its worker died before it could tell: Dask does it again
                self._returning.add(future)
                continue
            job, _ = self._sent[future.key]
            outcome = self._outcome(job, future)
            del self._sent[future.key]
            return [(job, outcome)]
        return []

    def cancel(self) -> None:
        """Take back what no worker has been given yet."""
        assigned = {key for keys in self._client.processing().values() for key in keys}
        for key, (_, future) in list(self._sent.items()):
            if key not in assigned and not future.done():
                future.cancel()
                del self._sent[key]

    def close(self) -> None:
        """Leave the cluster, which goes on running."""
        self._client.close()

    def _outcome(self, job: PickJob, future: Any) -> Outcome:
        from distributed import KilledWorker

        address = self._client.scheduler.address
        if future.cancelled():
            raise CryotxError(
                f"--scheduler {address}: the connection is lost", "The same command goes on with what is missing."
            )
        error = future.exception()
        if error is None:
            outcome: Outcome = future.result()
            return _with_given_paths(outcome, job)
        if isinstance(error, KilledWorker):
            reason = f"{job.file.path}: {error.allowed_failures + 1} workers were lost over it"
            return MicrographError(reason, "Is the file damaged, or the memory of a worker too small?")
        if isinstance(error, ImportError):
            raise CryotxError(
                f"--scheduler {address}: cryotx is not installed on its workers ({error})",
                "Start scheduler and workers in an environment with the same version of cryotx-cli[cluster].",
            ) from error
        raise error


def _with_absolute_paths(job: PickJob) -> PickJob:
    """Return the same micrograph for a process that runs in another folder."""
    outputs = job.outputs
    absolute = replace(
        outputs,
        candidates=absolute_path(outputs.candidates),
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
