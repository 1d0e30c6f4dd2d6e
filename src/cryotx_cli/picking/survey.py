"""Before a run picks: a few of its micrographs beside noise with the same spectrum, which settles where to cut."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Semaphore

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import ParticlePicker
from cryotx_cli.errors import CryotxError
from cryotx_cli.events import Event, Tell
from cryotx_cli.micrographs.decoy import decoy_from
from cryotx_cli.picking.core_threads import CorePool, cores_for
from cryotx_cli.picking.prepared import Noise, Prepared, prepared, tell_of_blank
from cryotx_cli.picking.subjects import Subject
from cryotx_cli.runs.candidates import Candidates
from cryotx_cli.runs.false_discovery import FalseDiscovery, false_discovery
from cryotx_cli.runs.folder import fingerprint
from cryotx_cli.runs.seen_elsewhere import OTHER_SIZES, Seen, SeenElsewhere, noise_beside
from cryotx_cli.runs.settled import Settled
from cryotx_cli.wording import counted

_FEWEST = 3  # decoys: how much they differ tells whether there are enough
_ERROR = 0.02  # of the number of picks that other decoys would give, its standard error: F1 changes by less than that
_HALF_A_PICK = 0.5
_GROWTH = 1.25  # how many times as many decoys there are before that is asked again
_LARGE_RUN, _SHARE, _AT_LEAST = 20, 0.08, 3  # micrographs; decoys, each of which takes nearly as long as a micrograph
# For particles in all decoys of a small run. With half of the least, mottled ice got picks in one run of 10; with the
# most, F1 of a faint micrograph alone differs from draw to draw by one pick (benchmarks/draws.py).
_PLACES, _LEAST_PLACES = 12000, 3000
_OF_EACH = 4  # decoys for each micrograph that is compared, in the mean: small ones say little


@dataclass(frozen=True, eq=False)
class Survey:
    """What was found.

    Parameters
    ----------
    found
        False discovery rates by score; None if no decoy could be made.
    subjects
        Places of the micrographs that were compared with their decoys, whose candidates are kept now.
    elsewhere
        What other sizes say, for the next survey of the same micrographs; None where it does not matter.
    checksums
        Of the files of which all bytes were read, by the place of the micrograph.
    """

    found: FalseDiscovery | None
    subjects: tuple[int, ...] = field(default=())
    elsewhere: SeenElsewhere | None = None
    checksums: Mapping[int, int] = field(default_factory=dict)


def survey(
    subjects: Sequence[Subject],
    settled: Settled,
    picker: ParticlePicker,
    tell: Tell,
    known: SeenElsewhere | None = None,
) -> Survey:
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
    known
        What other sizes said in an earlier survey.

    Raises
    ------
    CryotxError
        A false discovery rate was asked for and no decoy can be made.
    """
    if not settled.config.decoys or not settled.by_probability or not subjects:
        return Survey(None)
    with _Comparison(subjects, settled, picker, tell) as comparison:
        if picker.compares_with_noise:
            tell(Event("Comparing some of the micrographs with noise of the same spectrum."))
            comparison.look()
            tell_of_blank(comparison.blank, tell)
            comparison.make_decoys()
        found = comparison.result()
        comparison.tell_of_few()
        if found.found is not None and found.found.is_unclear and len(subjects) < _LARGE_RUN:
            found = comparison.seen_elsewhere(found, known)
    if found.found is None:
        why = comparison.reasons[0] if comparison.reasons else "these weights do not see a particle at one size"
        if settled.config.fdr is not None:
            raise CryotxError(
                f"--fdr {settled.config.fdr:g}: there is nothing to compare the candidates with ({why})",
                "Give --threshold instead.",
            )
        tell(Event(f"The share of false picks is not known, and each micrograph has a threshold of its own: {why}."))
    return found


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


@dataclass(eq=False)
class _Look:
    """A micrograph that is compared: its candidates, and those of the decoys that count so far."""

    place: int
    subject: Subject
    candidates: Candidates
    scores: NDArray[np.float64]
    noise: Noise | None
    decoys: list[Candidates] = field(default_factory=list)

    @property
    def stack(self) -> Candidates:
        """All decoys, one below the other; of no height where there are none."""
        size, width, height = self.candidates.particles.pixel_size, self.candidates.width, self.candidates.height
        ones = [one.particles for one in self.decoys]
        if not ones:
            return Candidates(Particles.empty(size), 0, width)
        centres = [one.centres + (0, number * height) for number, one in enumerate(ones)]
        scores, diameters = ([getattr(one, name) for one in ones] for name in ("scores", "diameters"))
        stacked = Particles(np.concatenate(centres), np.concatenate(scores), np.concatenate(diameters), size)
        return Candidates(stacked, len(ones) * height, width)

    def shows_the_same(self, other: _Look) -> bool:
        """Whether the other one is the same micrograph under another name."""
        mine, theirs = self.candidates.particles, other.candidates.particles
        if not len(mine) or not np.array_equal(mine.scores, theirs.scores):
            return False
        return np.array_equal(mine.centres, theirs.centres)

    def kept_decoy(self) -> Candidates | None:
        """Return the next decoy if it has been made before."""
        kept, height, number = self.subject.decoys, self.candidates.height, len(self.decoys)
        if kept is None or kept.height < (number + 1) * height:
            return None
        y = kept.particles.centres[:, 1]
        # A pixel reaches half its side beyond its centre.
        inside = (y >= number * height - 0.5) & (y < (number + 1) * height - 0.5)
        one = kept.particles.select(inside)
        return Candidates(replace(one, centres=one.centres - (0, number * height)), height, kept.width)


class _Comparison:
    """Micrographs, their decoys, and what they say together.

    Attributes
    ----------
    reasons, blank : list
        Why micrographs could not be compared, and which share of those that were read is blank.
    """

    def __init__(self, subjects: Sequence[Subject], settled: Settled, picker: ParticlePicker, tell: Tell) -> None:
        self._subjects, self._settled, self._picker, self._tell = subjects, settled, picker, tell
        self._looks: list[_Look] = []
        self._checksums: dict[int, int] = {}
        self.reasons: list[str] = []
        self.blank: list[float] = []
        # Where one network runs at a time, the next micrograph is read meanwhile.
        self._cores = cores_for(picker)
        self._threads, self._network = CorePool(max(2, self._cores)), Semaphore(self._cores)
        self._coming: dict[tuple[int, int], Future[Candidates | None]] = {}  # by place and number of the decoy

    def __enter__(self) -> _Comparison:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def look(self) -> None:
        """Find the candidates of as many micrographs as the settings say, as many at a time as there are cores."""
        wanted, coming = min(self._settled.config.decoys, len(self._subjects)), _spread(self._subjects)
        ahead: deque[tuple[int, Future[_Look]]] = deque()
        while len(self._looks) < wanted:
            more = min(max(2, self._cores) + 1, wanted - len(self._looks)) - len(ahead)
            for place in islice(coming, more):
                is_decoyed = len(self._looks) + len(ahead) < _FEWEST
                ahead.append((place, self._threads.submit(self._looked_at, place, is_decoyed)))
            if not ahead:
                return
            place, looking = ahead.popleft()
            with self._telling(self._subjects[place]):
                look = looking.result()
                if not any(look.shows_the_same(other) for other in self._looks):  # a copy would have the same decoys
                    self._looks.append(look)

    def make_decoys(self) -> None:
        """Find what the network sees in decoys: in one of each micrograph, then the next, until they are enough."""
        made, asked = 0, _FEWEST
        while self._looks and made < self._most():
            self._begin_decoys(made, asked)
            look = self._looks[made % len(self._looks)]
            known = False
            with self._telling(look.subject):
                known = self._add_decoy(look)
            if not known:
                self._looks.remove(look)
                continue
            made += 1
            if made >= asked:
                if self._are_enough():
                    return
                asked = max(made + 1, int(_GROWTH * made))

    def result(self) -> Survey:
        """Return what all of it says; the files hold that and nothing else."""
        compared = any(look.decoys for look in self._looks)
        places = {look.place for look in self._looks} if compared else set()
        for place, subject in enumerate(self._subjects):
            if place not in places:
                subject.forget_decoys()
        if not compared:
            return Survey(None, checksums=self._checksums)
        pairs = [(look.candidates, look.stack) for look in self._looks]
        for look, (_, stack) in zip(self._looks, pairs, strict=True):
            kept = look.subject.decoys
            if kept is None or kept.height != stack.height:
                look.subject.keep(None, stack)
        found = self._settled.selection.compared(pairs)
        return Survey(found, tuple(look.place for look in self._looks), checksums=self._checksums)

    def tell_of_few(self) -> None:
        """Say where what is told of false picks rests on next to no noise."""
        decoys = sum(len(look.decoys) for look in self._looks)
        if 0 < decoys < _FEWEST:
            text = f"What is told of false picks rests on {counted(decoys, 'decoys')} alone; --decoys 10 is surer."
            self._tell(Event(text, "warning"))

    def seen_elsewhere(self, found: Survey, known: SeenElsewhere | None) -> Survey:
        """Return the same with a word from sizes near the one that was told, unless an earlier survey has it."""
        assert found.found is not None
        key = fingerprint([(look.subject.key, len(look.decoys)) for look in self._looks])
        if known is None or known.key != key:
            self._tell(Event("Few candidates are clear: looking whether they are in slightly other sizes, too."))
            seen = (self._beside(factor * self._settled.diameter) for factor in OTHER_SIZES)
            known = SeenElsewhere(key, tuple(one for one in seen if one is not None))
        return replace(found, found=replace(found.found, elsewhere=known.noise), elsewhere=known)

    def _beside(self, diameter: float) -> float | None:
        """Return how much noise explains of the best candidates at another size; None where none can be looked at."""
        coming = [
            (look, self._threads.submit(self._seen, look.subject, diameter, len(look.decoys))) for look in self._looks
        ]
        seen = []
        for look, one in coming:
            with self._telling(look.subject):
                seen.append(one.result())
        return noise_beside(seen, diameter)

    def _seen(self, subject: Subject, diameter: float, decoys: int) -> Seen:
        read = self._read(subject, diameter)
        height, width = read.micrograph.image.shape
        noise = read.noise() if decoys else None
        with self._network:
            found = self._picker.locate(read.image, read.micrograph).particles
        drawn = [] if noise is None else [self._in_decoy(noise, number) for number in range(decoys)]
        return Candidates(found, height, width), drawn

    # ---- how many decoys ---------------------------------------------------------------------------------------------

    def _most(self) -> int:
        """Return how many decoys there may be: few enough for the time they take, in a small run enough to be sure."""
        first, micrographs, asked = self._looks[0].candidates, len(self._subjects), self._settled.config.decoys
        if micrographs >= _LARGE_RUN:
            return min(max(math.ceil(_SHARE * micrographs), _AT_LEAST), asked)
        size = first.particles.pixel_size / self._settled.diameter
        wanted = max(_LEAST_PLACES, _PLACES * (1 - micrographs / _LARGE_RUN))
        return min(max(math.ceil(wanted / (first.height * first.width * size**2)), _AT_LEAST), _OF_EACH * asked)

    def _are_enough(self) -> bool:
        """Whether other decoys would give next to the same number of picks: the jackknife's standard error is small.

        That there are none is not believed of a few: one loud decoy does it.
        """
        decoys = [(one, look) for look in self._looks for one in look.decoys]
        scores = [self._scores(one) for one, _ in decoys]
        areas = [one.particles.area for one, _ in decoys]
        picks = self._picks(scores, sum(areas))
        if not picks:
            return False
        without = [
            self._picks(scores[:left_out] + scores[left_out + 1 :], sum(areas) - areas[left_out])
            for left_out in range(len(decoys))
        ]
        return math.sqrt((len(without) - 1) * float(np.var(without))) <= max(_ERROR * picks, _HALF_A_PICK)

    def _picks(self, decoys: Sequence[NDArray[np.float64]], decoy_area: float) -> int:
        real = [(look.scores, look.candidates.particles.area) for look in self._looks]
        ratio = sum(area for _, area in real) / decoy_area
        cuts = false_discovery([scores for scores, _ in real], decoys, ratio, decoy_area).own_cuts
        return sum(int(np.count_nonzero(scores >= cuts.cut(scores, area))) for scores, area in real)

    # ---- one micrograph ----------------------------------------------------------------------------------------------

    @contextmanager
    def _telling(self, subject: Subject) -> Iterator[None]:
        """Take note of what goes wrong with a micrograph; the run itself will skip it with its reason."""
        try:
            yield
        except CryotxError as error:
            self.reasons.append(error.message)
        except OSError as error:
            self.reasons.append(f"{subject.name}: {error.strerror or error}")

    def _read(self, subject: Subject, diameter: float | None = None) -> Prepared:
        return prepared(subject, self._settled, self._picker, diameter or self._settled.diameter)

    def _looked_at(self, place: int, is_decoyed: bool) -> _Look:
        """Find the candidates of a micrograph unless they are kept; with what decoys are drawn from if it has some."""
        subject, noise = self._subjects[place], None
        candidates = subject.candidates
        if candidates is None:
            read = self._read(subject)
            self.blank.append(read.blank)
            with self._network:
                found = self._picker.locate(read.image, read.micrograph)
            height, width = read.micrograph.image.shape
            candidates = Candidates(found.particles, height, width, found.film)
            subject.keep(candidates, None)
            if read.checksum is not None:
                self._checksums[place] = read.checksum
            noise = read.noise() if is_decoyed else None  # its pixels are at hand now
        return _Look(place, subject, candidates, self._scores(candidates), noise)

    def _scores(self, candidates: Candidates) -> NDArray[np.float64]:
        return self._settled.selection.weighed(candidates).scores

    def _add_decoy(self, look: _Look) -> bool:
        """Give it one more decoy, if its noise can be told.

        Decoys have the size of the micrograph: the network sees all of an image at once, and in a large one it believes
        less of what noise shows.
        """
        decoy = look.kept_decoy()
        if decoy is None:
            drawn = self._drawn(look, len(look.decoys)).result()
            if drawn is None:
                self.reasons.append(f"{look.subject.name} is too small or too uniform to tell its noise")
                return False
            look.decoys.append(drawn)
            look.subject.keep(None, look.stack)
        else:
            look.decoys.append(decoy)
        return True

    def _begin_decoys(self, made: int, asked: int) -> None:
        """Let the threads draw those that come next: some beyond those asked for may be in vain."""
        more = max(asked - made, min(self._cores, _FEWEST)) if self._cores > 1 else 0
        numbers = {look.place: len(look.decoys) for look in self._looks}
        for number in range(made, min(made + more, self._most())):
            look = self._looks[number % len(self._looks)]
            kept = look.subject.decoys
            if kept is None or kept.height < (numbers[look.place] + 1) * look.candidates.height:
                self._drawn(look, numbers[look.place])
            numbers[look.place] += 1

    def _drawn(self, look: _Look, number: int) -> Future[Candidates | None]:
        """Return what the network sees in a decoy, which is drawn once."""
        key = look.place, number
        if key not in self._coming:
            self._coming[key] = self._threads.submit(self._draw, look, number)
        return self._coming[key]

    def _draw(self, look: _Look, number: int) -> Candidates | None:
        noise = look.noise = look.noise or self._read(look.subject).noise()
        return None if noise is None else self._in_decoy(noise, number)

    def _in_decoy(self, noise: Noise, number: int) -> Candidates:
        image = decoy_from(noise.spectrum, noise.shape, noise.seed, number)
        height, width = noise.micrograph.image.shape
        with self._network:
            return Candidates(self._picker.locate(image, noise.micrograph).particles, height, width)
