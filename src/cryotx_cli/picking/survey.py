"""Before a run picks: a few of its micrographs beside noise with the same spectrum, which settles where to cut."""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.decoy import decoy_from, radial_spectrum
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
from cryotx_cli.runs.candidates import Candidates, read_candidates, write_candidates
from cryotx_cli.runs.false_discovery import FalseDiscovery
from cryotx_cli.runs.jobs import PickJob, stored_candidates
from cryotx_cli.runs.settled import Settled

_SHARE = 0.15  # of the micrographs of a run have decoys, if that is fewer than asked for: each takes as long as one
_FEWEST_PLACES = 3000  # for particles in all decoys together: with half as many, mottled ice got picks in one run of 10


class Subject(Protocol):
    """A micrograph that may be compared with noise, and what is known of it already."""

    @property
    def name(self) -> str:
        """Decides, with the defocus, which ones are compared."""

    @property
    def defocus(self) -> float | None:
        """Å of underfocus."""

    def read(self) -> Micrograph:
        """Return it, as it was recorded."""

    @property
    def candidates(self) -> Candidates | None:
        """What the network has proposed; None if it has not seen it."""

    @property
    def decoys(self) -> Candidates | None:
        """What the network has proposed in its decoys."""

    def keep(self, candidates: Candidates | None, decoys: Candidates | None) -> None:
        """Keep what the network has proposed now; None is what was there."""


@dataclass(frozen=True)
class OfRun:
    """A micrograph of a run: its candidates and those of its decoys are in files."""

    job: PickJob
    settled: Settled

    @property
    def name(self) -> str:  # noqa: D102
        return self.job.file.name

    @property
    def defocus(self) -> float | None:  # noqa: D102
        return self.job.file.defocus

    def read(self) -> Micrograph:  # noqa: D102
        return read_micrograph(self.job.file, self.settled.config.pixel_size)

    @property
    def candidates(self) -> Candidates | None:  # noqa: D102
        return stored_candidates(self.job, self.settled)

    @property
    def decoys(self) -> Candidates | None:  # noqa: D102
        return read_candidates(self.job.outputs.decoy, self.job.decoy_key)

    def keep(self, candidates: Candidates | None, decoys: Candidates | None) -> None:  # noqa: D102
        if candidates is not None:
            write_candidates(self.job.outputs.candidates, candidates, self.job.candidates_key)
        if decoys is not None:
            write_candidates(self.job.outputs.decoy, decoys, self.job.decoy_key)


@dataclass(frozen=True, eq=False)
class Survey:
    """What was found.

    Parameters
    ----------
    found
        False discovery rates by score; None if no decoy could be made.
    subjects
        Places of the micrographs that were compared with their decoys, whose candidates are kept now.
    """

    found: FalseDiscovery | None
    subjects: tuple[int, ...] = field(default=())


def survey(subjects: Sequence[Subject], settled: Settled, picker: ParticlePicker, tell: Tell) -> Survey:
    """Compare some micrographs with decoys, as many as the settings say, and keep the candidates of both.

    Parameters
    ----------
    subjects
        All micrographs of the run.
    settled
        Its settings.
    picker
        Finds the candidates; one whose `compares_with_noise` is false makes no decoys.
    tell
        Hears what is done, and why there are no decoys.

    Raises
    ------
    CryotxError
        A false discovery rate was asked for and no decoy can be made.
    """
    if not settled.config.decoys or not settled.by_probability or not subjects:
        return Survey(None)
    reasons = [] if picker.compares_with_noise else ["these weights do not see a particle at one size"]
    pairs: dict[int, tuple[Candidates, Candidates]] = {}
    if picker.compares_with_noise:
        tell(Event("Comparing some of the micrographs with noise of the same spectrum."))
        for place, outcome in _compared(subjects, settled, picker):
            if isinstance(outcome, str):
                reasons.append(outcome)
            else:
                pairs[place] = outcome
    if not pairs:
        why = reasons[0]
        if settled.config.fdr is not None:
            raise CryotxError(
                f"--fdr {settled.config.fdr:g}: there is nothing to compare the candidates with ({why})",
                "Give --threshold instead.",
            )
        tell(Event(f"The share of false picks is not known, and each micrograph has a threshold of its own: {why}."))
        return Survey(None)
    return Survey(settled.selection.compared(list(pairs.values())), tuple(pairs))


def _spread(subjects: Sequence[Subject]) -> Iterator[int]:
    """Yield places so that any number of the first ones is spread over defocus, or else over the order of the names."""
    places = range(len(subjects))
    known = [place for place in places if subjects[place].defocus is not None]
    if len(known) > len(places) / 2:
        ordered = sorted(known, key=lambda place: (subjects[place].defocus or 0.0, subjects[place].name))
    else:
        ordered = sorted(places, key=lambda place: subjects[place].name)
    # The van der Corput sequence: halves, quarters, eighths ... of the way.
    bits = max(1, math.ceil(math.log2(len(ordered))))
    order = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits))
    yield from (ordered[number] for number in order if number < len(ordered))


def _compared(
    subjects: Sequence[Subject], settled: Settled, picker: ParticlePicker
) -> Iterator[tuple[int, tuple[Candidates, Candidates] | str]]:
    """Yield micrographs with their candidates and those of their decoys, or with the reason why they have none.

    The next one is being read while the network works.
    """
    comparison, wanted, done = _Comparison(settled, picker, len(subjects)), 1, 0
    with ThreadPoolExecutor(1) as reader:
        ahead: deque[tuple[int, Future[_Prepared | None]]] = deque()
        coming = _spread(subjects)
        while done < wanted:
            ahead.extend(
                (place, reader.submit(comparison.read, subjects[place])) for place in islice(coming, 2 - len(ahead))
            )
            if not ahead:
                return
            place, reading = ahead.popleft()
            outcome = comparison.compare(subjects[place], reading)
            yield place, outcome
            if not isinstance(outcome, str):
                done, wanted = done + 1, comparison.plan(outcome[0])[0]


@dataclass(frozen=True, eq=False)
class _Prepared:
    micrograph: Micrograph
    image: NDArray[np.float32]
    spectrum: NDArray[np.float64] | None


class _Comparison:
    """What is done to one micrograph that is compared."""

    def __init__(self, settled: Settled, picker: ParticlePicker, micrographs: int) -> None:
        self._settled, self._picker, self._micrographs = settled, picker, micrographs

    def plan(self, candidates: Candidates) -> tuple[int, int]:
        """Return how many micrographs like this one are to be compared, and with how many decoys each."""
        size = candidates.particles.pixel_size / self._settled.diameter
        places = candidates.height * candidates.width * size**2
        decoys = math.ceil(max(_FEWEST_PLACES / places, _SHARE * self._micrographs))
        micrographs = min(decoys, self._settled.config.decoys, self._micrographs)
        return micrographs, min(math.ceil(decoys / micrographs), self._settled.config.decoys)

    def read(self, subject: Subject) -> _Prepared | None:
        """Read and prepare a micrograph unless there are candidates of it and of its decoys."""
        if subject.candidates is not None and subject.decoys is not None:
            return None
        micrograph = subject.read()
        image = self._picker.prepare(self._settled.with_dark_particles(micrograph), self._settled.diameter)
        return _Prepared(micrograph, image, radial_spectrum(image))

    def compare(self, subject: Subject, reading: Future[_Prepared | None]) -> tuple[Candidates, Candidates] | str:
        """Return the candidates of a micrograph and those of its decoys, and keep them; or say why there are none."""
        try:
            read = reading.result()
            candidates, decoys = subject.candidates, subject.decoys
            if read is not None and candidates is None:
                found = self._picker.locate(read.image, read.micrograph)
                height, width = read.micrograph.image.shape
                candidates = Candidates(found.particles, height, width, found.film)
                subject.keep(candidates, None)
            assert candidates is not None
            if read is not None and decoys is None:
                if read.spectrum is None:
                    return f"{read.micrograph.source} is too small or too uniform to tell its noise"
                decoys = self._found_in_noise(read, read.spectrum, self.plan(candidates)[1])
                subject.keep(None, decoys)
            assert decoys is not None
        except CryotxError as error:
            return error.message
        except OSError as error:
            return f"{subject.name}: {error.strerror or error}"
        return candidates, decoys

    def _found_in_noise(self, read: _Prepared, spectrum: NDArray[np.float64], count: int) -> Candidates:
        """Return what the network finds in decoys, one below the other, in pixels of the micrograph.

        They have the size of the micrograph: the network sees all of an image at once, and in a large one it believes
        less of what noise shows.
        """
        height, width = read.micrograph.image.shape
        seed, centres, scores, diameters = zlib.crc32(read.image.tobytes()), [], [], []
        for number in range(count):
            noise = decoy_from(spectrum, read.image.shape, seed + number)
            one = self._picker.locate(noise, read.micrograph).particles
            centres.append(one.centres + (0, number * height))
            scores.append(one.scores)
            diameters.append(one.diameters)
        found = Particles(
            np.concatenate(centres), np.concatenate(scores), np.concatenate(diameters), read.micrograph.pixel_size
        )
        return Candidates(found, count * height, width)
