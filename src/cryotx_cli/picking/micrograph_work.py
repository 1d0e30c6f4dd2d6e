"""What is done to one micrograph: read it, find and choose its particles, write its files."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.averages.crops import Frame
from cryotx_cli.averages.kept_crops import are_kept, crops_key, cut_and_keep
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.events import Event
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
from cryotx_cli.micrographs.unread import Passed, UnreadMicrograph, open_micrograph
from cryotx_cli.report.annotated_image import grey_picture, write_annotated_image
from cryotx_cli.report.packing import thumbnail_bytes
from cryotx_cli.report.thumbnail import write_thumbnail
from cryotx_cli.runs.candidates import Candidates, write_candidates
from cryotx_cli.runs.folder import remove_picks, write_coordinates
from cryotx_cli.runs.jobs import PickJob, checksum_of, stored_candidates
from cryotx_cli.runs.ledger import LedgerRow
from cryotx_cli.runs.selection import Picks
from cryotx_cli.runs.settled import Settled


@dataclass(frozen=True, eq=False)
class ReadMicrograph:
    """What the settings need of a micrograph: its image, the network's input, or candidates; and its checksum."""

    micrograph: Micrograph | None
    prepared: NDArray[np.float32] | None
    candidates: Candidates | None
    read_seconds: float
    prepare_seconds: float
    checksum: int | None


@dataclass(frozen=True, eq=False)
class PickedMicrograph:
    """A micrograph with its picks, on its way to the files."""

    job: PickJob
    micrograph: Micrograph | None
    candidates: Candidates
    picks: Picks
    row: LedgerRow
    events: tuple[Event, ...]

    def row_when_written(self, seconds: float) -> LedgerRow:
        """Return its row of the ledger once its files are written, which took so many seconds."""
        row = self.row
        total = row.read_seconds + row.prepare_seconds + row.pick_seconds + round(seconds, 4)
        return replace(row, write_seconds=round(seconds, 4), seconds=round(total, 4))


@dataclass(frozen=True)
class Threads:
    """How many threads read and prepare, and how many write, beside the network."""

    readers: int
    writers: int


def threads_beside(device: object) -> Threads:
    """Return what keeps the network of a device busy; on a CPU it takes what there is of the processor by itself."""
    # A GPU takes a micrograph in a fraction of the time in which one thread reads, prepares or writes it.
    return Threads(4, 4) if str(device).startswith("cuda") else Threads(1, 2)


class MicrographWork:
    """The three steps of the work on a micrograph, which may run in three threads for three micrographs.

    Parameters
    ----------
    settled
        Settings of the run.
    picker
        Finds the candidates: it prepares in several threads at once, and locates in one at a time.
    """

    def __init__(self, settled: Settled, picker: ParticlePicker) -> None:
        self._settled, self._config, self._picker = settled, settled.config, picker
        self._averages, self._frame = settled.averages, Frame(settled.diameter)

    def read(self, job: PickJob) -> ReadMicrograph:
        """Read and prepare what the settings need of a micrograph.

        Raises
        ------
        MicrographError, OSError
            It cannot be read, or the diameter does not fit it.
        """
        started = time.perf_counter()
        stored = stored_candidates(job, self._settled)
        is_drawn = not self._config.report or job.outputs.thumbnail.exists()
        needs_pixels = self._config.images or not is_drawn or self._lacks_crops(job, stored)
        if stored is not None and not needs_pixels:
            checksum = _checksum(job, Passed())
            return ReadMicrograph(None, None, stored, time.perf_counter() - started, 0.0, checksum)
        is_shown = self._config.images or self._config.report  # or else nothing is drawn or cut out of it
        in_passing = self._picker.prepares_unread and not is_shown
        micrograph = (open_micrograph if in_passing else read_micrograph)(job.file, self._config.pixel_size)
        passed = micrograph.passed if isinstance(micrograph, UnreadMicrograph) else Passed()
        read = time.perf_counter()
        prepared = None
        if stored is None:
            prepared = self._picker.prepare(self._settled.with_dark_particles(micrograph), self._settled.diameter)
        prepare_seconds = time.perf_counter() - read - passed.seconds
        checksum = _checksum(job, passed)
        if not is_shown:
            micrograph = micrograph.without_pixels()
        read_seconds = time.perf_counter() - started - prepare_seconds
        return ReadMicrograph(micrograph, prepared, stored, read_seconds, prepare_seconds, checksum)

    def pick(self, job: PickJob, read: ReadMicrograph) -> PickedMicrograph:
        """Run the network, unless there are candidates already, and choose among them.

        Raises
        ------
        CryotxError
            The network cannot pick this micrograph.
        """
        started = time.perf_counter()
        candidates, events = read.candidates, tuple[Event, ...]()
        if candidates is None:
            assert read.micrograph is not None
            assert read.prepared is not None
            candidates, events = self._locate(read.prepared, read.micrograph)
        picks = job.selection.choose(candidates)
        row = replace(
            job.row(),
            read_seconds=round(read.read_seconds, 4),
            prepare_seconds=round(read.prepare_seconds, 4),
            pick_seconds=round(time.perf_counter() - started, 4),
            candidates=len(candidates.particles),
            picks=len(picks.particles),
            dropped_at_border=picks.dropped_at_border,
            dropped_beside_better=picks.dropped_beside_better,
            checksum=read.checksum,
            film_share=candidates.film_share,
            film=None if candidates.film is None else candidates.film.rows(),
            expected_false=job.selection.expected_false(candidates, picks.particles, None),
        )
        return PickedMicrograph(job, read.micrograph, candidates, picks, row, events)

    def write(self, picked: PickedMicrograph, micrographs: int) -> float:
        """Write all files of one micrograph; return the seconds it took.

        Parameters
        ----------
        micrographs
            How many the report has to have room for.

        Raises
        ------
        ParticleFileError, OSError
            A file cannot be written.
        """
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
                write_thumbnail(outputs.thumbnail, grey, thumbnail_bytes(micrographs))
        write_candidates(outputs.candidates, picked.candidates, picked.job.candidates_key)
        write_coordinates(outputs, particles, self._settled.formats, self._settled.box_px(particles.pixel_size))
        if self._config.images:
            assert micrograph is not None
            outputs.png.parent.mkdir(parents=True, exist_ok=True)
            film = picked.candidates.film
            write_annotated_image(outputs.png, micrograph, particles, picked.job.file.path.name, grey, film)
        if micrograph is not None and self._averages and len(particles):
            # Last: on a disk that is nearly full the picks come first, and averages can do without.
            self._keep_crops(picked.job, micrograph, particles)
        return time.perf_counter() - started

    def _lacks_crops(self, job: PickJob, stored: Candidates | None) -> bool:
        if not self._averages or stored is None:
            return False
        picks = job.selection.choose(stored).particles
        return len(picks) > 0 and not are_kept(job.outputs.crops, self._crops_key(job), picks.centres)

    def _keep_crops(self, job: PickJob, micrograph: Micrograph, picks: Particles) -> None:
        if not are_kept(job.outputs.crops, self._crops_key(job), picks.centres):
            dark = self._settled.with_dark_particles(micrograph)
            ctf = job.row().ctf
            cut_and_keep(job.outputs.crops, self._crops_key(job), dark, picks.centres, self._frame, ctf)

    def _crops_key(self, job: PickJob) -> str:
        return crops_key(job.candidates_key, self._frame, job.row().ctf)

    def find(self, micrograph: Micrograph) -> tuple[Candidates, tuple[Event, ...]]:
        """Do what `read` and `pick` do for a micrograph in memory: return its candidates and what to know of them.

        Raises
        ------
        CryotxError
            It cannot be picked.
        """
        prepared = self._picker.prepare(self._settled.with_dark_particles(micrograph), self._settled.diameter)
        return self._locate(prepared, micrograph)

    def _locate(self, prepared: NDArray[np.float32], micrograph: Micrograph) -> tuple[Candidates, tuple[Event, ...]]:
        located = self._picker.locate(prepared, micrograph)
        height, width = micrograph.image.shape
        return Candidates(located.particles, height, width, located.film), located.events


def _checksum(job: PickJob, passed: Passed) -> int | None:
    """Return the checksum of a micrograph's file, which may be known already."""
    known = passed.checksum if job.content.checksum is None else job.content.checksum
    return checksum_of(job.file.path) if known is None else known
