"""Classes of the picks of a run: what they average to, and which of them are more than chance makes of noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cryotx_cli.averages.centring import LEAST_CENTRED, MOST_SPREAD, centred_power, show_an_object, spread
from cryotx_cli.averages.chance import crops_of_noise
from cryotx_cli.averages.crops import MASK_RADIUS, SIDE, Kept, in_numbers
from cryotx_cli.averages.halves import HalvesOfCrops, Images, Matches, strength
from cryotx_cli.averages.leftovers import asked_for, leftovers
from cryotx_cli.averages.polar import PolarFourier
from cryotx_cli.averages.search import Poses
from cryotx_cli.averages.standing_out import FAR, stands_out

FEWEST = 30
"""Picks from which on there is something to average."""
_SEARCHED_RINGS = 16
_EACH, _MOST = 60, 50
_NOISE_CROPS, _NOISE_EACH, _NOISE_CLASSES, _NOISE_PLACES = 1536, 128, 12, 400
_SHOWN = 2000  # of the crops that fit no average
_DEVIATIONS = 4.5  # by which a class exceeds those of noise: these reach 2, and 3.6 in one run of ten
_FIRST_RING, _MOSTLY = 3, 0.75
_IN_CLASSES = 1 / 3  # of the particles by the scores: fewer in classes that are more than noise tell nothing of others
_LEAST_SHARED = 0.143  # of two halves: Rosenthal and Henderson, J. Mol. Biol. 333, 721 (2003)


@dataclass(frozen=True, eq=False)
class Class:
    """One class.

    Parameters
    ----------
    image
        (side, side) the average of all its crops, weighted by what its halves share.
    curve
        (side / 2,) Fourier ring correlation of its halves, from ring 1 on.
    strength
        How far its halves agree: mean of Fisher's z of the rings that count.
    ring
        Up to which ring they do; None: no further than those of noise, or it shows no object of its own.
    between
        Rings between which this may lie: what they share, less and more half a deviation of what noise does.
    centred
        Share of the power of its crops that lies round their middle, see `cryotx_cli.averages.centring`.
    spread
        By how many pixels on each axis its crops are moved, root mean square.
    """

    image: Images
    curve: NDArray[np.float64]
    strength: float
    ring: int | None
    between: tuple[int, int] = (0, 0)
    centred: float = 0.0
    spread: float = 0.0

    @property
    def has_its_own(self) -> bool:
        """Whether it shows an object of its own, and not what lies beside its picks."""
        return self.centred >= LEAST_CENTRED and self.spread <= MOST_SPREAD


@dataclass(frozen=True, eq=False)
class Classes:
    """All crops in classes, the largest first.

    Parameters
    ----------
    classes
        What they average to.
    numbers
        (n,) class of each crop, from 0.
    angles
        (n,) radians from the x axis towards the y axis by which it is turned.
    shifts
        (n, 2) x and y in pixels of a crop by which it is moved before it is turned.
    scores
        (n,) its correlation with the average of its half.
    chance
        The strength above which a class is no noise.
    noise
        (side / 2,) what halves of classes of noise share, from ring 1 on.
    rings
        How many of the rings hold something.
    leftover
        Number of the class of the crops that fit no average, the last one; None: there are none.
    """

    classes: list[Class]
    numbers: NDArray[np.int64]
    angles: NDArray[np.float64]
    shifts: NDArray[np.float64]
    scores: NDArray[np.float64]
    chance: float
    noise: NDArray[np.float64]
    rings: int
    leftover: int | None = None


def number_of_classes(picks: int) -> int:
    """Return how many classes so many picks are good for: each needs some to average, and more picks show more views.

    60 picks and more for each, and no more classes than half the root of the picks; at most 50.
    """
    return max(1, min(round(picks / _EACH), round(math.sqrt(picks) / 2), _MOST))


def sorted_into_classes(
    crops: Kept,
    trains: NDArray[np.bool_],
    rings: int,
    classes: int,
    seed: int,
    device: torch.device,
    scores: NDArray[np.float64] | None = None,
    whole: NDArray[np.bool_] | None = None,
) -> Classes:
    """Sort crops into classes.

    Parameters
    ----------
    crops
        (n, side, side), as `cryotx_cli.averages.crops` cuts them.
    trains
        (n,) which of them the classes are made with; the others are assigned in the end. At least `FEWEST`.
    rings
        Up to which ring of Fourier space they hold something.
    classes
        How many.
    seed
        The same one gives the same classes.
    device
        Where to compute.
    scores
        (n,) probabilities that crops are particles: those that fit no average and are none by these, either, become a
        class of their own. None: there is no such class.
    whole
        (n,) which crops are averaged; the others, which would show the border of their micrograph, are assigned only.
        None: all.
    """
    polar = PolarFourier(SIDE, MASK_RADIUS, min(_SEARCHED_RINGS, rings), device)
    second = np.asarray(np.random.default_rng(seed).permutation(np.arange(len(crops)) % 2 == 1))
    # The halves of each are side by side: more threads than that would wait for each other.
    with _fewer_threads_each():
        sorted_ = HalvesOfCrops(polar, crops, second, trains, classes, seed, whole)
        noise = _shared_by_noise(polar, crops, trains, rings, classes, seed)
    found = _Found(sorted_, rings, noise).classes(second)
    found = replace(found, classes=_judged(found, crops))
    if scores is None:
        return found
    asked = asked_for(scores)
    agrees = np.array([one.ring is not None for one in found.classes])
    # Where few classes are more than noise, that a pick fits none says nothing of it: its view may be no class.
    if not asked.any() or scores[agrees[found.numbers]].sum() < _IN_CLASSES * scores.sum():
        return found
    places = crops_of_noise(_template(crops, trains), _NOISE_PLACES, seed)
    out = stands_out(crops, scores, asked)
    left = leftovers(sorted_.fits(places, asked), scores, out, found.numbers, agrees)
    # What shows an object is no noise, though it fits no average: a small protein without classes of its own.
    like_others = left & (out <= FAR) if whole is None else left & (out <= FAR) & whole
    if show_an_object(crops, like_others):
        left &= out > FAR
    return _with_leftovers(found, crops, left)


@contextmanager
def _fewer_threads_each() -> Iterator[None]:
    """Let each step take its share of the processor only: threads of steps side by side would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _with_leftovers(found: Classes, crops: Kept, left: NDArray[np.bool_]) -> Classes:
    """Take crops out of their classes into one of their own, which shows what they are: their plain mean."""
    if not left.any():
        return found
    image = in_numbers(crops[np.flatnonzero(left)[:_SHOWN]]).astype(np.float64).mean(0)
    numbers = np.where(left, len(found.classes), found.numbers)
    last = Class(image, np.zeros(SIDE // 2), 0.0, None)
    return replace(found, classes=[*found.classes, last], numbers=numbers, leftover=len(found.classes))


def _judged(found: Classes, crops: Kept) -> list[Class]:
    """Return the classes with what tells whether each shows an object of its own; those that do not have no ring."""
    count = len(found.classes)
    measured = zip(
        found.classes,
        centred_power(crops, found.numbers, count).tolist(),
        spread(found.shifts, found.numbers, count).tolist(),
        strict=True,
    )
    known = [replace(one, centred=centred, spread=moved) for one, centred, moved in measured]
    return [one if one.has_its_own else replace(one, ring=None) for one in known]


def _shared_by_noise(
    polar: PolarFourier, crops: Kept, trains: NDArray[np.bool_], rings: int, classes: int, seed: int
) -> Images:
    """Return the ring correlations of classes of noise that are made with as many crops as those of the picks.

    Few are assigned beyond these: more agree no further, for they fit what the others have averaged to
    (mean of Fisher's z .42 with 91 crops in a class, .41 with 523 and .43 with 1,000, of which 91 make the classes).
    """
    template = _template(crops, trains)
    each = max(2, len(crops) // classes)
    drawn = min(each, max(_NOISE_EACH, round(each * trains.mean())))
    at_once = min(classes, _NOISE_CLASSES, max(2, _NOISE_CROPS // drawn))
    curves: list[Images] = []
    while sum(map(len, curves)) < _NOISE_CLASSES:
        number = seed * 100 + len(curves)
        noise = crops_of_noise(template, drawn * at_once, number)
        second = np.arange(len(noise)) % 2 == 1
        train = _some(len(noise), trains.mean() * each / drawn, number)
        halves = HalvesOfCrops(polar, noise, second, train, at_once, number)
        pairs, of_first, of_second = (one.curves for one in halves.matches())
        # The best that a class has to show, as with picks.
        for alone in (of_first, of_second):
            better = strength(alone, rings) > strength(pairs, rings)
            pairs = np.where(better[:, None], alone, pairs)
        curves.append(pairs)
    return np.concatenate(curves)


def _template(crops: Kept, trains: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return what crops that classes are made with average to as they are."""
    some = np.flatnonzero(trains)
    return np.asarray(in_numbers(crops[some[:: max(1, len(some) // 2000)]]).mean(0))


def _some(count: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which of so many crops of noise classes are made with: the same share as of the picks."""
    trains = max(FEWEST, round(share * count))
    return np.asarray(np.random.default_rng(seed).permutation(count) < trains)


class _Found:
    """The classes of two halves brought together."""

    def __init__(self, halves: HalvesOfCrops, rings: int, noise: Images) -> None:
        self._halves, self._rings = halves.halves, rings
        by_chance = strength(noise, rings)
        self._chance = float(by_chance.mean() + _DEVIATIONS * by_chance.std(ddof=1))
        self._noise, self._error = noise.mean(0), _smooth(noise).std(0)
        self._bound = np.maximum(_LEAST_SHARED, _smooth(noise).mean(0) + _smooth(noise).std(0))
        self._matches = halves.matches()
        self._kept: list[Class] = []
        count = len(self._halves[0].counts)
        # By half and class: number of the class it becomes, and how it fits that one.
        self._numbers = np.zeros((2, count), np.int64)
        self._angles, self._shifts = np.zeros((2, count)), np.zeros((2, count, 2))

    def classes(self, second: NDArray[np.bool_]) -> Classes:
        """Return the classes of all crops, of which these are the second half."""
        pairs, of_first, of_second = self._matches
        for i in range(len(pairs.first)):
            one, other = int(pairs.first[i]), int(pairs.second[i])
            if strength(pairs.curves[i : i + 1], self._rings)[0] > self._chance:
                self._add_pair(i)
                continue
            alone = [(0, one, of_first.curves[one]), (1, other, of_second.curves[other])]
            if any(strength(curve[None], self._rings)[0] > self._chance for _, _, curve in alone):
                # Each is a view that the other half has in another class: what they show must not be mixed.
                for half, number, curve in alone:
                    self._numbers[half, number] = len(self._kept)
                    self._keep(self._halves[half].images[number], curve)
            else:
                self._add_pair(i)
        return self._of_all(second)

    def _add_pair(self, i: int) -> None:
        pairs: Matches = self._matches[0]
        one, other = int(pairs.first[i]), int(pairs.second[i])
        self._numbers[0, one] = self._numbers[1, other] = len(self._kept)
        self._angles[1, other] = float(pairs.onto.angles[i])
        self._shifts[1, other] = pairs.onto.shifts[i].cpu().numpy()
        counts = self._halves[0].counts[one], self._halves[1].counts[other]
        image = (counts[0] * self._halves[0].images[one] + counts[1] * pairs.images[i]) / max(1, sum(counts))
        self._keep(image, pairs.curves[i])

    def _keep(self, image: Images, curve: NDArray[np.float64]) -> None:
        shared = float(strength(curve[None], self._rings)[0])
        ring, between = None, (0, 0)
        if shared > self._chance:
            smooth, error = _smooth(curve[None])[0, : self._rings], self._error[: self._rings]
            low, ring, high = (last_ring(smooth + by * error, self._bound[: self._rings]) for by in (-0.5, 0, 0.5))
            between = (low, high)
        self._kept.append(Class(_weighted(image, curve), curve, shared, ring, between))

    def _of_all(self, second: NDArray[np.bool_]) -> Classes:
        poses = []
        for half, own in enumerate(self._halves):
            device = own.poses.angles.device
            onto = Poses(
                torch.from_numpy(self._numbers[half]).to(device),
                torch.from_numpy(self._angles[half]).float().to(device),
                torch.from_numpy(self._shifts[half]).float().to(device),
                torch.zeros(len(self._numbers[half]), device=device),
            )
            poses.append(own.poses.after(onto))
        order = np.argsort(np.concatenate([np.flatnonzero(~second), np.flatnonzero(second)]))
        everything = Poses.joined(poses)
        numbers = everything.classes.cpu().numpy()[order]
        largest = np.argsort(-np.bincount(numbers, minlength=len(self._kept)), kind="stable")
        return Classes(
            [self._kept[number] for number in largest],
            np.argsort(largest)[numbers],
            everything.angles.cpu().double().numpy()[order],
            everything.shifts.cpu().double().numpy()[order],
            everything.scores.cpu().double().numpy()[order],
            self._chance,
            self._noise,
            self._rings,
        )


def last_ring(curve: NDArray[np.float64], bound: NDArray[np.float64]) -> int:
    """Return the last ring on which halves share more than the bound, as they do on three of four before it.

    Parameters
    ----------
    curve
        (rings,) what they share, from ring 1 on.
    bound
        (rings,) what noise does.
    """
    beyond = curve > bound
    beyond[:_FIRST_RING] = True  # there any two blobs agree
    share = np.cumsum(beyond) / np.arange(1, len(beyond) + 1)
    return int(np.flatnonzero(beyond & (share >= _MOSTLY))[-1]) + 1


def _smooth(curves: Images) -> Images:
    """Return the means of each ring and its two neighbours."""
    padded = np.pad(curves, ((0, 0), (1, 1)), mode="edge")
    return np.asarray((padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3)


def _weighted(image: Images, curve: NDArray[np.float64]) -> Images:
    """Weigh the rings of an average by what they are worth: the root of 2 c / (1 + c), where its halves share c."""
    shared = np.clip(_smooth(curve[None])[0], 0, 1)
    worth = np.concatenate([[1.0], np.sqrt(2 * shared / (1 + shared)), np.zeros(SIDE)])
    return filtered(image, worth)


def filtered(image: Images, gain: NDArray[np.float64]) -> Images:
    """Multiply the rings of an image (side, side) by factors, from ring 0 on; the last one stands for those beyond."""
    ring = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]) * SIDE
    return np.asarray(np.fft.irfft2(np.fft.rfft2(image) * np.interp(ring, np.arange(len(gain)), gain), s=image.shape))
