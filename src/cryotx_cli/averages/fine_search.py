"""How crops fit one average each, in small steps: class by class, as products of matrices of real numbers.

An image is real: half a turn on, its values on a ring are the conjugates. So the first half of each ring is enough;
even harmonics follow from the real parts of its values, odd ones from the imaginary parts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cryotx_cli.averages.polar import PolarFourier

_AT_ONCE = 1024


class FineSearch:
    """Tries turns and moves near those that are known.

    Parameters
    ----------
    polar
        The sampling of crops and averages.
    averages
        (classes, rings, angles).
    places
        (m, 2) every move that is ever tried, in pixels.
    angles
        How many turns are tried.
    """

    def __init__(self, polar: PolarFourier, averages: Tensor, places: Tensor, angles: int) -> None:
        self._order = torch.cat([polar.m[::2], polar.m[1::2]])
        turns = torch.arange(angles, device=polar.device)[:, None] * (2 * math.pi / angles) * self._order
        twice = torch.where(self._order > 0, 2.0, 1.0)  # for the negative harmonics
        self._turns = torch.cat([turns.cos() * twice, -turns.sin() * twice], 1).T.contiguous()
        self._angle = 2 * math.pi / angles
        self._moved = _moved(polar, averages, places)

    def best(self, crops: Tensor, classes: Tensor, tried: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return how each crop fits one average.

        Parameters
        ----------
        crops
            (n, rings, harmonics).
        classes
            (n,) numbers of the averages.
        tried
            (n, k) numbers of the places to try for each.

        Returns
        -------
        scores, angles, which
            (n,) the correlation, the radians, and which of the k places it is.
        """
        order = torch.argsort(classes, stable=True)  # one class after the other
        parts = [
            self._best(crops[some], classes[some], tried[some])
            for some in (order[start : start + _AT_ONCE] for start in range(0, len(order), _AT_ONCE))
        ]
        back = torch.argsort(order)
        scores, angles, which = (torch.cat(part)[back] for part in zip(*parts, strict=True))
        return scores, angles, which

    def _best(self, crops: Tensor, classes: Tensor, tried: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = crops.permute(2, 0, 1)[self._order]
        # Products with the conjugates: their real parts, and their imaginary ones.
        rows = torch.stack([torch.cat([rows.real, rows.imag], 2), torch.cat([rows.imag, -rows.real], 2)])
        products = rows.new_empty((*rows.shape[:3], self._moved.shape[-1]))
        first = 0
        for number, count in zip(*(one.tolist() for one in torch.unique(classes, return_counts=True)), strict=True):
            for part, out in zip(rows, products, strict=True):
                some = slice(first, first + count)
                torch.bmm(part[:, some], self._moved[number], out=out[:, some])
            first += count
        products = products.gather(3, tried.expand(*products.shape[:2], *tried.shape))
        value, angle = (products.permute(2, 3, 0, 1).flatten(2) @ self._turns).max(2)
        best, which = value.max(1)
        return best, angle.gather(1, which[:, None])[:, 0] * self._angle, which


def _moved(polar: PolarFourier, averages: Tensor, places: Tensor) -> Tensor:
    """Return the averages at all places, (classes, harmonics, 2 * rings, places), even harmonics first."""
    half = polar.harmonics
    moves = polar.moves(places)[..., :half].permute(2, 1, 0)  # (angles, rings, places)
    values = averages[..., :half].transpose(1, 2)[..., None] * moves
    turns = polar.m[:, None] * (torch.arange(half, device=polar.device, dtype=torch.float64) * (math.pi / half))
    # (harmonics, real and imaginary part, angles)
    of_real = (torch.stack([turns.cos(), -turns.sin()], 1)[::2].flatten(0, 1) / half).float()
    of_imaginary = (torch.stack([turns.sin(), turns.cos()], 1)[1::2].flatten(0, 1) / half).float()
    moved = torch.cat([of_real @ values.real.flatten(2), of_imaginary @ values.imag.flatten(2)], 1)
    return moved.view(len(averages), half, 2 * polar.rings, len(places))
