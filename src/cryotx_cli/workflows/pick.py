"""Pick particles in many micrographs: read, find, choose, write, and carry on where a stopped run left off."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryotx_cli.checks.names import check_run
from cryotx_cli.checks.target import Target
from cryotx_cli.config import PickConfig, device_names
from cryotx_cli.coordinates.formats.cryosparc import exposures_of
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.table import require_names
from cryotx_cli.detector.diameter_estimate import (
    SAMPLE,
    DiameterEstimate,
    SizeCheck,
    estimate_diameter,
    is_inverted,
    keep_estimate,
    kept_estimate,
)
from cryotx_cli.detector.load_picker import LoadedPicker, load_picker
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CryotxError, MicrographError
from cryotx_cli.micrographs.find import Inputs
from cryotx_cli.micrographs.micrograph import MicrographFile, find_micrographs
from cryotx_cli.picking.cluster import Cluster, connect
from cryotx_cli.picking.device_processes import DeviceProcesses
from cryotx_cli.picking.micrograph_work import MicrographWork, PickedMicrograph, ReadMicrograph, threads_beside
from cryotx_cli.picking.workers import Done, Workers, WorkerSettings
from cryotx_cli.report.gallery import GALLERY_SIZE
from cryotx_cli.report.run_report import write_run_report
from cryotx_cli.runs.arrivals import IDLE_SECONDS, Arrivals
from cryotx_cli.runs.drift import Drift
from cryotx_cli.runs.folder import (
    LedgerRow,
    PickFolder,
    check_star_name,
    fingerprint,
    remove_picks,
    without_own_pictures,
)
from cryotx_cli.runs.jobs import PickJob, PickJobs, earlier_row
from cryotx_cli.runs.refreshed import Refreshed
from cryotx_cli.runs.result import PickResult, PickSummary
from cryotx_cli.runs.selection import ExpectedF1
from cryotx_cli.runs.settled import Settled, settle
from cryotx_cli.runs.stored import StoredRun

_CHECKED = 3  # images that the check of what was written looks at
_BRIGHT = (
    "Particles are bright in these micrographs: they seem to be inverted, and are picked as such (--contrast bright; "
    "--contrast dark if that is wrong)."
)
_MERGE_SECONDS, _REPORT_SECONDS = 5.0, 60.0  # between two writings of what shows all micrographs, while watching


def start_pick(inputs: Inputs, out: str | Path, config: PickConfig, picker: ParticlePicker | None = None) -> PickRun:
    """Prepare a run: what can go wrong before the first micrograph goes wrong here.

    Parameters
    ----------
    inputs
        Files, folders, globs or a micrographs STAR file.
    out
        Merged STAR file to write; a folder of the same name without the suffix holds everything else.
    config
        Settings. With ``watch`` and ``diameter = "auto"`` this waits for the first ten micrographs.
    picker
        Use this one instead of loading ``config.weights`` on ``config.device``; other processes get copies of it.

    Returns
    -------
    PickRun
        Iterate over it to do the work.

    Raises
    ------
    ConfigError
        `out` is not a STAR file that may be written, or no Dask scheduler answers at the address.
    MicrographError
        No micrograph is found, or none can be read to estimate the diameter.
    ParticleFileError
        The exposures do not fit, or a format that is asked for cannot tell two of the micrographs apart.
    CheckpointError, DeviceError
        The model cannot be loaded.
    CryotxError
        The output folder cannot be written.
    """
    out = Path(out)
    check_star_name(out, inputs)
    arrivals = Arrivals(inputs, out) if config.watch else None
    files = arrivals.files if arrivals else without_own_pictures(find_micrographs(inputs), out)
    names = [file.name for file in files]
    require_names(names, config.formats)
    exposures = exposures_of(config.exposures, names) if config.exposures else {}
    folder = PickFolder(out)
    folder.remove_unfinished()
    folder.stop.unlink(missing_ok=True)
    messages = _without_exposure(config, names, exposures)
    client = connect(config.scheduler) if config.scheduler is not None else None
    loaded = load_picker(config) if picker is None else LoadedPicker(picker, config, (), "")
    estimates: list[DiameterEstimate] = []

    def estimate() -> float:
        estimates.append(_estimate(folder, files, arrivals, loaded))
        return estimates[0].value

    def is_bright(diameter: float) -> bool:
        # A session that has just begun has nothing to judge by; its files come from the microscope, unchanged.
        bright = arrivals is None and is_inverted(files, config.pixel_size, loaded.picker, diameter)
        messages.extend([_BRIGHT] if bright else [])
        return bright

    settled = settle(loaded.config, estimate, is_bright)
    settings = WorkerSettings(settled, config.device, loaded.picker.fingerprint, len(files), picker)
    workers = _workers(client, settings)
    run = PickRun(arrivals or files, folder, settled, loaded.picker, exposures, workers, config.stop_after)
    run.estimate = estimates[0] if estimates else None
    run.device_reason = loaded.device_reason if workers is None else ""
    run.messages[:0] = [*messages, *(event.text for event in loaded.events)]
    return run


class PickRun:
    """One run of picking: iterate over it once to do the work.

    Iterating yields a `PickResult` for each micrograph as soon as its files are written, first those that an earlier
    run finished. A micrograph that fails is reported and the rest goes on. The merged STAR file is written when the
    loop ends, also when it is left early or interrupted; it then holds what is done, in the order of the input.

    A run that watches its inputs goes on until `stop` is called, the stop file appears, ``stop_after`` seconds have
    passed without a new micrograph, or it is interrupted. Meanwhile it yields a micrograph again if somebody replaces
    its file, and writes the merged STAR file every few seconds if there is something new.

    At its end the loop raises `MicrographError` if not one micrograph could be picked, and `CryotxError` if the merged
    STAR file cannot be written.

    Attributes
    ----------
    device, device_reason : str
        Where the network runs, and why there; the reason is empty where the picker was brought along.
    diameter : float
        Particle diameter in Å, as given or as estimated.
    estimate : DiameterEstimate or None
        How it was estimated.
    scales_to_diameter : bool
        Whether the network sees micrographs at a scale that follows from the diameter.
    messages : list of str
        What the user should know; more are added during the work. Who shows them may take them out.
    stop_file : Path
        Making this file ends a run that watches.
    """

    def __init__(
        self,
        source: Sequence[MicrographFile] | Arrivals,
        folder: PickFolder,
        settled: Settled,
        picker: ParticlePicker,
        exposures: Mapping[str, Exposure],
        workers: Workers | None = None,
        stop_after: float | None = None,
    ) -> None:
        self.device, self.device_reason = str(picker.device) if workers is None else workers.name, ""
        self.diameter = settled.diameter
        self.estimate: DiameterEstimate | None = None
        self.scales_to_diameter = picker.scales_to_diameter
        self.messages: list[str] = []
        self.stop_file = folder.stop
        self._folder, self._settled, self._config, self._exposures = folder, settled, settled.config, exposures
        self._stop_after = stop_after
        self._steps, self._workers = MicrographWork(settled, picker), workers
        self._threads = threads_beside(picker.device)
        self._plan = PickJobs(folder, settled, picker.fingerprint)
        self._results: dict[int, tuple[PickResult, LedgerRow]] = {}
        self._first_error: CryotxError | OSError | None = None
        self._started = time.perf_counter()
        self._seconds = 0.0
        self._left = 0
        self._stopped = self._idle = False
        self._drift, self._sizes = Drift(), SizeCheck(settled.diameter)
        self._merged = Refreshed(self._write_merged, _MERGE_SECONDS)
        self._report = Refreshed(self._write_report, _REPORT_SECONDS)
        self._arrivals = source if isinstance(source, Arrivals) else None
        if isinstance(source, Arrivals):
            self._jobs = [self._plan.arrived(file, source.folders) for file in source.files]
        else:
            self._jobs = self._plan.plan(source)
        settled.save(folder.config)
        self._take_up_earlier_run()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[PickResult]:
        self._started = time.perf_counter()
        readers, writers = ThreadPoolExecutor(self._threads.readers), ThreadPoolExecutor(self._threads.writers)
        writing: deque[tuple[PickedMicrograph, Future[float]]] = deque()
        try:
            for result, _ in list(self._results.values()):
                self._follow(result)
                yield result
            try:
                if self._workers is None:
                    yield from self._work(readers, writers, writing)
                else:
                    yield from self._work_elsewhere(self._workers)
            except KeyboardInterrupt:
                if self._arrivals is None:
                    raise
            yield from self._leave_off()
        finally:
            readers.shutdown(cancel_futures=True)
            while writing:
                self._finish(*writing.popleft())
            writers.shutdown()
            self._end()
        if not self.summary.micrographs and self._first_error is not None:
            raise self._nothing_picked()

    def stop(self) -> None:
        """End a run that watches as soon as what is in the network is written; may be called from a signal handler."""
        self._stopped = True

    @property
    def is_idle(self) -> bool:
        """Whether everything that has become whole so far is picked."""
        return self._idle

    @property
    def waiting(self) -> int:
        """How many micrographs are there but not whole, or not yet known to be."""
        return self._arrivals.waiting if self._arrivals else 0

    @property
    def summary(self) -> PickSummary:
        """What the run has done so far; complete once the loop has ended."""
        done = [(result, row) for result, row in self._results.values() if result.particles is not None]
        return PickSummary(
            micrographs=len(done),
            particles=sum(row.picks for _, row in done),
            resumed=sum(result.resumed for result, _ in done),
            edge=sum(row.edge for _, row in done),
            distance=sum(row.distance for _, row in done),
            skipped=tuple(result for result, _ in self._in_order() if result.error is not None),
            left=self._left,
            seconds=self._seconds,
            star=self._folder.star,
            folder=self._folder.path,
            report=self._folder.report if self._config.report and done else None,
        )

    # ---- before the work ---------------------------------------------------------------------------------------------

    def _take_up_earlier_run(self) -> None:
        """Keep the micrographs that an earlier run finished with the same settings; begin the ledger with them."""
        rows = {} if self._config.restart else self._folder.read_ledger()
        changed = 0
        for job in self._jobs:
            row = rows.get(job.file.name)
            if row is None or row.error is not None:
                continue
            particles = self._plan.finished_earlier(job) if row.key == job.picks_key else None
            if particles is not None:
                self._keep(job, PickResult(job.file, particles, None, 0.0, resumed=True), earlier_row(job, row))
                if self._arrivals is not None:
                    self._arrivals.take(job.file)
            changed += row.key != job.picks_key
        if self._results:
            self.messages.append(
                f"An earlier run finished {len(self._results)} of {len(self)} micrographs; they are kept."
            )
        if changed:
            self.messages.append(
                f"Settings, weights or files have changed since an earlier run: {changed} micrographs are picked anew."
            )
        self._folder.start_ledger(row for _, row in self._results.values())

    # ---- which micrographs -------------------------------------------------------------------------------------------

    def _to_do(self) -> Iterator[PickJob | None]:
        """Yield what has to be picked; None where there is nothing now and something may come."""
        if self._arrivals is None:
            yield from [job for job in self._jobs if job.index not in self._results]
            return
        while not self._is_told_to_stop() and not self._arrivals.is_silent(self._stop_after):
            for file in self._arrivals.look():
                if self._is_told_to_stop():
                    return
                job = self._plan.arrived(file, self._arrivals.folders)
                if job.index >= len(self._jobs):
                    self._jobs.append(job)
                yield job
            yield None

    def _is_told_to_stop(self) -> bool:
        self._stopped = self._stopped or self._folder.stop.exists()
        return self._stopped

    def _leave_off(self) -> Iterator[PickResult]:
        """Report what never became whole."""
        if self._arrivals is None:
            return
        for file, error in self._arrivals.incomplete():
            if file.path not in self._paths():
                yield self._skip(self._plan.arrived(file, self._arrivals.folders), error)

    def _paths(self) -> set[Path]:
        return {result.file.path for result, _ in self._results.values()}

    # ---- one micrograph ----------------------------------------------------------------------------------------------

    def _work(
        self,
        readers: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
        writing: deque[tuple[PickedMicrograph, Future[float]]],
    ) -> Iterator[PickResult]:
        # In memory are those read ahead, one more than there are readers, one in the network and those being written.
        for ready in _read_ahead(readers, self._to_do(), self._read, self._threads.readers + 1):
            self._idle = ready is None
            while writing and (ready is None or len(writing) > self._threads.writers or writing[0][1].done()):
                yield self._finish(*writing.popleft())
            self._refresh()
            if self._stopped:
                break
            if ready is None:
                time.sleep(IDLE_SECONDS)
                continue
            job, reading = ready
            try:
                picked = self._steps.pick(job, reading.result())
            except (CryotxError, OSError) as error:
                yield self._skip(job, error)
                continue
            writing.append((picked, writers.submit(self._steps.write, picked, self._expected())))
        while writing:
            yield self._finish(*writing.popleft())

    def _read(self, job: PickJob) -> ReadMicrograph:
        self._plan.check_name(job)
        return self._steps.read(job)

    def _expected(self) -> int:
        """How many micrographs the report has to have room for."""
        return len(self) if self._arrivals is None else max(len(self), GALLERY_SIZE)

    def _finish(self, picked: PickedMicrograph, written: Future[float]) -> PickResult:
        try:
            row = picked.row_when_written(written.result())
        except (CryotxError, OSError) as error:
            return self._skip(picked.job, error)
        return self._done(picked.job, Done(row, picked.picks.particles, picked.events))

    def _done(self, job: PickJob, done: Done) -> PickResult:
        try:
            self._folder.append_ledger(done.row)
        except (CryotxError, OSError) as error:
            return self._skip(job, error)
        result = PickResult(job.file, done.particles, None, done.row.seconds)
        self.messages += [*(event.text for event in done.events), *self._follow(result)]
        return self._keep(job, result, done.row)

    def _follow(self, result: PickResult) -> list[str]:
        """Compare a micrograph with those before it; return what should be said of it."""
        assert result.particles is not None
        self._sizes.add(result.particles)
        return self._drift.add(result.particles) if self._arrivals else []

    def _skip(self, job: PickJob, error: CryotxError | OSError) -> PickResult:
        reason = error.message if isinstance(error, CryotxError) else f"{job.file.path}: {error.strerror or error}"
        self._first_error = self._first_error or error
        row = replace(job.row(), error=reason)
        with suppress(OSError):  # the disk may be full: the reason is shown all the same
            remove_picks(job.outputs)
            self._folder.append_ledger(row)
        return self._keep(job, PickResult(job.file, None, reason, 0.0), row)

    def _keep(self, job: PickJob, result: PickResult, row: LedgerRow) -> PickResult:
        self._results[job.index] = (result, row)
        self._merged.is_stale = self._report.is_stale = True
        return result

    # ---- elsewhere ---------------------------------------------------------------------------------------------------

    def _work_elsewhere(self, workers: Workers) -> Iterator[PickResult]:
        try:
            for job in self._to_do():
                assert job is not None  # for a run that watches picks here
                try:
                    self._plan.check_name(job)
                except CryotxError as error:
                    yield self._skip(job, error)
                    continue
                while not workers.has_room:
                    yield from self._receive(workers)
                workers.send(job)
            while workers.under_way:
                yield from self._receive(workers)
        except (GeneratorExit, KeyboardInterrupt):
            workers.cancel()
            while workers.under_way:
                self._receive(workers)
            raise
        finally:
            workers.close()
            self._folder.remove_unfinished()  # what workers that have died were writing

    def _receive(self, workers: Workers) -> list[PickResult]:
        results = [
            self._done(job, outcome) if isinstance(outcome, Done) else self._skip(job, outcome)
            for job, outcome in workers.receive()
        ]
        self.messages += workers.messages
        workers.messages.clear()
        return results

    # ---- what shows all micrographs ----------------------------------------------------------------------------------

    def _in_order(self) -> list[tuple[PickResult, LedgerRow]]:
        return [self._results[index] for index in sorted(self._results)]

    def _refresh(self) -> None:
        """Bring the merged files and the report up to date while watching, not too often."""
        if self._arrivals is None:
            return
        for part in (self._merged, self._report):
            try:
                part.if_due()
            except (CryotxError, OSError) as error:
                # There may be room again later; the end of the run is strict.
                self.messages.append(error.message if isinstance(error, CryotxError) else str(error))

    def _end(self) -> None:
        if list(self._results) != sorted(self._results):
            with suppress(CryotxError):  # as it is, it holds the same lines
                self._folder.start_ledger(row for _, row in self._in_order())
        self._write_merged()
        self._write_report()
        self._folder.stop.unlink(missing_ok=True)
        self._seconds = time.perf_counter() - self._started
        self._left = len({file.path for file in self._arrivals.files} - self._paths()) if self._arrivals else 0
        if self._left:
            self.messages.append(f"Not picked yet: {self._left} micrographs; the same command goes on with them.")
        if self.estimate is None and self.scales_to_diameter and (warning := self._sizes.warning()):
            self.messages.append(warning)
        self.messages += [*self._without_picks(), *self._check_written()]

    def _without_picks(self) -> list[str]:
        """Say how many micrographs the automatic threshold leaves empty, and how to see what it has left out."""
        rows = [row for result, row in self._results.values() if result.particles is not None]
        empty = [row for row in rows if row.candidates and not row.picks]
        if not empty or not isinstance(self._settled.selection.rule, ExpectedF1):
            return []
        return [
            f"{len(empty)} of {len(rows)} micrographs show nothing that convinces and got no picks; cryotx threshold "
            f"{self._folder.path} --threshold 0.25 shows the guesses."
        ]

    def _check_written(self) -> list[str]:
        """Read the merged STAR file as an importer would; what may go wrong then is said now."""
        done = [result.file for result, row in self._in_order() if result.particles is not None and row.picks]
        if not done:
            return []
        try:
            findings = check_run(self._folder.star, [Target.of(file) for file in done], self.diameter, _CHECKED)
        except (CryotxError, OSError):  # it could not be written, which is said elsewhere
            return []
        return [f"Check of {self._folder.star.name}: {one.summary}. {one.advice}" for one in findings]

    def _write_merged(self) -> None:
        done = [(row, result.particles) for result, row in self._in_order() if result.particles is not None]
        if done:
            self._folder.write_merged(done, self._settled.formats, self._exposures)

    def _write_report(self) -> None:
        if not self._config.report:
            self._folder.report.unlink(missing_ok=True)  # one of an earlier run would not show these picks
        elif self.summary.micrographs:
            write_run_report(StoredRun(self._folder, self._settled))

    def _nothing_picked(self) -> MicrographError:
        error = self._first_error
        reason = error.message if isinstance(error, CryotxError) else str(error)
        count = f"none of the {len(self)} micrographs could be picked; the first: " if len(self) > 1 else ""
        return MicrographError(count + reason, error.hint if isinstance(error, CryotxError) else "")


def _workers(client: Any, settings: WorkerSettings) -> Workers | None:
    if client is not None:
        return Cluster(client, settings)
    devices = device_names(settings.device)
    return DeviceProcesses(devices, settings) if len(devices) > 1 else None


def _without_exposure(config: PickConfig, names: Sequence[str], exposures: Mapping[str, Exposure]) -> list[str]:
    without = [name for name in names if name not in exposures] if config.exposures else []
    examples = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
    return [f"{len(without)} not among the exposures, left out of particles.cs: {examples}"] if without else []


def _estimate(
    folder: PickFolder, files: Sequence[MicrographFile], arrivals: Arrivals | None, loaded: LoadedPicker
) -> DiameterEstimate:
    """Return the diameter that an earlier run has estimated with these weights, or else estimate it."""
    config = loaded.config
    key = fingerprint(loaded.picker.fingerprint, config.pixel_size)
    kept = None if config.restart else kept_estimate(folder.diameter, key)
    if kept is not None:
        return kept
    if arrivals is not None:
        files = arrivals.first(SAMPLE, config.stop_after, folder.stop)
    estimate = estimate_diameter(files, config.pixel_size, loaded.picker)
    keep_estimate(folder.diameter, estimate, key)
    return estimate


def _read_ahead(
    readers: ThreadPoolExecutor, jobs: Iterable[PickJob | None], read: Callable[[PickJob], ReadMicrograph], ahead: int
) -> Iterator[tuple[PickJob, Future[ReadMicrograph]] | None]:
    """Yield jobs in order while a few of those that follow are being read; None where there is none at the moment."""
    readings: deque[tuple[PickJob, Future[ReadMicrograph]]] = deque()
    for job in jobs:
        if job is not None:
            readings.append((job, readers.submit(read, job)))
        while len(readings) > (0 if job is None else ahead):
            yield readings.popleft()
        if job is None:
            yield None
    while readings:
        yield readings.popleft()
