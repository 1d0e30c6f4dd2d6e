"""Pick particles in many micrographs: read, find, choose, write, and carry on where a stopped run left off."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryotx_cli import __version__
from cryotx_cli.config import PickConfig, save_config
from cryotx_cli.data.candidates import Candidates, read_candidates, write_candidates
from cryotx_cli.data.formats import output_stems
from cryotx_cli.data.formats.cryosparc import Exposure, exposures_of
from cryotx_cli.data.formats.topaz import topaz_names
from cryotx_cli.data.micrograph import Micrograph, MicrographFile, find_micrographs, read_micrograph
from cryotx_cli.data.particles import Particles
from cryotx_cli.data.pick_folder import (
    LedgerRow,
    MicrographOutputs,
    PickFolder,
    absolute_path,
    coordinate_files,
    fingerprint,
    remove_picks,
    write_coordinates,
)
from cryotx_cli.data.selection import Picks, Selection
from cryotx_cli.errors import ConfigError, CryotxError, MicrographError
from cryotx_cli.report.annotated_image import grey_picture, write_annotated_image
from cryotx_cli.report.html_report import thumbnail_bytes, write_run_report
from cryotx_cli.report.thumbnail import write_thumbnail

_READ_AHEAD = 2  # micrographs in memory: these, the one in the network and those being written
_WRITE_BEHIND = 2
_WRITERS = 2
_DIAMETER_SAMPLE = 5
_PUBLISHED_SUFFIXES = (".pth", ".pt")
_LEGACY_PERCENTILE = 25.0  # the original's own default
_DEGENERATE = (
    '{} was trained with "particle" and "no object" as one class: its scores cannot tell good picks from bad ones. '
    "Picks are therefore those of the original program (--selection legacy): a fixed share of the boxes, with scores "
    "that are not theirs. cryotx train --refit-head gives such weights true probabilities."
)


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
    star, folder, report
        The merged STAR file, the folder that holds everything else, and the report in it (None: not wanted).
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
    report: Path | None


@dataclass(frozen=True, eq=False)
class _Job:
    """One micrograph, where its files go, and fingerprints of all that decides its candidates and its picks."""

    index: int
    file: MicrographFile
    stem: Path
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
    picks: Picks
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
    ParticleFileError
        The exposures do not fit, or a format that is asked for cannot tell two of the micrographs apart.
    CheckpointError, DeviceError
        The model cannot be loaded.
    CryotxError
        The output folder cannot be written.
    """
    out = Path(out)
    _check_out(out, inputs)
    files = _without_own_pictures(find_micrographs(inputs), out)
    names = [file.name for file in files]
    if "topaz" in config.formats:
        topaz_names(names)
    exposures = exposures_of(config.exposures, names) if config.exposures else {}
    folder = PickFolder(out)
    messages = _without_exposure(config, names, exposures)
    if picker is None:
        picker, config, about_weights = _load_picker(config)
        messages += about_weights
    diameter = _estimate_diameter(files, config, picker) if config.diameter == "auto" else config.diameter
    run = PickRun(files, folder, replace(config, diameter=diameter), picker, exposures)
    run.messages[:0] = messages
    return run


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
    scales_to_diameter : bool
        Whether the network sees micrographs at a scale that follows from the diameter.
    messages : list of str
        What the user should know before the work begins.
    """

    def __init__(
        self,
        files: Sequence[MicrographFile],
        folder: PickFolder,
        config: PickConfig,
        picker: ParticlePicker,
        exposures: Mapping[str, Exposure],
    ) -> None:
        assert config.diameter != "auto"
        self.device = str(picker.device)
        self.diameter = config.diameter
        self.scales_to_diameter = bool(getattr(picker, "scales_to_diameter", True))
        self.messages: list[str] = []
        self._folder, self._config, self._picker, self._exposures = folder, config, picker, exposures
        self._selection = Selection.of(config, self.diameter)
        self._results: dict[int, tuple[PickResult, LedgerRow]] = {}
        self._first_error: CryotxError | OSError | None = None
        self._seconds = 0.0
        stems = output_stems([str(absolute_path(file.path)) for file in files])
        self._jobs = [self._job(index, *one) for index, one in enumerate(zip(files, stems, strict=True))]
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
            self._write_report()
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
            star=self._folder.star,
            folder=self._folder.path,
            report=self._folder.report if self._config.report else None,
        )

    # ---- before the work ---------------------------------------------------------------------------------------------

    def _job(self, index: int, file: MicrographFile, stem: Path) -> _Job:
        candidates_key = fingerprint(
            __version__,
            self._picker.fingerprint,
            self.diameter,
            self._config.pixel_size,
            file.pixel_size,
            *_identity(file.path),
        )
        picks_key = fingerprint(candidates_key, repr(self._selection))
        return _Job(index, file, stem, self._folder.outputs(stem), candidates_key, picks_key)

    def _row(self, job: _Job) -> LedgerRow:
        path = str(absolute_path(job.file.path))
        return LedgerRow(job.index, job.file.name, path, job.stem.as_posix(), job.picks_key, defocus=job.file.defocus)

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
                # The same micrograph may stand elsewhere in this input.
                here = self._row(job)
                row = replace(row, index=here.index, path=here.path, stem=here.stem, defocus=here.defocus)
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
        pictures = [job.outputs.png] * self._config.images + [job.outputs.thumbnail] * self._config.report
        if not all(path.exists() for path in (*coordinate_files(job.outputs, self._config).values(), *pictures)):
            return None
        candidates = read_candidates(job.outputs.candidates, job.candidates_key)
        return None if candidates is None else self._selection.choose(candidates).particles

    # ---- one micrograph ----------------------------------------------------------------------------------------------

    def _read(self, job: _Job) -> _Read:
        """Read and prepare what the settings need of a micrograph; runs in the reading thread."""
        started = time.perf_counter()
        stored = None if self._config.restart else read_candidates(job.outputs.candidates, job.candidates_key)
        has_thumbnail = not self._config.report or job.outputs.thumbnail.exists()
        if stored is not None and has_thumbnail and not self._config.images:
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
        picks = self._selection.choose(candidates)
        row = replace(
            self._row(job),
            read_seconds=round(read.read_seconds, 4),
            pick_seconds=round(read.prepare_seconds + time.perf_counter() - started, 4),
            candidates=len(candidates.particles),
            picks=len(picks.particles),
            edge=picks.edge,
            distance=picks.distance,
        )
        return _Picked(job, read.micrograph, candidates, picks, row)

    def _write(self, picked: _Picked) -> float:
        """Write all files of one micrograph; runs in a writing thread and returns the seconds it took."""
        started = time.perf_counter()
        outputs, particles, micrograph = picked.job.outputs, picked.picks.particles, picked.micrograph
        remove_picks(outputs)
        grey = None
        if micrograph is not None:
            # Before the candidates: the thumbnail has no key of its own, current candidates vouch for it.
            outputs.thumbnail.unlink(missing_ok=True)
            if self._config.images or self._config.report:
                grey = grey_picture(micrograph)
            if self._config.report and grey is not None:
                write_thumbnail(outputs.thumbnail, grey, thumbnail_bytes(len(self)))
        write_candidates(outputs.candidates, picked.candidates, picked.job.candidates_key)
        write_coordinates(outputs, particles, self._config, self.diameter)
        if self._config.images:
            assert micrograph is not None
            outputs.png.parent.mkdir(parents=True, exist_ok=True)
            write_annotated_image(outputs.png, micrograph, particles, picked.job.file.path.name, grey)
        return time.perf_counter() - started

    def _finish(self, picked: _Picked, written: Future[float]) -> PickResult:
        row = picked.row
        try:
            seconds = row.read_seconds + row.pick_seconds + written.result()
            self._folder.append_ledger(row)
        except (CryotxError, OSError) as error:
            return self._skip(picked.job, error)
        return self._keep(picked.job, PickResult(picked.job.file, picked.picks.particles, None, seconds), row)

    def _skip(self, job: _Job, error: CryotxError | OSError) -> PickResult:
        reason = error.message if isinstance(error, CryotxError) else f"{job.file.path}: {error.strerror or error}"
        self._first_error = self._first_error or error
        row = replace(self._row(job), error=reason)
        with suppress(OSError):  # the disk may be full: the reason is shown all the same
            remove_picks(job.outputs)
            self._folder.append_ledger(row)
        return self._keep(job, PickResult(job.file, None, reason, 0.0), row)

    def _keep(self, job: _Job, result: PickResult, row: LedgerRow) -> PickResult:
        self._results[job.index] = (result, row)
        return result

    # ---- after the work ----------------------------------------------------------------------------------------------

    def _write_merged(self) -> None:
        in_order = [self._results[index] for index in sorted(self._results)]
        done = [(row, result.particles) for result, row in in_order if result.particles is not None]
        if done:
            self._folder.write_merged(done, self._config, self._exposures)

    def _write_report(self) -> None:
        if not self._config.report:
            self._folder.report.unlink(missing_ok=True)  # one of an earlier run would not show these picks
        elif self.summary.micrographs:
            write_run_report(self._folder, self._config)

    def _nothing_picked(self) -> MicrographError:
        error = self._first_error
        reason = error.message if isinstance(error, CryotxError) else str(error)
        count = f"none of the {len(self)} micrographs could be picked; the first: " if len(self) > 1 else ""
        return MicrographError(count + reason, error.hint if isinstance(error, CryotxError) else "")


def _check_out(out: Path, inputs: Sequence[str | Path]) -> None:
    if out.suffix.lower() != ".star" or out.is_dir():
        raise ConfigError(f"--out {out}: not the name of a STAR file", "Give a file such as --out particles.star.")
    if any(Path(given).resolve() == out.resolve() for given in inputs):
        raise ConfigError(f"--out {out}: also an input, which would be overwritten", "Give --out another name.")


def _without_exposure(config: PickConfig, names: Sequence[str], exposures: Mapping[str, Exposure]) -> list[str]:
    without = [name for name in names if name not in exposures] if config.exposures else []
    examples = ", ".join(without[:3]) + (", ..." if len(without) > 3 else "")
    return [f"{len(without)} not among the exposures, left out of particles.cs: {examples}"] if without else []


def _without_own_pictures(files: list[MicrographFile], out: Path) -> list[MicrographFile]:
    """Leave out the PNG files that an earlier run wrote, should they lie below an input folder."""
    folder = out.resolve().with_suffix("")
    own = {folder / "png", folder / "thumbnails"}
    foreign = [file for file in files if own.isdisjoint(file.path.resolve().parents)]
    if not foreign:
        raise MicrographError(
            f"nothing but pictures of earlier picks found in {folder}", "Name the micrographs' folder."
        )
    return foreign


def _load_picker(config: PickConfig) -> tuple[ParticlePicker, PickConfig, list[str]]:
    """Return the picker, the settings that it turns out to need, and what the user should know about it."""
    # Torch takes seconds to import: who brings a picker need not wait for it.
    from cryotx_cli.detector.checkpoint import Checkpoint, read_checkpoint
    from cryotx_cli.detector.device import resolve_device

    device = resolve_device(config.device)
    if Path(config.weights).suffix.lower() in _PUBLISHED_SUFFIXES:
        from cryotx_cli.detector.published_checkpoint import read_published_checkpoint

        checkpoint = read_published_checkpoint(config.weights).as_detr_checkpoint()
    elif isinstance(own := read_checkpoint(config.weights), Checkpoint):
        from cryotx_cli.detector.picker import Picker

        if config.selection == "legacy":
            raise ConfigError(
                f"--selection legacy: {config.weights} is not a model of the original program",
                "Leave it out, or give weights of the original with --weights FILE.pth.",
            )
        return Picker(own, device), config, []
    else:
        checkpoint = own
    from cryotx_cli.detector.detr_picker import DetrPicker

    messages = []
    if config.selection == "auto" and checkpoint.degenerate_class_head:
        config = _with_legacy_selection(config)
        messages = [_DEGENERATE.format(config.weights)]
    percentile = _LEGACY_PERCENTILE if config.percentile is None else config.percentile
    legacy = percentile if config.selection == "legacy" else None
    return DetrPicker(checkpoint, device, legacy_percentile=legacy), config, messages


def _with_legacy_selection(config: PickConfig) -> PickConfig:
    try:
        return replace(config, selection="legacy")
    except ValueError as error:
        raise ConfigError(
            f"{config.weights}: its class scores mean nothing, so picks cannot be chosen by probability ({error})",
            "Leave out --threshold and --expected-count, or refit the class head with cryotx train --refit-head.",
        ) from error


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
