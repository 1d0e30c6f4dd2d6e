"""Pick particles in many micrographs: read, find, choose, write, and carry on where a stopped run left off."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cryotx_cli.config import PickConfig
from cryotx_cli.coordinates.formats.entry import Exposure
from cryotx_cli.coordinates.formats.table import require_names
from cryotx_cli.detector.load_picker import LoadedPicker, load_picker
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event, Events, Tell
from cryotx_cli.micrographs.find import Inputs
from cryotx_cli.micrographs.micrograph import MicrographFile, find_micrographs
from cryotx_cli.picking.cluster import connect
from cryotx_cli.picking.contradictions import require_pixel_size, tell_of_contradictions
from cryotx_cli.picking.decide import Decision
from cryotx_cli.picking.exposures import exposures_of_run, with_exposures_of
from cryotx_cli.picking.overview import Overview
from cryotx_cli.picking.remarks import Remarks
from cryotx_cli.picking.start_workers import start_workers
from cryotx_cli.picking.subjects import OfRun
from cryotx_cli.picking.survey import survey as survey_run
from cryotx_cli.picking.workers import Done, Workers, WorkerSettings
from cryotx_cli.report.gallery import GALLERY_SIZE
from cryotx_cli.runs.arrivals import IDLE_SECONDS, Arrivals
from cryotx_cli.runs.commands import NextCommands
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.folder import PickFolder
from cryotx_cli.runs.followers import Followers, Stage
from cryotx_cli.runs.jobs import PickJob, PickJobs
from cryotx_cli.runs.out_name import check_star_name, tell_of_shared_folder
from cryotx_cli.runs.record import RunRecord
from cryotx_cli.runs.result import PickResult, PickSummary
from cryotx_cli.runs.seen_elsewhere import keep_seen_elsewhere, kept_seen_elsewhere
from cryotx_cli.wording import counted

_GROWN = 4  # times as many micrographs as when it was last compared with noise: then a session is compared again


def start_pick(
    inputs: Inputs,
    out: str | Path,
    config: PickConfig,
    picker: ParticlePicker | None = None,
    tell: Tell | None = None,
) -> PickRun:
    """Prepare a run: what can go wrong before the first micrograph goes wrong here.

    Parameters
    ----------
    inputs
        Files, folders, globs, a micrographs STAR file or CryoSPARC exposures, which are then those of ``particles.cs``.
    out
        Merged STAR file to write; a folder of the same name without the suffix holds everything else.
    config
        Settings. With ``watch`` and ``diameter = "auto"`` this waits for the first ten micrographs.
    picker
        Use this one instead of loading ``config.weights`` on ``config.device``; other processes get copies of it.
    tell
        Hears what there is to know as it comes, from here on.

    Returns
    -------
    PickRun
        Iterate over it to do the work.

    Raises
    ------
    ConfigError
        `out` is not a STAR file that may be written, or is not of an earlier run, or no Dask scheduler answers.
    MicrographError
        No micrograph is found, none has a pixel size, or none can be read to estimate the diameter.
    ParticleFileError
        The exposures do not fit, or a format that is asked for cannot tell two of the micrographs apart.
    CheckpointError, DeviceError
        The model cannot be loaded.
    CryotxError
        The output folder cannot be written.
    """
    out, events, config = Path(out), Events(*([tell] if tell else [])), with_exposures_of(inputs, config)
    check_star_name(out, inputs)
    arrivals = Arrivals(inputs, events.tell) if config.watch else None
    files = arrivals.files if arrivals else find_micrographs(inputs, events.tell)
    names = [file.name for file in files]
    require_names(names, config.formats)
    exposures = exposures_of_run(files, config, events.tell)
    tell_of_shared_folder(out, files, events.tell)
    require_pixel_size([] if arrivals else files, config)
    with PickFolder.begun(out) as folder:
        tell_of_contradictions(files, config, events.tell)
        connection = connect(config.scheduler) if config.scheduler is not None else None
        loaded = load_picker(config) if picker is None else LoadedPicker(picker, config, (), "")
        for event in loaded.events:
            events.tell(event)
        decision = Decision(loaded, files, arrivals, folder, events.tell)
        expected = len(files) if arrivals is None else GALLERY_SIZE  # a session may fill the gallery
        settings = WorkerSettings(decision.settled, config.device, loaded.picker.fingerprint, expected, picker)
        workers = start_workers(connection, settings, loaded, events.tell)
        source, after = arrivals or files, NextCommands(inputs, folder)
        return PickRun(source, folder, decision, loaded.picker, workers, exposures, after, events, config.stop_after)


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
        Where the network runs, and why there; the reason is empty where there was no choice.
    diameter : float
        Particle diameter in Å, as given or as estimated.
    estimate : DiameterEstimate or None
        How it was estimated.
    scales_to_diameter : bool
        Whether the network sees micrographs at a scale that follows from the diameter.
    events : Events
        What the user should know; more comes during the work.
    followers : Followers
        Programs that hear of what happens, results included, as it happens.
    stop_file : Path
        Making this file ends a run that watches.
    """

    def __init__(
        self,
        source: Sequence[MicrographFile] | Arrivals,
        folder: PickFolder,
        decision: Decision,
        picker: ParticlePicker,
        workers: Workers,
        exposures: Mapping[str, Exposure],
        next_commands: NextCommands,
        events: Events,
        stop_after: float | None,
    ) -> None:
        settled, self.estimate, self.events = decision.settled, decision.estimate, events
        self.device, self.device_reason, self.diameter = workers.name, workers.reason, settled.diameter
        self.scales_to_diameter, self.stop_file = picker.scales_to_diameter, folder.stop
        self._picker, self._folder, self._workers, self._stop_after = picker, folder, workers, stop_after
        self._config, self._arrivals = settled.config, source if isinstance(source, Arrivals) else None
        self._plan, self.followers = PickJobs(folder, settled, picker.fingerprint), Followers()
        self._record = RunRecord(folder, self.followers)
        self._overview = Overview(folder, settled, self._record, exposures, events.tell, self.followers)
        self._remarks = Remarks(
            folder,
            settled,
            self._record,
            next_commands,
            sizes=self.estimate is None and self.scales_to_diameter,
            drift=self._arrivals is not None,
            tell=events.tell,
        )
        self._under_way: set[int] = set()  # places of the micrographs that workers have
        self._stopped = self._nothing_new = False
        self._started, self._seconds, self._left = time.perf_counter(), 0.0, 0
        if isinstance(source, Arrivals):
            self._jobs = [self._plan.arrived(file, source.folders) for file in source.files]
        else:
            self._jobs = self._plan.plan(source)
        settled.save(folder.config)
        self._found: FalseDiscovery | None = None
        # So many micrographs of a session; any other run is compared before it picks.
        self._compare_at = 1 if self._arrivals is not None and picker.compares_with_noise else math.inf

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[PickResult]:
        self._started = time.perf_counter()
        try:
            if self._compare_at == math.inf:
                self._settle_cut(self._jobs)
            if self._arrivals is None:
                self._jobs = self._plan.plan([job.file for job in self._jobs])
            self._take_up_earlier_run()
            for result in self._record.results:
                self._remarks.add(result)
                yield result
            try:
                yield from self._work()
                looking = time.perf_counter()
                self._remarks.look(self._picker)
                self._started += time.perf_counter() - looking  # in other sizes, which is no time of picking
            except KeyboardInterrupt:
                if self._arrivals is None:
                    raise
            yield from self._leave_off()
        finally:
            try:
                self._workers.close()
                self._folder.remove_unfinished()  # what workers that have died were writing
            finally:
                self._end()
        self._record.require_picked(len(self))
        self._overview.average()

    def stop(self) -> None:
        """End a run that watches as soon as what is in the network is written; may be called from a signal handler."""
        self._stopped = True

    @property
    def is_idle(self) -> bool:
        """Whether everything that has become whole so far is picked."""
        return self._nothing_new and not self._workers.under_way

    @property
    def waiting(self) -> int:
        """How many micrographs are there but not whole, or not yet known to be."""
        return self._arrivals.waiting if self._arrivals else 0

    @property
    def summary(self) -> PickSummary:
        """What the run has done so far; complete once the loop has ended."""
        summary = self._record.summary(self._seconds, self._left, self._plan.settled)
        return replace(summary, classes=self._overview.classes, class_counts=self._overview.class_counts)

    # ---- where to cut ----------------------------------------------------------------------------------------------

    def _settle_cut(self, jobs: Sequence[PickJob]) -> None:
        """Compare some of the micrographs with noise; the threshold follows from it, unless it was given."""
        settled = self._plan.settled
        known = None if self._config.restart else kept_seen_elsewhere(self._folder.path)
        survey = survey_run([OfRun(job, settled) for job in jobs], settled, self._picker, self.events.tell, known)
        keep_seen_elsewhere(self._folder.path, survey.elsewhere)
        settled = settled.with_cut(survey.found)
        self._found = self._remarks.found = survey.found
        self._plan.settled = self._remarks.settled = self._overview.settled = settled
        self._plan.note_survey(jobs, survey.subjects, survey.checksums)

    def _settle_cut_again(self) -> Iterator[PickResult]:
        """Compare a session that has grown with noise once more, and choose the picks of all its micrographs anew."""
        assert self._arrivals is not None
        self._compare_at = _GROWN * len(self._record.picked)
        folders = self._arrivals.folders
        before, files = self._plan.settled.selection, [result.file for result, _, _ in self._record.picked]
        self._settle_cut([self._plan.arrived(file, folders) for file in files])
        if self._plan.settled.selection == before:
            return
        for job in [self._plan.arrived(file, folders) for file in files]:
            while not self._workers.has_room:
                yield from self._receive()
            if job.index not in self._under_way:
                self._under_way.add(job.index)
                self._workers.send(job)

    # ---- which micrographs -------------------------------------------------------------------------------------------

    def _take_up_earlier_run(self) -> None:
        if self._folder.dropped.exists():
            text = "Picks that cryotx threshold had taken out with their classes come back."
            self.events.tell(Event(text, "warning"))
        changed = self._record.take_up(self._jobs, self._plan, self._config.restart)
        kept = self._record.results
        if self._arrivals is not None:
            for result in kept:
                self._arrivals.take(result.file)
        if kept:
            every = counted(len(self), "micrographs")
            self.events.tell(Event(f"An earlier run finished {len(kept)} of {every}; they are kept."))
            self._overview.changed()
        if changed:
            anew = f"{counted(changed, 'micrographs')} {'is' if changed == 1 else 'are'} picked anew"
            self.events.tell(Event(f"Settings, weights or files have changed since an earlier run: {anew}."))

    def _to_do(self) -> Iterator[PickJob | None]:
        """Yield what has to be picked; None where there is nothing now and something may come."""
        if self._arrivals is None:
            yield from [job for job in self._jobs if job not in self._record]
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
        if self._arrivals is not None:
            self._stopped = self._stopped or self.stop_file.exists()
        return self._stopped

    def _leave_off(self) -> Iterator[PickResult]:
        """Report what never became whole."""
        if self._arrivals is None:
            return
        for file, error in self._arrivals.incomplete():
            if file.path not in self._record.paths:
                yield self._skip(self._plan.arrived(file, self._arrivals.folders), error)

    # ---- the work ----------------------------------------------------------------------------------------------------

    def _work(self) -> Iterator[PickResult]:
        try:
            for job in self._to_do():
                if self._stopped:
                    break
                self._nothing_new = job is None
                if job is not None:
                    yield from self._give(job)
                elif self._workers.under_way:
                    yield from self._receive()
                else:
                    self._refresh()
                    self.followers(Stage("waiting"))
                    time.sleep(IDLE_SECONDS)
                if len(self._record.picked) >= self._compare_at:
                    yield from self._settle_cut_again()
            if self._stopped:
                self._workers.cancel()
            while self._workers.under_way:
                yield from self._receive()
            if len(self._record.picked) >= self._compare_at:
                yield from self._settle_cut_again()
                while self._workers.under_way:
                    yield from self._receive()
        except BaseException as reason:  # an interrupt, or a loop that is left: what is being worked on is kept
            self._finish(at_once=self._stopped and isinstance(reason, KeyboardInterrupt))
            raise

    def _give(self, job: PickJob) -> Iterator[PickResult]:
        """Give a micrograph to the workers as soon as they have room, and not twice at a time."""
        try:
            self._plan.check_name(job)
        except CryotxError as error:
            yield self._skip(job, error)
            return
        while not self._workers.has_room or job.index in self._under_way:
            yield from self._receive()
            if self._is_told_to_stop():
                return
        self._under_way.add(job.index)
        self._workers.send(job)

    def _receive(self) -> list[PickResult]:
        self._refresh()
        results = []
        for job, outcome in self._workers.receive():
            self._under_way.discard(job.index)
            if isinstance(outcome, Done):
                row = outcome.row
                if self._found is not None and row.expected_false is None:
                    row = replace(row, expected_false=self._found.expected_false(outcome.particles.scores))
                result = self._record.done(job, row, outcome.particles)
                for event in outcome.events:
                    self.events.tell(event)
                self._remarks.add(result)
                self._overview.changed()
            else:
                result = self._skip(job, outcome)
            results.append(result)
        return results

    def _skip(self, job: PickJob, error: CryotxError | OSError) -> PickResult:
        self._overview.changed()
        return self._record.skip(job, error)

    def _refresh(self) -> None:
        if self._arrivals is not None:
            self._overview.refresh()

    def _finish(self, at_once: bool) -> None:
        """Keep what is being worked on when the loop is left; whoever interrupts twice does not wait."""
        try:
            self._workers.cancel(at_once)
            while self._workers.under_way:
                self._receive()
        except KeyboardInterrupt:
            self._workers.cancel(at_once=True)

    def _end(self) -> None:
        self._overview.write()
        self.stop_file.unlink(missing_ok=True)
        self._seconds = time.perf_counter() - self._started
        if self._arrivals is not None:
            self._left = len({file.path for file in self._arrivals.files} - self._record.paths)
        if self._left:
            left, them = counted(self._left, "micrographs"), "it" if self._left == 1 else "them"
            text = f"Not picked yet: {left}; the same command goes on with {them}."
            self.events.tell(Event(text, "warning"))
        self._remarks.at_end()
