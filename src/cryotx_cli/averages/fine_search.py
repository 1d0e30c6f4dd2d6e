"""How crops fit one average each, in small steps: class by class, as products of matrices of real numbers.

An image is real: half a turn on, its values on a ring are the conjugates. So the first half of each ring is enough;
even harmonics follow from the real parts of its values, odd ones from the imaginary parts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cryotx_cli.averages.polar import PolarFourier

_AT_ONCE = 256  # few enough that they stay in the processor's cache


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
        turns = torch.arange(angles, device=polar.device)[:, None] * (2 * math.pi / angles) * polar.m
        twice = torch.where(polar.m > 0, 2.0, 1.0)  # for the negative harmonics
        self._turns = torch.cat([turns.cos() * twice, -turns.sin() * twice], 1)
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
        rows = torch.view_as_real(crops.transpose(1, 2).contiguous()).transpose(2, 3).flatten(2)
        order = torch.argsort(classes, stable=True)  # one class after the other
        parts, first = [], 0
        for number, count in zip(*(one.tolist() for one in torch.unique(classes, return_counts=True)), strict=True):
            for some in torch.split(order[first : first + count], _AT_ONCE):
                parts.append(self._best(rows[some], self._moved[number], tried[some]))
            first += count
        back = torch.argsort(order)
        scores, angles, which = (torch.cat(part)[back] for part in zip(*parts, strict=True))
        return scores, angles, which

    def _best(self, rows: Tensor, moved: Tensor, tried: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Products with the conjugates: their real parts, and their imaginary ones.
        real, imaginary = rows.chunk(2, 2)
        products = moved.new_empty((2, len(moved), len(rows), moved.shape[-1]))
        for part, out in zip((rows, torch.cat([imaginary, -real], 2)), products, strict=True):
            torch.bmm(part.transpose(0, 1), moved, out=out)
        start = torch.arange(len(rows), device=tried.device) * moved.shape[-1]
        chosen = products.flatten(0, 1).flatten(1).index_select(1, (start[:, None] + tried).flatten())
        scores = (self._turns @ chosen).view(-1, *tried.shape)
        best, which = scores.amax(0).max(1)
        angle = scores[:, torch.arange(len(rows), device=tried.device), which].argmax(0)
        return best, angle * self._angle, which


def _moved(polar: PolarFourier, averages: Tensor, places: Tensor) -> Tensor:
    """Return the averages at all places, (classes, harmonics, 2 * rings, places)."""
    half = polar.harmonics
    moves = polar.moves(places)[..., :half].permute(2, 1, 0)  # (angles, rings, places)
    values = averages[..., :half].transpose(1, 2)[..., None]
    parts = [one.contiguous() for one in (values.real, values.imag, moves.real, moves.imag)]
    real = (parts[0] * parts[2]).addcmul_(parts[1], parts[3], value=-1)
    imaginary = (parts[0] * parts[3]).addcmul_(parts[1], parts[2])
    turns = polar.m[:, None] * (torch.arange(half, device=polar.device, dtype=torch.float64) * (math.pi / half))
    # (harmonics, real and imaginary part, angles)
    of_real = (torch.stack([turns.cos(), -turns.sin()], 1)[::2].flatten(0, 1) / half).float()
    of_imaginary = (torch.stack([turns.sin(), turns.cos()], 1)[1::2].flatten(0, 1) / half).float()
    moved = real.new_empty((len(averages), half, 2 * polar.rings, len(places)))
    for first, (matrix, part) in enumerate(((of_real, real), (of_imaginary, imaginary))):
        moved[:, first::2] = (matrix @ part.flatten(2)).view(len(averages), -1, *moved.shape[2:])
    return moved
