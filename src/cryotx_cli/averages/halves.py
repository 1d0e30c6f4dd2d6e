"""Two halves of the crops that never see each other: which of their classes show the same, and how far they agree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cryotx_cli.averages.crops import MASK_RADIUS, SIDE, Kept, in_numbers
from cryotx_cli.averages.leftovers import fits_beyond_noise
from cryotx_cli.averages.polar import PolarFourier
from cryotx_cli.averages.search import Poses, Search
from cryotx_cli.averages.training import best_poses, ring_weights, trained_averages

Images = NDArray[np.float64]

_SOFT = 8.0  # px over which the mask falls: a sharp one would carry strong rings into weak ones
_FIRST, _LAST = 3, 12  # rings that count for `strength`: a blob agrees with any other below
_CERTAIN = 0.99  # no more is believed of one ring
_AT_ONCE, _CUT_AT_ONCE = 4096, 512


@dataclass(frozen=True, eq=False)
class Half:
    """The classes of one half.

    Parameters
    ----------
    averages
        (classes, rings, angles), weighted, of the crops that it was trained with.
    images
        (classes, side, side) what all its crops average to that are whole.
    poses
        Of all its crops.
    counts
        (classes,) how many crops are averaged in each class.
    """

    averages: Tensor
    images: Images
    poses: Poses
    counts: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Matches:
    """Classes of the first half beside classes of the second, and how far they agree.

    Parameters
    ----------
    first, second
        (n,) numbers of the classes.
    onto
        (n,) how the average of the second half fits that of the first.
    images
        (n, side, side) the average of the second half, put onto that of the first.
    curves
        (n, side / 2) their Fourier ring correlation, from ring 1 on.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    onto: Poses
    images: Images
    curves: Images


class HalvesOfCrops:
    """Sorts the crops of two halves into classes, each half for itself.

    Parameters
    ----------
    polar
        How they are sampled.
    crops
        (n, side, side).
    second
        (n,) which of them are the second half.
    trains
        (n,) which of them the classes are made with; the others are assigned.
    classes
        How many.
    seed
        Each half begins with crops of its own.
    whole
        (n,) which of them are averaged; the others are assigned only. None: all.
    """

    def __init__(
        self,
        polar: PolarFourier,
        crops: Kept,
        second: NDArray[np.bool_],
        trains: NDArray[np.bool_],
        classes: int,
        seed: int,
        whole: NDArray[np.bool_] | None = None,
    ) -> None:
        self._polar, self._crops, self._second = polar, crops, second
        self._whole = np.ones(len(crops), bool) if whole is None else whole
        self._sample = _harmonics(polar, crops, np.flatnonzero(trains))
        self._in_sample = np.where(trains, np.cumsum(trains) - 1, -1)
        self._weights = ring_weights(polar, self._sample)[:, None]
        self._sample *= self._weights
        members = np.flatnonzero(~second), np.flatnonzero(second)
        # Side by side: each is a row of small steps, which leave a second core idle.
        with ThreadPoolExecutor(1) as beside:
            other = beside.submit(self._half, members[1], trains, classes, 2 * seed + 1)
            self.halves = self._half(members[0], trains, classes, 2 * seed), other.result()

    def _half(self, members: NDArray[np.intp], trains: NDArray[np.bool_], classes: int, seed: int) -> Half:
        sample = self._weighted(members[trains[members]])
        averages = trained_averages(self._polar, sample, classes, seed)
        search, parts = Search(self._polar, averages), []
        sums, counts = np.zeros((classes, SIDE, SIDE)), np.zeros(classes, np.int64)
        for start in range(0, len(members), _AT_ONCE):
            some = members[start : start + _AT_ONCE]
            poses = best_poses(search, self._weighted(some))
            parts.append(poses)
            shown = self._whole[some]
            added, number = _put_back(self._crops, some[shown], poses.select(torch.from_numpy(shown)), classes)
            sums, counts = sums + added, counts + number
        return Half(averages, sums / np.maximum(counts, 1)[:, None, None], Poses.joined(parts), counts)

    def fits(self, noise: NDArray[np.float32], asked: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return how crops fit averages of the half that they are not in, beyond crops of noise (m, side, side).

        Those that were not asked for, of a mask (n,), have NaN.
        """
        parts = []
        of_noise = _harmonics(self._polar, noise, np.arange(len(noise))) * self._weights
        for half, of_other in zip(self.halves, (True, False), strict=True):
            search, members = Search(self._polar, half.averages), asked & (self._second == of_other)
            parts.append((members, self._coarse(search, members), search.coarse(of_noise)[0].cpu().double().numpy()))
        return fits_beyond_noise(parts)

    def _coarse(self, search: Search, some: NDArray[np.bool_]) -> Images:
        members = np.flatnonzero(some)
        parts = [
            search.coarse(self._weighted(members[start : start + _AT_ONCE]))[0]
            for start in range(0, max(1, len(members)), _AT_ONCE)
        ]
        return np.asarray(torch.cat(parts).cpu().double().numpy())

    def _weighted(self, members: NDArray[np.intp]) -> Tensor:
        """Return the weighted harmonics of crops: those of the sample are known."""
        places = self._in_sample[members]
        known = places >= 0
        if known.all():
            return self._sample[torch.from_numpy(places).to(self._polar.device)]
        found = _harmonics(self._polar, self._crops, members[~known]) * self._weights
        # Those of the sample, followed by the others, in the order of the members.
        order = np.argsort(np.concatenate([np.flatnonzero(known), np.flatnonzero(~known)]))
        together = torch.cat([self._sample[torch.from_numpy(places[known]).to(found.device)], found])
        return together[torch.from_numpy(order).to(found.device)]

    def matches(self) -> tuple[Matches, Matches, Matches]:
        """Return the classes of the halves as pairs, and what suits each class of the first and of the second best."""
        first, second = self.halves
        search, harmonics = Search(self._polar, first.averages), self._polar.from_samples(second.averages)
        harmonics = harmonics / second.averages.abs().square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
        found, shifts = search.coarse(harmonics)
        scores = found.T.cpu().numpy()  # (first, second)
        own = np.arange(len(scores))

        def matched(one: NDArray[np.int64], other: NDArray[np.int64]) -> Matches:
            of_one, of_other = (torch.from_numpy(which).to(self._polar.device) for which in (one, other))
            onto = search.fine(harmonics[of_other], of_one, shifts[of_other, of_one])
            images = sharpened(_moved(second.images[other].astype(np.float32), onto).astype(np.float64))
            return Matches(one, other, onto, images, ring_correlation(first.images[one], images))

        pairs = linear_sum_assignment(scores, maximize=True)
        return matched(*pairs), matched(own, scores.argmax(1)), matched(scores.argmax(0), own)


def strength(curves: Images, rings: int) -> NDArray[np.float64]:
    """Return (n,) how far averages agree: the mean of Fisher's z of their ring correlations.

    The correlation of two blobs of noise is high on the first rings, where that of two views of a particle is higher
    still: z = artanh of it keeps the two apart.

    Parameters
    ----------
    curves
        (n, side / 2).
    rings
        How many of them hold something.
    """
    last = max(_FIRST, min(_LAST, rings))
    return np.asarray(np.arctanh(np.clip(curves[:, _FIRST - 1 : last], -_CERTAIN, _CERTAIN)).mean(1))


def ring_correlation(first: Images, second: Images) -> Images:
    """Return the Fourier ring correlation (n, side / 2) of pairs of averages (n, side, side) within the particle.

    Rings are cycles over the crop, from 1 on. 0 where an average is empty.
    """
    radius = np.hypot(*np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2)
    mask = 0.5 - 0.5 * np.cos(np.pi * np.clip((MASK_RADIUS + _SOFT / 2 - radius) / _SOFT, 0, 1))
    one, other = (np.fft.rfft2(_masked(images, mask)) for images in (first, second))
    ring = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]) * SIDE
    ring = ring.round().astype(int).ravel()
    # The columns between the first and the last stand for two.
    twice = np.tile(np.where(np.isin(np.arange(SIDE // 2 + 1), (0, SIDE // 2)), 1.0, 2.0), SIDE)

    def rings(values: Images) -> Images:
        summed = [np.bincount(ring, twice * row, SIDE)[1 : SIDE // 2 + 1] for row in values.reshape(len(values), -1)]
        return np.asarray(summed, np.float64).reshape(len(values), SIDE // 2)

    shared = rings((one * other.conj()).real)
    power = np.sqrt(rings(np.abs(one) ** 2) * rings(np.abs(other) ** 2))
    return np.asarray(np.where(power > 0, shared / np.maximum(power, 1e-30), 0.0))


def _masked(images: Images, mask: Images) -> Images:
    means = (images * mask).sum((1, 2)) / mask.sum()
    return np.asarray((images - means[:, None, None]) * mask)


def _harmonics(polar: PolarFourier, crops: Kept, members: NDArray[np.intp]) -> Tensor:
    parts = [
        polar.harmonics_of(torch.from_numpy(in_numbers(crops[members[start : start + _CUT_AT_ONCE]])))
        for start in range(0, len(members), _CUT_AT_ONCE)
    ]
    return torch.cat([part.transpose(1, 2) for part in parts]).transpose(1, 2)  # as they lie


def _put_back(crops: Kept, members: NDArray[np.intp], poses: Poses, classes: int) -> tuple[Images, NDArray[np.int64]]:
    """Return the sums (classes, side, side) of crops put back as their poses say, and how many each class has."""
    sums = np.zeros((classes, SIDE, SIDE))
    numbers = poses.classes.cpu().numpy()
    for start in range(0, len(members), _CUT_AT_ONCE):
        part = slice(start, start + _CUT_AT_ONCE)
        moved = _moved(in_numbers(crops[members[part]]), poses.select(part))
        member = np.equal.outer(np.arange(classes), numbers[part]).astype(np.float32)
        sums += (member @ moved.reshape(len(moved), -1)).reshape(sums.shape)
    return sharpened(sums), np.asarray(np.bincount(numbers, minlength=classes), np.int64)


def _moved(images: NDArray[np.float32], poses: Poses) -> NDArray[np.float32]:
    """Return images, each put back as its pose says, as sharp as linear interpolation leaves them."""
    import cv2

    angles, shifts, middle = poses.angles.cpu().double().numpy(), poses.shifts.cpu().double().numpy(), (SIDE - 1) / 2
    cos, sin = np.cos(angles), np.sin(angles)
    turns = np.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2)
    # From a pixel of the average to the place in the image.
    matrices = np.concatenate([turns, turns @ (shifts - middle)[..., None] + middle], 2)
    moved = np.empty_like(images)
    for image, matrix, out in zip(images, matrices, moved, strict=True):
        cv2.warpAffine(image, matrix, (SIDE, SIDE), dst=out, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return moved


def sharpened(images: Images) -> Images:
    """Give back to sums of images (n, side, side) what interpolating each between pixels has taken."""
    frequencies = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    # Between pixels, at places anywhere, linear interpolation is a triangle.
    return np.asarray(np.fft.irfft2(np.fft.rfft2(images) / np.sinc(np.minimum(frequencies, 0.5)) ** 2, s=(SIDE, SIDE)))
