"""Which size of particle is there in a few micrographs? They are looked at in many scales, each compared with noise.

The network sees particles whose diameter it is told wrongly by up to a factor of two, and what it says of their size
lies between what it is told and the truth. So a few sizes, each larger than the last by the square root of two, are
enough to see which particles there are, and what is said of their size at two or three of them tells it closely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.detector.particle_picker import ENOUGH_PARTICLES, DiameterEstimate, ParticlePicker
from cryotx_cli.errors import MicrographError
from cryotx_cli.micrographs.decoy import decoy_from, noise_seed, radial_spectrum
from cryotx_cli.micrographs.image import PIXELS_PER_DIAMETER
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.runs.expected_f1 import highest_expected_f1
from cryotx_cli.runs.false_discovery import FalseDiscovery, false_discovery
from cryotx_cli.wording import counted

STEP = math.sqrt(2)
USUAL_SIZES = tuple(40 * STEP**step for step in range(11))
"""Å: of all that people pick, from 40 to 1,280."""

CONVINCING_F1, CLEARLY_BETTER = 0.65, 0.2
"""Expected F1 of the candidates of one contrast beyond which nobody looks at the other, and by what that has to win."""

_FIELD, _LARGEST_FIELD = 384, 640  # network px of the middle of a micrograph: of each of ten, and of few
_MANY = 10  # micrographs
_NARROWEST = 4.0  # px: nothing is seen of a smaller particle
_WITH_DECOYS = 3  # micrographs
_ENOUGH_AGREE = 3  # micrographs that say the same size alone: then the others are looked at near it only
_NEAR = 2  # steps either way
_PLACES, _MOST_DECOYS = 1000, 12  # for particles in all decoys of a size; decoys of one micrograph
_CLOSER = 8  # times as many at most where few micrographs hardly differ from noise
_FIRST = 4  # sizes that are compared with noise before others are
_CONVINCING = 0.35  # least expected F1 of what noise does not explain
_AS_GOOD = 0.8  # of the best evidence
_TOLERATED = math.log(1.2)  # F1 hardly falls when the diameter is so far from the truth
_LIKELY, _SPEAKS_F1, _SPEAKS = 0.5, 0.5, 5  # candidates and their expected F1 from which a micrograph speaks for itself
_WALK = 4
_GOOD_PART = 0.3  # of the mean of all micrographs: what has less does not show the same
_PSEUDOCOUNT = 10.0

# What the network says of the size of a particle as a multiple of what it is told, if that is such a multiple of the
# truth (natural logarithms): the mean of seven real sets, which deviate by 0.03 at most.
_TOLD = (-1.0, -0.65, -0.46, -0.32, -0.14, 0.0, 0.22, 0.3, 0.39, 0.57, 0.73)
_SAID = (0.43, 0.4, 0.362, 0.283, 0.129, 0.0, -0.19, -0.243, -0.287, -0.32, -0.352)
_CLOSE = 0.45  # beyond it what is said hardly depends on the truth


@dataclass(frozen=True)
class SizeSeen:
    """What a few micrographs show of particles of one size.

    Parameters
    ----------
    told
        The diameter that the network was told, in Å.
    evidence
        Expected F1 of the candidates that noise does not explain, less where that rests on few decoys; 0 where there
        are no more candidates than in noise.
    count
        How many particles a micrograph is expected to show in the field that was looked at.
    implied
        The diameter in Å that follows from what the network says; NaN where it says nothing.
    """

    told: float
    evidence: float
    count: float
    implied: float

    @property
    def weight(self) -> float:
        """Evidence as if ten particles more had been looked for and not been there: a few lumps are none."""
        return self.evidence * self.count / (self.count + _PSEUDOCOUNT)

    @property
    def distance(self) -> float:
        """How far the diameter told is from the implied one, as a natural logarithm: small ones are exact."""
        return abs(math.log(self.told / self.implied))


@dataclass(frozen=True, eq=False)
class _Look:
    """Candidates of one micrograph at one size."""

    scores: NDArray[np.float64]
    sizes: NDArray[np.float64]  # Å
    shape: tuple[int, int]
    spectrum: NDArray[np.float64] | None
    empty: Micrograph  # of the same size
    seed: int


class SizeSweep:
    """Looks at micrographs, one at a time, and says which sizes of particles they show together and alone.

    Parameters
    ----------
    picker
        One that compares with noise.
    sizes
        Diameters in Å to look at, each larger than the last by a factor of the square root of two.
    micrographs
        How many will be looked at: of many, a smaller field each.
    """

    def __init__(self, picker: ParticlePicker, sizes: Sequence[float], micrographs: int) -> None:
        self._picker, self._sizes = picker, tuple(sizes)
        self._field = int(np.clip(_FIELD * math.sqrt(_MANY / max(1, micrographs)), _FIELD, _LARGEST_FIELD))
        self._closer = 1 if micrographs > _WITH_DECOYS else _CLOSER
        self._looks: list[list[_Look]] = [[] for _ in self._sizes]
        self._noise: dict[tuple[float, int], list[NDArray[np.float64]]] = {}
        self._near: int | None = None
        self._together: dict[int, SizeSeen] = {}
        self._alone: list[float] = []
        self._count = 0

    def add(self, micrograph: Micrograph) -> None:
        """Look at one more micrograph; sizes that do not fit it are left out.

        Once some agree on a size, others are looked at near it only.
        """
        own: dict[int, _Look] = {}
        for place in self._worth_looking():
            try:
                look = self._look(micrograph, self._sizes[place])
            except MicrographError:  # too small for particles of this size
                continue
            if look is not None:
                own[place] = look
                self._looks[place].append(look)
        self._together.clear()
        self._count += 1
        seen = {place: _alone(self._sizes[place], look) for place, look in own.items()}
        speaking = [place for place, one in seen.items() if one.evidence >= _SPEAKS_F1]
        if speaking:
            best = max(speaking, key=lambda place: seen[place].weight)
            diameter = self._settled(best, lambda place: seen.get(place))
            if self._sizes[0] / STEP <= diameter <= self._sizes[-1] * STEP:  # a guess far from all that was looked for
                self._alone.append(diameter)

    def _worth_looking(self) -> range:
        """Return the places of the sizes at which to look at the next micrograph."""
        everywhere = range(len(self._sizes))
        if len(self._alone) < _ENOUGH_AGREE:
            return everywhere
        if self._near is None:
            try:
                estimate = self.estimate()
            except MicrographError:
                return everywhere
            if estimate.agreeing < _ENOUGH_AGREE:
                return everywhere
            self._near = self._nearest(estimate.value)
        return everywhere[max(0, self._near - _NEAR) : self._near + _NEAR + 1]

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest diameter in Å that fitted a micrograph."""
        fitted = [size for size, looks in zip(self._sizes, self._looks, strict=True) if looks]
        return min(fitted, default=math.nan), max(fitted, default=math.nan)

    def best(self) -> SizeSeen | None:
        """Return the size with the best evidence of all micrographs together; None if none has any."""
        place = self._best_place()
        return None if place is None else self._judge(place)

    def diameter(self) -> float | None:
        """Return the diameter in Å that all micrographs together say; None if they show no particles."""
        place = self._best_place()
        return None if place is None else self._settled(place, self._judge)

    def estimate(self) -> DiameterEstimate:
        """Return the diameter that all micrographs together say, and what each says alone.

        Raises
        ------
        MicrographError
            They show no particles of any size.
        """
        diameter, best = self.diameter(), self.best()
        if diameter is None or best is None:
            raise MicrographError(
                f"--diameter auto: no particles seen in {counted(self._count, 'micrographs')}, tried "
                f"{self._sizes[0]:.0f} to {self._sizes[-1]:.0f} Å: at no size are there more candidates than in noise",
                "Give the diameter in Å, for example --diameter 160.",
            )
        return DiameterEstimate(diameter, tuple(sorted(self._alone)), self._count, self.shown(best))

    def _best_place(self) -> int | None:
        """Return the size with the best evidence, of those that show enough particles if there are such."""
        # Decoys cost as much as micrographs. Sizes that look good without come first.
        plain = [highest_expected_f1(_joined([look.scores for look in looks])) for looks in self._looks]
        order = sorted((place for place, looks in enumerate(self._looks) if looks), key=lambda place: -plain[place])
        good: list[int] = []
        for places in (order[:_FIRST], order[_FIRST:]):
            good += [place for place in places if self._judge(place).evidence >= _CONVINCING]
            enough = [place for place in good if self.shown(self._judge(place)) >= ENOUGH_PARTICLES]
            if enough:
                return max(enough, key=lambda place: self._judge(place).evidence)
        return max(good, key=lambda place: self._judge(place).evidence, default=None)

    def shown(self, seen: SizeSeen) -> float:
        """Return how many particles of a size all micrographs together are expected to show."""
        return seen.count * len(self._looks[self._nearest(seen.told)])

    def shown_by(self, seen: SizeSeen) -> int:
        """Return how many micrographs show a good part of what each of them should, if all were alike."""
        place = self._nearest(seen.told)
        looks = self._looks[place]
        found = self._in_noise(self._sizes[place], looks)
        if found is None:
            return 0
        counts = [float((look.scores * (1 - found.noise_of(look.scores))).sum()) for look in looks]
        return sum(count >= _GOOD_PART * seen.count for count in counts)

    def _settled(self, place: int, judge: Callable[[int], SizeSeen | None]) -> float:
        """Go from a size to the one that it implies, and average what is said there and beside it."""
        here = judge(place)
        assert here is not None
        for _ in range(_WALK):
            next_place = self._nearest(here.implied)
            there = judge(next_place)
            if next_place == place or there is None or there.evidence < _CONVINCING:
                break
            place, here = next_place, there
        seen = [judge(other) for other in (place - 1, place, place + 1) if 0 <= other < len(self._sizes)]
        beside = [one for one in seen if one is not None]
        enough = _AS_GOOD * max(one.evidence for one in beside)
        used = [one for one in beside if one.evidence >= enough and one.distance <= _CLOSE] or [here]
        weights = [one.evidence * max(0.01, _CLOSE - one.distance) for one in used]
        implied = float(np.average([math.log(one.implied) for one in used], weights=weights))
        return math.exp(_where_seen(implied, beside))

    def _nearest(self, diameter: float) -> int:
        return int(np.argmin(np.abs(np.log(np.array(self._sizes) / diameter))))

    def _look(self, micrograph: Micrograph, diameter: float) -> _Look | None:
        """Return the candidates, half a diameter apart at least, in the middle of a micrograph."""
        if diameter < _NARROWEST * micrograph.pixel_size:
            return None
        middle = middle_of(micrograph, diameter, self._field)
        prepared = self._picker.prepare(middle, diameter)
        found = apart(self._picker.locate(prepared, middle).particles, diameter)
        spectrum = radial_spectrum(prepared) if self._count < _WITH_DECOYS else None
        empty = replace(middle, image=np.broadcast_to(np.float32(0), middle.image.shape))
        height, width = prepared.shape
        sizes = found.diameters * found.pixel_size
        return _Look(found.scores, sizes, (height, width), spectrum, empty, noise_seed(micrograph.image))

    def _judge(self, place: int) -> SizeSeen:
        if place not in self._together:
            self._together[place] = self._compared(self._sizes[place], self._looks[place])
        return self._together[place]

    def _compared(self, diameter: float, looks: Sequence[_Look]) -> SizeSeen:
        """Compare what was found at one size with decoys of some of the micrographs."""
        scores, sizes = _joined([look.scores for look in looks]), _joined([look.sizes for look in looks])
        found = self._in_noise(diameter, looks)
        if found is None or found.is_noise or not len(scores):
            return SizeSeen(diameter, 0.0, 0.0, math.nan)
        real = scores * (1 - found.noise_of(scores))
        evidence = found.distinctness * highest_expected_f1(real)
        return SizeSeen(diameter, evidence, float(real.sum()) / len(looks), _implied(diameter, sizes, real))

    def _in_noise(self, diameter: float, looks: Sequence[_Look]) -> FalseDiscovery | None:
        compared = [look for look in looks if look.spectrum is not None]
        if not compared:
            return None
        drawn = self._noise.setdefault((diameter, len(compared)), [])
        scores, areas, area = [look.scores for look in looks], sum(map(_area, looks)), sum(map(_area, compared))
        times = 1
        while True:
            each = min(math.ceil(times * _PLACES * PIXELS_PER_DIAMETER**2 / area), times * _MOST_DECOYS)
            for number in range(len(drawn) // len(compared), each):
                drawn.extend(self._seen_in_noise(diameter, look, number) for look in compared)
            found = false_discovery(scores, drawn, areas * len(compared) / (area * len(drawn)))
            times *= 2
            if times > self._closer or not found.is_doubtful:
                return found

    def _seen_in_noise(self, diameter: float, look: _Look, number: int) -> NDArray[np.float64]:
        """Return scores of the candidates in one decoy of a micrograph."""
        assert look.spectrum is not None
        noise = decoy_from(look.spectrum, look.shape, look.seed, number)
        return apart(self._picker.locate(noise, look.empty).particles, diameter).scores


def middle_of(micrograph: Micrograph, diameter: float, field: float) -> Micrograph:
    """Return the middle of a micrograph, `field` px wide where a particle of `diameter` Å is 24 px across."""
    side = int(field * diameter / PIXELS_PER_DIAMETER / micrograph.pixel_size)
    height, width = micrograph.image.shape
    y, x = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return replace(micrograph, image=micrograph.image[y : y + side, x : x + side])


def apart(found: Particles, diameter: float) -> Particles:
    """Return candidates that are at least half a diameter (Å) apart."""
    return found.with_minimum_distance(0.5 * diameter / found.pixel_size)


def sweep(picker: ParticlePicker, micrographs: Iterable[Micrograph], count: int) -> SizeSweep:
    """Look for particles of all usual sizes in about `count` micrographs, read as they are asked for."""
    looking = SizeSweep(picker, USUAL_SIZES, count)
    for micrograph in micrographs:
        looking.add(micrograph)
    return looking


def _alone(told: float, look: _Look) -> SizeSeen:
    """Return what one micrograph shows by its likely candidates, without a word on noise."""
    likely = look.scores > _LIKELY
    count = int(np.count_nonzero(likely))
    evidence = highest_expected_f1(look.scores) if count >= _SPEAKS else 0.0
    return SizeSeen(told, evidence, count, _implied(told, look.sizes, likely.astype(float)))


def _implied(told: float, sizes: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the diameter that follows from the sizes said, in Å; NaN where no candidate has a weight.

    The upper quartile of the sizes counts: views along the longest extent of a particle look smaller.
    """
    if not weights.sum() > 0:
        return math.nan
    order = np.argsort(sizes)
    shares = np.cumsum(weights[order]) / weights.sum()
    said = sizes[order][min(int(np.searchsorted(shares, 0.75)), len(sizes) - 1)]
    return told / math.exp(float(np.interp(-math.log(said / told), -np.array(_SAID), _TOLD)))


def _where_seen(implied: float, seen: Sequence[SizeSeen]) -> float:
    """Return the diameter nearest to the implied one, and no more than a fifth from it, that shows the particles well.

    A clear particle is seen at all of them alike. A faint one may be seen only by a network that expects a smaller one.
    Both diameters are natural logarithms.
    """
    near = implied + np.linspace(-_TOLERATED, _TOLERATED, 41)
    evidence = np.interp(near, [math.log(one.told) for one in seen], [one.evidence for one in seen])
    good = near[evidence >= _AS_GOOD * evidence.max()]
    return float(good[np.argmin(np.abs(good - implied))])


def _joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _area(look: _Look) -> int:
    return look.shape[0] * look.shape[1]
