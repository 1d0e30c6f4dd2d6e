"""Before a run picks: a few of its micrographs beside noise with the same spectrum, which settles where to cut."""

from __future__ import annotations

import math
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.decoy import decoy_from, radial_spectrum
from cryotx_cli.micrographs.micrograph import Micrograph, read_micrograph
from cryotx_cli.runs.candidates import Candidates, read_candidates, write_candidates
from cryotx_cli.runs.false_discovery import FalseDiscovery, compared
from cryotx_cli.runs.jobs import PickJob, stored_candidates
from cryotx_cli.runs.settled import Settled

_SHARE = 0.15  # of the micrographs of a run have decoys, if that is fewer than asked for: each takes as long as one
_FEWEST_PLACES = 1500  # for particles in all decoys together: in a small micrograph noise has few candidates


@dataclass(frozen=True, eq=False)
class Survey:
    """What was found.

    Parameters
    ----------
    found
        False discovery rates by score; None if no decoy could be made.
    jobs
        The micrographs that were compared with their decoys, whose candidates are stored now.
    """

    found: FalseDiscovery | None
    jobs: tuple[PickJob, ...]


def survey(jobs: Sequence[PickJob], settled: Settled, picker: ParticlePicker, tell: Tell) -> Survey:
    """Compare some micrographs of a run with decoys, as many as the settings say; store the candidates of both.

    What an earlier run has stored of the same micrographs is taken as it is.

    Parameters
    ----------
    jobs
        Of all micrographs of the run.
    settled
        Its settings.
    picker
        Finds the candidates; one whose `compares_with_noise` is false makes no decoys.
    tell
        Hears what is done, and of micrographs that have no decoys.

    Raises
    ------
    CryotxError
        A false discovery rate was asked for and no decoy can be made, or a file cannot be written.
    """
    if not settled.config.decoys or not settled.by_probability or not jobs:
        return Survey(None, ())
    reasons = [] if picker.compares_with_noise else ["these weights do not see a particle at one size"]
    pairs: list[tuple[PickJob, Candidates, Candidates]] = []
    if picker.compares_with_noise:
        tell(Event("Comparing some of the micrographs with noise of the same spectrum."))
        for job, outcome in _compared(jobs, settled, picker):
            if isinstance(outcome, str):
                reasons.append(outcome)
            else:
                pairs.append((job, *outcome))
    if not pairs:
        why = reasons[0] if reasons else "no micrograph can be read"
        if settled.config.fdr is not None:
            raise CryotxError(
                f"--fdr {settled.config.fdr:g}: there is nothing to compare the candidates with ({why})",
                "Give --threshold instead.",
            )
        tell(Event(f"The share of false picks is not known, and each micrograph has a threshold of its own: {why}."))
        return Survey(None, ())
    return Survey(compared([pair[1:] for pair in pairs], settled.selection), tuple(pair[0] for pair in pairs))


def _spread(jobs: Sequence[PickJob]) -> Iterator[PickJob]:
    """Yield jobs so that any number of the first ones is spread over defocus, or else over the order of the names."""
    known = [job for job in jobs if job.file.defocus is not None]
    if len(known) > len(jobs) / 2:
        ordered = sorted(known, key=lambda job: (job.file.defocus or 0.0, job.file.name))
    else:
        ordered = sorted(jobs, key=lambda job: job.file.name)
    # The van der Corput sequence: halves, quarters, eighths ... of the way.
    bits = max(1, math.ceil(math.log2(len(ordered))))
    places = (int(f"{place:0{bits}b}"[::-1], 2) for place in range(1 << bits))
    yield from (ordered[place] for place in places if place < len(ordered))


def _compared(
    jobs: Sequence[PickJob], settled: Settled, picker: ParticlePicker
) -> Iterator[tuple[PickJob, tuple[Candidates, Candidates] | str]]:
    """Yield micrographs with their candidates and those of their decoys, or with the reason why they have none.

    The next one is being read while the network works.
    """
    comparison, wanted, done = _Comparison(settled, picker, len(jobs)), 1, 0
    with ThreadPoolExecutor(1) as reader:
        ahead: deque[tuple[PickJob, Future[_Prepared | None]]] = deque()
        coming = _spread(jobs)
        while done < wanted:
            ahead.extend((job, reader.submit(comparison.read, job)) for job in islice(coming, 2 - len(ahead)))
            if not ahead:
                return
            job, reading = ahead.popleft()
            outcome = comparison.compare(job, reading)
            yield job, outcome
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

    def read(self, job: PickJob) -> _Prepared | None:
        """Read and prepare a micrograph unless there are candidates of it and of its decoys."""
        if stored_candidates(job, self._settled) is not None and _stored_decoys(job) is not None:
            return None
        micrograph = read_micrograph(job.file, self._settled.config.pixel_size)
        image = self._picker.prepare(self._settled.with_dark_particles(micrograph), self._settled.diameter)
        return _Prepared(micrograph, image, radial_spectrum(image))

    def compare(self, job: PickJob, reading: Future[_Prepared | None]) -> tuple[Candidates, Candidates] | str:
        """Return the candidates of a micrograph and those of its decoys, and store them; or why there are none."""
        try:
            read = reading.result()
            candidates, decoys = stored_candidates(job, self._settled), _stored_decoys(job)
            if read is not None and candidates is None:
                found = self._picker.locate(read.image, read.micrograph).particles
                candidates = Candidates(found, *read.micrograph.image.shape)
                write_candidates(job.outputs.candidates, candidates, job.candidates_key)
            assert candidates is not None
            if read is not None and decoys is None:
                if read.spectrum is None:
                    return f"{job.file.path} is too small or too uniform to tell its noise"
                decoys = self._found_in_noise(read, read.spectrum, self.plan(candidates)[1])
                write_candidates(job.outputs.decoy, decoys, job.decoy_key)
            assert decoys is not None
        except CryotxError as error:
            return error.message
        except OSError as error:
            return f"{job.file.path}: {error.strerror or error}"
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


def _stored_decoys(job: PickJob) -> Candidates | None:
    return read_candidates(job.outputs.decoy, job.decoy_key)
