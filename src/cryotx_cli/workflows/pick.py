"""Pick particles in many micrographs: read, find, choose, write, and carry on where a stopped run left off."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryotx_cli import __version__
from cryotx_cli.config import PickConfig, save_config
from cryotx_cli.data.formats.box import write_box
from cryotx_cli.data.formats.star import write_micrograph_star, write_particles_star
from cryotx_cli.data.micrograph import Micrograph, MicrographFile, find_micrographs, read_micrograph
from cryotx_cli.data.particles import Particles
from cryotx_cli.data.pick_folder import (
    Candidates,
    LedgerRow,
    MicrographOutputs,
    PickFolder,
    fingerprint,
    read_candidates,
    write_candidates,
)
from cryotx_cli.data.selection import ExpectedCount, ExpectedF1, Percentile, SelectionRule, Threshold, choose
from cryotx_cli.errors import ConfigError, CryotxError, MicrographError
from cryotx_cli.report.annotated_image import write_annotated_image

BOX_PER_DIAMETER = 1.5
"""Box side over particle diameter, as single-particle packages advise: room for the spread of defocused signal."""

_READ_AHEAD = 2  # micrographs in memory: these, the one in the network and those being written
_WRITE_BEHIND = 2
_WRITERS = 2
_DIAMETER_SAMPLE = 5


class ParticlePicker(Protocol):
    """What picking needs of `cryotx_cli.detector.picker.Picker`."""

    @property
    def device(self) -> object:
        """Where the network runs."""

    @property
    def fingerprint(self) -> str:
        """Text that differs between pickers that may pick differently: weights and input settings."""

    def prepare(self, micrograph: Micrograph, diameter: float) -> NDArray[np.float32]:
        """Bring a micrograph to the network's scale and grey levels."""

    def locate(self, prepared: NDArray[np.float32], micrograph: Micrograph) -> Particles:
        """Return every candidate with a calibrated probability, in the micrograph's own pixels."""

    def estimate_diameter(self, micrographs: Sequence[Micrograph]) -> float:
        """Return the particle diameter in Å that suits all these micrographs best."""


@dataclass(frozen=True, eq=False)
class PickResult:
    """What became of one micrograph.

    Parameters
    ----------
    file
        The micrograph.
    particles
        Its picks in its own pixels; None where it was skipped.
    error
        Why it was skipped; None where it was picked.
    seconds
        Time spent on it: reading, network and writing (they overlap with those of other micrographs).
    resumed
        True where an earlier run had finished it.
    """

    file: MicrographFile
    particles: Particles | None
    error: str | None
    seconds: float
    resumed: bool = False


@dataclass(frozen=True)
class PickSummary:
    """What a run has done so far.

    Parameters
    ----------
    micrographs, particles
        Micrographs picked, earlier ones included, and picks on them.
    resumed
        How many of the micrographs an earlier run had finished.
    edge, distance
        Would-be picks dropped because they lay too close to the border, or to a better pick.
    skipped
        Micrographs without picks because of an error, with their reasons.
    seconds
        Wall-clock time from the first micrograph on.
    star, folder
        The merged STAR file and the folder that holds everything else.
    """

    micrographs: int
    particles: int
    resumed: int
    edge: int
    distance: int
    skipped: tuple[PickResult, ...]
    seconds: float
    star: Path
    folder: Path


@dataclass(frozen=True, eq=False)
class _Job:
    """One micrograph, where its files go, and fingerprints of all that decides its candidates and its picks."""

    index: int
    file: MicrographFile
    outputs: MicrographOutputs
    candidates_key: str
    picks_key: str


@dataclass(frozen=True, eq=False)
class _Read:
    """What the settings need of a micrograph: its image, the network's input, or candidates of an earlier run."""

    micrograph: Micrograph | None
    prepared: NDArray[np.float32] | None
    candidates: Candidates | None
    read_seconds: float
    prepare_seconds: float


@dataclass(frozen=True, eq=False)
class _Picked:
    """A micrograph with its picks, on its way to the files."""

    job: _Job
    micrograph: Micrograph | None
    candidates: Candidates
    particles: Particles
    row: LedgerRow


def start_pick(
    inputs: Sequence[str | Path], out: str | Path, config: PickConfig, picker: ParticlePicker | None = None
) -> PickRun:
    """Prepare a run: what can go wrong before the first micrograph goes wrong here.

    Parameters
    ----------
    inputs
        Files, folders, globs or a micrographs STAR file.
    out
        Merged STAR file to write; a folder of the same name without the suffix holds everything else.
    config
        Settings.
    picker
        Use this one instead of loading ``config.weights`` on ``config.device``.

    Returns
    -------
    PickRun
        Iterate over it to do the work.

    Raises
    ------
    ConfigError
        `out` is not a STAR file that may be written.
    MicrographError
        No micrograph is found, or none can be read to estimate the diameter.
    CheckpointError, DeviceError
        The model cannot be loaded.
    CryotxError
        The output folder cannot be written.
    """
    out = Path(out)
    _check_out(out, inputs)
    files = _without_own_pictures(find_micrographs(inputs), out)
    folder = PickFolder(out, files)
    picker = picker or _load_picker(config)
    diameter = _estimate_diameter(files, config, picker) if config.diameter == "auto" else config.diameter
    return PickRun(files, out, folder, replace(config, diameter=diameter), picker)


class PickRun:
    """One run of picking: iterate over it once to do the work.

    Iterating yields a `PickResult` for each micrograph as soon as its files are written, first those that an earlier
    run finished. A micrograph that fails is reported and the rest goes on. The merged STAR file is written when the
    loop ends, also when it is left early or interrupted; it then holds what is done, in the order of the input.

    At its end the loop raises `MicrographError` if not one micrograph could be picked, and `CryotxError` if the merged
    STAR file cannot be written.

    Attributes
    ----------
    device : str
        Where the network runs.
    diameter : float
        Particle diameter in Å, as given or as estimated.
    messages : list of str
        What the user should know before the work begins.
    """

    def __init__(
        self, files: Sequence[MicrographFile], out: Path, folder: PickFolder, config: PickConfig, picker: ParticlePicker
    ) -> None:
        assert config.diameter != "auto"
        self.device = str(picker.device)
        self.diameter = config.diameter
        self.messages: list[str] = []
        self._out, self._folder, self._config, self._picker = out, folder, config, picker
        self._rule = _rule(config)
        self._results: dict[int, tuple[PickResult, LedgerRow]] = {}
        self._first_error: CryotxError | OSError | None = None
        self._seconds = 0.0
        self._jobs = [self._job(index, file) for index, file in enumerate(files)]
        save_config(config, folder.config)
        self._take_up_earlier_run()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[PickResult]:
        started = time.perf_counter()
        readers, writers = ThreadPoolExecutor(1), ThreadPoolExecutor(_WRITERS)
        writing: deque[tuple[_Picked, Future[float]]] = deque()
        try:
            todo = [job for job in self._jobs if job.index not in self._results]
            yield from [result for result, _ in self._results.values()]
            for job, reading in _read_ahead(readers, todo, self._read):
                try:
                    picked = self._pick(job, reading.result())
                except (CryotxError, OSError) as error:
                    yield self._skip(job, error)
                    continue
                writing.append((picked, writers.submit(self._write, picked)))
                while writing and (len(writing) > _WRITE_BEHIND or writing[0][1].done()):
                    yield self._finish(*writing.popleft())
            while writing:
                yield self._finish(*writing.popleft())
        finally:
            readers.shutdown(cancel_futures=True)
            while writing:
                self._finish(*writing.popleft())
            writers.shutdown()
            self._write_merged()
            self._seconds = time.perf_counter() - started
        if not self.summary.micrographs:
            raise self._nothing_picked()

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
            skipped=tuple(result for result, _ in self._results.values() if result.error is not None),
            seconds=self._seconds,
            star=self._out,
            folder=self._folder.path,
        )

    # ---- before the work ---------------------------------------------------------------------------------------------

    def _job(self, index: int, file: MicrographFile) -> _Job:
        candidates_key = fingerprint(
            __version__,
            self._picker.fingerprint,
            self.diameter,
            self._config.pixel_size,
            file.pixel_size,
            *_identity(file.path),
        )
        picks_key = fingerprint(candidates_key, repr(self._rule), self._config.min_distance, self._config.edge)
        return _Job(index, file, self._folder.outputs(file), candidates_key, picks_key)

    def _take_up_earlier_run(self) -> None:
        """Keep the micrographs that an earlier run finished with the same settings; begin the ledger with them."""
        rows = {} if self._config.restart else self._folder.read_ledger()
        changed = 0
        for job in self._jobs:
            row = rows.get(job.file.name)
            if row is None or row.error is not None:
                continue
            particles = self._finished_earlier(job) if row.key == job.picks_key else None
            if particles is not None:
                self._keep(job, PickResult(job.file, particles, None, 0.0, resumed=True), row)
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

    def _finished_earlier(self, job: _Job) -> Particles | None:
        """Return the picks of a finished micrograph: choosing again among its candidates gives the same ones."""
        boxes, images = [job.outputs.box] * self._config.boxes, [job.outputs.png] * self._config.images
        if not all(path.exists() for path in (job.outputs.star, *boxes, *images)):
            return None
        candidates = read_candidates(job.outputs.candidates, job.candidates_key)
        return None if candidates is None else self._choose(candidates)[0]

    # ---- one micrograph ----------------------------------------------------------------------------------------------

    def _read(self, job: _Job) -> _Read:
        """Read and prepare what the settings need of a micrograph; runs in the reading thread."""
        started = time.perf_counter()
        stored = None if self._config.restart else read_candidates(job.outputs.candidates, job.candidates_key)
        if stored is not None and not self._config.images:
            return _Read(None, None, stored, time.perf_counter() - started, 0.0)
        micrograph = read_micrograph(job.file, self._config.pixel_size)
        read = time.perf_counter()
        prepared = self._picker.prepare(micrograph, self.diameter) if stored is None else None
        return _Read(micrograph, prepared, stored, read - started, time.perf_counter() - read)

    def _pick(self, job: _Job, read: _Read) -> _Picked:
        started = time.perf_counter()
        candidates = read.candidates
        if candidates is None:
            assert read.micrograph is not None
            assert read.prepared is not None
            candidates = Candidates(self._picker.locate(read.prepared, read.micrograph), *read.micrograph.image.shape)
        particles, edge, distance = self._choose(candidates)
        row = LedgerRow(
            micrograph=job.file.name,
            key=job.picks_key,
            read_seconds=round(read.read_seconds, 4),
            pick_seconds=round(read.prepare_seconds + time.perf_counter() - started, 4),
            candidates=len(candidates.particles),
            picks=len(particles),
            edge=edge,
            distance=distance,
        )
        return _Picked(job, read.micrograph, candidates, particles, row)

    def _choose(self, candidates: Candidates) -> tuple[Particles, int, int]:
        """Return the picks, best first, and how many more there were but for the edge and for the minimum distance."""
        found, pixel_size = candidates.particles, candidates.particles.pixel_size
        distance = self.diameter / 2 if self._config.min_distance is None else self._config.min_distance
        # Before the rule: it weighs what there is to find, and two candidates on one particle are one particle.
        apart = found.with_minimum_distance(distance / pixel_size)
        inside = apart.inside(candidates.height, candidates.width, self._config.edge / pixel_size)
        picks = inside.select(choose(inside, self._rule)).sorted_by_score()
        lowest = float(picks.scores.min(initial=np.inf))
        wanted, wanted_apart = len(found.above(lowest)), len(apart.above(lowest))
        return picks, wanted_apart - len(inside.above(lowest)), wanted - wanted_apart

    def _write(self, picked: _Picked) -> float:
        """Write all files of one micrograph; runs in a writing thread and returns the seconds it took."""
        started = time.perf_counter()
        outputs = picked.job.outputs
        _remove_picks(outputs)
        write_candidates(outputs.candidates, picked.candidates, picked.job.candidates_key)
        write_micrograph_star(outputs.star, picked.particles)
        if self._config.boxes:
            write_box(outputs.box, picked.particles, box_side_px(self.diameter, picked.particles.pixel_size))
        if self._config.images:
            assert picked.micrograph is not None
            outputs.png.parent.mkdir(parents=True, exist_ok=True)
            write_annotated_image(outputs.png, picked.micrograph, picked.particles, picked.job.file.path.name)
        return time.perf_counter() - started

    def _finish(self, picked: _Picked, written: Future[float]) -> PickResult:
        row = picked.row
        try:
            seconds = row.read_seconds + row.pick_seconds + written.result()
            self._folder.append_ledger(row)
        except (CryotxError, OSError) as error:
            return self._skip(picked.job, error)
        return self._keep(picked.job, PickResult(picked.job.file, picked.particles, None, seconds), row)

    def _skip(self, job: _Job, error: CryotxError | OSError) -> PickResult:
        reason = error.message if isinstance(error, CryotxError) else f"{job.file.path}: {error.strerror or error}"
        self._first_error = self._first_error or error
        row = LedgerRow(micrograph=job.file.name, key=job.picks_key, error=reason)
        with suppress(OSError):  # the disk may be full: the reason is shown all the same
            _remove_picks(job.outputs)
            self._folder.append_ledger(row)
        return self._keep(job, PickResult(job.file, None, reason, 0.0), row)

    def _keep(self, job: _Job, result: PickResult, row: LedgerRow) -> PickResult:
        self._results[job.index] = (result, row)
        return result

    # ---- after the work ----------------------------------------------------------------------------------------------

    def _write_merged(self) -> None:
        in_order = [self._results[index][0] for index in sorted(self._results)]
        done = [(result.file.name, result.particles) for result in in_order if result.particles is not None]
        if done:
            write_particles_star(self._out, done)

    def _nothing_picked(self) -> MicrographError:
        error = self._first_error
        reason = error.message if isinstance(error, CryotxError) else str(error)
        count = f"none of the {len(self)} micrographs could be picked; the first: " if len(self) > 1 else ""
        return MicrographError(count + reason, error.hint if isinstance(error, CryotxError) else "")


def box_side_px(diameter: float, pixel_size: float) -> int:
    """Return the side of a particle's box: 1.5 diameters, rounded up to an even number of pixels."""
    return 2 * math.ceil(BOX_PER_DIAMETER * diameter / pixel_size / 2)


def _check_out(out: Path, inputs: Sequence[str | Path]) -> None:
    if out.suffix.lower() != ".star" or out.is_dir():
        raise ConfigError(f"--out {out}: not the name of a STAR file", "Give a file such as --out particles.star.")
    if any(Path(given).resolve() == out.resolve() for given in inputs):
        raise ConfigError(f"--out {out}: also an input, which would be overwritten", "Give --out another name.")


def _without_own_pictures(files: list[MicrographFile], out: Path) -> list[MicrographFile]:
    """Leave out the PNG files that an earlier run wrote, should they lie below an input folder."""
    own = out.resolve().with_suffix("") / "png"
    foreign = [file for file in files if own not in file.path.resolve().parents]
    if not foreign:
        raise MicrographError(f"nothing but pictures of earlier picks found in {own}", "Name the micrographs' folder.")
    return foreign


def _load_picker(config: PickConfig) -> ParticlePicker:
    # Torch takes seconds to import: who brings a picker need not wait for it.
    from cryotx_cli.detector.checkpoint import load_checkpoint
    from cryotx_cli.detector.device import resolve_device
    from cryotx_cli.detector.picker import Picker

    return Picker(load_checkpoint(config.weights), resolve_device(config.device))


def _estimate_diameter(files: Sequence[MicrographFile], config: PickConfig, picker: ParticlePicker) -> float:
    """Estimate from micrographs spread over the whole set, the same ones whatever the order of the input."""
    by_path = sorted(files, key=lambda file: str(file.path))
    step = max(1, len(by_path) // _DIAMETER_SAMPLE)
    sample: list[Micrograph] = []
    first_error: MicrographError | None = None
    for file in [file for offset in range(step) for file in by_path[offset::step]]:
        try:
            sample.append(read_micrograph(file, config.pixel_size))
        except MicrographError as error:
            first_error = first_error or error
        if len(sample) == _DIAMETER_SAMPLE:
            break
    if not sample and first_error is not None:
        raise MicrographError(f"no micrograph can be read; the first: {first_error.message}", first_error.hint)
    return picker.estimate_diameter(sample)


def _rule(config: PickConfig) -> SelectionRule:
    if config.expected_count is not None:
        return ExpectedCount(config.expected_count)
    if config.percentile is not None:
        return Percentile(config.percentile)
    return ExpectedF1() if config.threshold == "auto" else Threshold(config.threshold)


def _identity(path: Path) -> tuple[str, int, int]:
    """Path, size and modification time: what changes when the file does. A file that is gone fails when it is read."""
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _read_ahead(
    readers: ThreadPoolExecutor, jobs: Sequence[_Job], read: Callable[[_Job], _Read]
) -> Iterator[tuple[_Job, Future[_Read]]]:
    """Yield jobs in order while a few of those that follow are being read."""
    readings: deque[tuple[_Job, Future[_Read]]] = deque()
    for job in jobs:
        readings.append((job, readers.submit(read, job)))
        if len(readings) > _READ_AHEAD:
            yield readings.popleft()
    while readings:
        yield readings.popleft()


def _remove_picks(outputs: MicrographOutputs) -> None:
    """Remove picks of other settings, or of a file that can no longer be read: they must not pass for current ones."""
    for path in (outputs.box, outputs.star, outputs.png):
        path.unlink(missing_ok=True)
