"""How crops fit averages: the best turn and move of every crop for every average; and crops put back and averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from cryotx_cli.averages.crops import REACH
from cryotx_cli.averages.polar import PolarFourier

_COARSE_RINGS, _COARSE_HARMONICS, _COARSE_ANGLES, _COARSE_STEP = 12, 24, 48, 2.0
_FINE_ANGLES, _FINE_STEP = 144, 1.0
_FURTHEST = math.floor(REACH / _COARSE_STEP) * round(_COARSE_STEP / _FINE_STEP) + 1  # fine steps from the middle
_SCORES_AT_ONCE, _CROPS_AT_ONCE = 250_000, 64  # few enough that they stay in the processor's cache


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
    """

    def __init__(self, polar: PolarFourier, averages: Tensor, rings: int | None = None) -> None:
        self._polar = polar
        norms = averages.abs().square().sum((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
        self._averages = averages / norms
        self._shifts = _disc(REACH, _COARSE_STEP, polar.device)
        self._rings = min(rings or polar.rings, _COARSE_RINGS, polar.rings)
        # Fewer rings have no finer harmonics than that, as in `PolarFourier`.
        self._low = min(_COARSE_HARMONICS, math.ceil(polar.harmonics * self._rings / polar.rings) + 1, polar.harmonics)
        moves = polar.moves(self._shifts)[None, :, : self._rings]
        moved = polar.from_samples(self._averages[:, None, : self._rings] * moves)[..., : self._low]
        self._moved_coarsely = moved.conj().resolve_conj()
        self._banks, self._turns = _by_parity(moved.flatten(0, 1).permute(2, 1, 0)), _half_turns(self._low, polar)

    @cached_property
    def _moved(self) -> Tensor:
        """The averages moved to every place that `fine` may try, (classes, y, x, rings, harmonics)."""
        axis = torch.arange(-_FURTHEST, _FURTHEST + 1, device=self._polar.device) * _FINE_STEP
        moves = self._polar.moves(torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1))
        moved = moves.new_empty((len(self._averages), *moves.shape[:-1], self._polar.harmonics))
        # A class at a time: all at once take several times the memory of what is kept.
        for one, average in zip(moved, self._averages, strict=True):
            torch.conj_physical(self._polar.from_samples(average * moves), out=one)
        return moved

    def coarse(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best correlation (n, classes) of crops with averages, and the shifts (n, classes, 2) it needs.

        Parameters
        ----------
        crops
            (n, rings, harmonics), weighted.
        """
        classes, shifts = len(self._averages), len(self._shifts)
        rows = _packed(crops[:, : self._rings, : self._low])
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

    def rough(self, crops: Tensor, classes: Tensor, shifts: Tensor) -> Poses:
        """Return how each crop fits one class (n,) at one of the shifts of `coarse` (n, 2), by the same rings."""
        each = torch.arange(len(crops), device=crops.device)
        which = (shifts[:, None] - self._shifts).abs().sum(2).argmin(1)
        products = (crops[:, : self._rings, : self._low] * self._moved_coarsely[classes, which]).sum(1)
        scores, angle = torch.fft.irfft(products, n=_FINE_ANGLES, norm="forward").max(1)
        return Poses(classes, angle * (2 * math.pi / _FINE_ANGLES), self._shifts[which], scores[each])

    def fine(self, crops: Tensor, classes: Tensor, shifts: Tensor) -> Poses:
        """Return how each crop fits one class (n,), at shifts near these (n, 2), which are of `coarse`."""
        parts = []
        around = _disc(1.5 * _FINE_STEP, _FINE_STEP, self._polar.device)
        for start in range(0, len(crops), _CROPS_AT_ONCE):
            some = slice(start, start + _CROPS_AT_ONCE)
            tried = shifts[some, None] + around
            x, y = (tried / _FINE_STEP).round().long().add_(_FURTHEST).unbind(-1)
            products = (crops[some, None] * self._moved[classes[some, None], y, x]).sum(2)
            scores, angle = torch.fft.irfft(products, n=_FINE_ANGLES, norm="forward").max(2)
            value, shift = scores.max(1)
            row = torch.arange(len(value), device=value.device)
            turn = angle[row, shift] * (2 * math.pi / _FINE_ANGLES)
            parts.append(Poses(classes[some], turn, tried[row, shift], value))
        return Poses.joined(parts)


def _packed(harmonics: Tensor) -> tuple[Tensor, Tensor]:
    """Return the even and the odd harmonics of (n, rings, harmonics) as (harmonics, n, 2 * rings) real numbers."""
    by_harmonic = harmonics.permute(2, 0, 1)
    even, odd = (torch.cat([some.real, some.imag], 2) for some in (by_harmonic[::2], by_harmonic[1::2]))
    return even, odd


def _by_parity(moved: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return what gives the real and the imaginary part of the products of `_packed` with the conjugates of these.

    Parameters
    ----------
    moved
        (harmonics, rings, m); what is returned is (harmonics, 2 * rings, m) of the even ones, twice, then of the odd.
    """
    real, imaginary = (torch.cat(pair, 1) for pair in ((moved.real, moved.imag), (-moved.imag, moved.real)))
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
    sums = torch.zeros((classes, polar.rings * polar.angles), dtype=torch.complex64, device=polar.device)
    shifts, which = torch.unique(poses.shifts, dim=0, return_inverse=True)  # many crops have the same one
    moves = polar.moves(-shifts)
    for start in range(0, len(crops), _CROPS_AT_ONCE):
        part = slice(start, start + _CROPS_AT_ONCE)
        some = poses.select(part)
        back = polar.samples(polar.turned(crops[part], -some.angles)) * moves[which[part]]
        # A product, for adding by index has another order each time on a GPU.
        member = torch.nn.functional.one_hot(some.classes, classes).to(back.dtype)
        sums += member.T @ back.flatten(1)
    counts = torch.bincount(poses.classes, minlength=classes)
    return (sums / counts.clamp_min(1)[:, None]).view(classes, polar.rings, polar.angles), counts


def _disc(radius: float, step: float, device: torch.device) -> Tensor:
    """Return the points (n, 2) of a grid through the origin that are no further from it than a radius."""
    reach = int(radius / step)
    axis = torch.arange(-reach, reach + 1, device=device) * step
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    return points[points.square().sum(1) <= radius**2]
