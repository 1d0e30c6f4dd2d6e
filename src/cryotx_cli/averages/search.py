"""How crops fit averages: the best turn and move of every crop for every average; and crops put back and averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from cryotx_cli.averages.crops import REACH
from cryotx_cli.averages.fine_search import FineSearch
from cryotx_cli.averages.polar import PolarFourier

_COARSE_RINGS, _COARSE_HARMONICS, _COARSE_ANGLES, _COARSE_STEP = 12, 24, 48, 2.0
_FINE_ANGLES, _FINE_STEP = 144, 1.0
_FAR = 4096.0  # px: no shift is as large
_SCORES_AT_ONCE, _CROPS_AT_ONCE = 500_000, 128  # few enough that they stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Poses:
    """How crops fit averages: each is the average of its class, moved by its shift, then turned by its angle.

    Parameters
    ----------
    classes
        (n,) int64, from 0.
    angles
        (n,) radians, from the x axis towards the y axis.
    shifts
        (n, 2) x and y in pixels of a crop.
    scores
        (n,) correlation with the average.
    """

    classes: Tensor
    angles: Tensor
    shifts: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.classes)

    def select(self, some: Tensor | slice) -> Poses:
        """Return those that a mask, indices or a slice name."""
        return Poses(*(getattr(self, one.name)[some] for one in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Poses]) -> Poses:
        """Return poses one after the other."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def after(self, others: Poses) -> Poses:
        """Return the poses of crops that fit averages, each of which fits another one as `others` say."""
        of = self.classes
        cos, sin = others.angles[of].cos(), others.angles[of].sin()
        x, y = self.shifts.unbind(1)
        # Moving after a turn is the same as moving the other way about before it.
        back = torch.stack([cos * x + sin * y, cos * y - sin * x], 1)
        angles = (self.angles + others.angles[of]) % (2 * math.pi)
        return Poses(others.classes[of], angles, back + others.shifts[of], self.scores)


class Search:
    """Finds how crops fit averages.

    Parameters
    ----------
    polar
        Their sampling.
    averages
        (classes, rings, angles) values, with rings weighted like those of the crops.
    rings
        Look at so many of them in the first of the two steps; None for all that it can take.
    exact
        Whether the second step looks between the moves and the turns of the first one; otherwise it finds the turn.
    """

    def __init__(self, polar: PolarFourier, averages: Tensor, rings: int | None = None, *, exact: bool = True) -> None:
        self._polar = polar
        norms = averages.abs().square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
        self._averages = averages / norms
        self._shifts = _disc(REACH, _COARSE_STEP, polar.device)
        self._rings = min(rings or polar.rings, _COARSE_RINGS, polar.rings)
        # Fewer rings have no finer harmonics than that, as in `PolarFourier`.
        self._low = min(_COARSE_HARMONICS, math.ceil(polar.harmonics * self._rings / polar.rings) + 1, polar.harmonics)
        moves = polar.moves(self._shifts)[None, :, : self._rings]
        moved = polar.from_samples(self._averages[:, None, : self._rings] * moves)[..., : self._low]
        self._banks, self._turns = _by_parity(moved.flatten(0, 1).permute(2, 1, 0)), _half_turns(self._low, polar)
        # Of each coarse shift the numbers of those around it.
        near = self._shifts[:, None] + _disc(1.5 * _FINE_STEP if exact else 0.0, _FINE_STEP, polar.device)
        self._places, self._around = torch.unique(near.flatten(0, 1), dim=0, return_inverse=True)
        self._around = self._around.view(near.shape[:2])
        self._fine = FineSearch(polar, self._averages, self._places, _FINE_ANGLES if exact else _COARSE_ANGLES)

    def coarse(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best correlation (n, classes) of crops with averages, and the shifts (n, classes, 2) it needs.

        Parameters
        ----------
        crops
            (n, rings, harmonics), weighted.
        """
        classes, shifts = len(self._averages), len(self._shifts)
        some = crops.transpose(1, 2)[:, : self._low, : self._rings]
        every = torch.view_as_real(some.resolve_conj()).flatten(2).transpose(0, 1)
        rows = every[::2], every[1::2]
        best, where = [], []
        at_once = max(1, _SCORES_AT_ONCE // (classes * shifts * _COARSE_ANGLES // 2))
        for start in range(0, len(crops), at_once):
            scores = None
            # Half a turn changes the sign of what odd harmonics add: the better of two turns has their absolute value.
            for packed, bank, turns in zip(rows, self._banks, self._turns, strict=True):
                some = packed[:, start : start + at_once]
                products = some.new_empty((2 * len(some), some.shape[1], classes * shifts))
                for part, of_bank in zip(products.chunk(2), bank, strict=True):
                    torch.bmm(some, of_bank, out=part)
                summed = turns @ products.flatten(1)
                scores = summed if scores is None else scores.add_(summed.abs_())
            assert scores is not None
            scores = scores.amax(0).view(-1, classes, shifts)
            value, shift = scores.max(2)
            best.append(value)
            where.append(shift)
        return torch.cat(best), self._shifts[torch.cat(where)]

    def fine(self, crops: Tensor, classes: Tensor, shifts: Tensor) -> Poses:
        """Return how each crop fits one class (n,), at shifts near these (n, 2), which are of `coarse`."""
        tried = self._around[(shifts[:, None] - self._shifts).abs().sum(2).argmin(1)]
        scores, angles, which = self._fine.best(crops, classes, tried)
        return Poses(classes, angles, self._places[tried.gather(1, which[:, None])[:, 0]], scores)


def _by_parity(moved: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return what gives the real and the imaginary part of the products of harmonics with the conjugates of these.

    Parameters
    ----------
    moved
        (harmonics, rings, m); what is returned is (harmonics, 2 * rings, m) of the even ones, twice, then of the odd.
        The real and the imaginary part of a ring are neighbours.
    """
    pairs = (moved.real, moved.imag), (-moved.imag, moved.real)
    real, imaginary = (torch.stack(pair, 2).flatten(1, 2) for pair in pairs)
    return (real[::2], imaginary[::2]), (real[1::2], imaginary[1::2])


def _half_turns(harmonics: int, polar: PolarFourier) -> tuple[Tensor, Tensor]:
    """Return what sums even and odd harmonics, (angles / 2, 2 * some of the harmonics), for the first half turn."""
    turns = torch.arange(_COARSE_ANGLES // 2, device=polar.device) * (2 * math.pi / _COARSE_ANGLES)
    m = torch.arange(harmonics, device=polar.device)
    twice = torch.where(m > 0, 2.0, 1.0)  # for the negative harmonics
    cosines, sines = (turns[:, None] * m).cos() * twice, -(turns[:, None] * m).sin() * twice
    even, odd = (torch.cat([cosines[:, first::2], sines[:, first::2]], 1) for first in (0, 1))
    return even, odd


def averaged(polar: PolarFourier, crops: Tensor, poses: Poses, classes: int) -> tuple[Tensor, Tensor]:
    """Return the averages (classes, rings, angles) of crops put back as their poses say, and how many each has."""
    half = polar.harmonics  # of the angles: the others have the conjugates
    sums = torch.zeros((classes, polar.rings * half), dtype=torch.complex64, device=polar.device)
    x, y = poses.shifts.double().unbind(1)
    places, which = torch.unique(x * _FAR + y, return_inverse=True)  # many crops have the same one
    shifts = poses.shifts.new_empty((len(places), 2))
    shifts[which] = poses.shifts
    moves = polar.moves(-shifts)[..., :half]
    for start in range(0, len(crops), _CROPS_AT_ONCE):
        part = slice(start, start + _CROPS_AT_ONCE)
        some = poses.select(part)
        back = polar.first_half(polar.turned(crops[part], -some.angles)) * moves[which[part]]
        # A product, for adding by index has another order each time on a GPU.
        member = torch.nn.functional.one_hot(some.classes, classes).to(torch.float32)
        sums += torch.view_as_complex((member.T @ torch.view_as_real(back).flatten(1)).view(classes, -1, 2))
    counts = torch.bincount(poses.classes, minlength=classes)
    means = (sums / counts.clamp_min(1)[:, None]).view(classes, polar.rings, half)
    return torch.cat([means, means.conj()], 2), counts


def _disc(radius: float, step: float, device: torch.device) -> Tensor:
    """Return the points (n, 2) of a grid through the origin that are no further from it than a radius."""
    reach = int(radius / step)
    axis = torch.arange(-reach, reach + 1, device=device) * step
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    return points[points.square().sum(1) <= radius**2]
