"""Images in polar Fourier space, where turning one multiplies it and where all turns are tried at once.

On ring k (k cycles over the crop) an image has the values F(k, a) at the angles a, and the harmonics c(k, m) of these:
F(k, a) = sum over m of c(k, m) exp(i m a). Turning the image by b multiplies c(k, m) by exp(-i m b); moving it by t
multiplies F by exp(-2 pi i k.t / side). As the image is real, c(k, -m) = (-1)^m conj c(k, m): m >= 0 is enough.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SOFT = 2.0  # px over which the mask falls
_NOTHING = 1e-3  # of the mask: what is left of pixels beyond is not looked at
_AT_ONCE = 2048


class PolarFourier:
    """Rings and angles at which images are sampled.

    Parameters
    ----------
    side
        Of the images in pixels.
    radius
        Of the mask in pixels.
    rings
        How many, from ring 1 on.
    device
        Where to compute.
    """

    def __init__(self, side: int, radius: float, rings: int, device: torch.device) -> None:
        self.side, self.rings, self.device = side, rings, device
        # Within the mask a ring has no finer harmonics than that.
        self.harmonics = math.ceil(2 * math.pi * rings * radius / side) + 1
        self.angles = 2 * self.harmonics
        axis = torch.arange(side, device=device, dtype=torch.float64) - (side - 1) / 2
        y, x = axis[:, None], axis[None]
        self.mask = torch.sigmoid((radius - (x**2 + y**2).sqrt()) / (_SOFT / 2)).float()
        ring = torch.arange(1, rings + 1, device=device, dtype=torch.float64)
        angle = torch.arange(self.angles, device=device, dtype=torch.float64) * (2 * math.pi / self.angles)
        self.kx, self.ky = (ring[:, None] * part for part in (angle.cos(), angle.sin()))
        half = self.harmonics  # the other half of the circle is its conjugate
        turns = self.kx[:, :half, None, None] * x + self.ky[:, :half, None, None] * y
        self._shown = torch.where(self.mask.flatten() > _NOTHING)[0]
        turns = turns.reshape(-1, side * side).T[self._shown] * (2 * math.pi / side)
        self._cosines, self._sines = turns.cos().float(), turns.sin().float()
        self.m = torch.arange(self.harmonics, device=device)
        self._turns = self._half_turns(angle[:half])

    def _half_turns(self, angles: Tensor) -> tuple[Tensor, Tensor]:
        """Return what adds even harmonics up to real parts and odd ones to imaginary parts, (2 * harmonics, angles)."""
        turns, twice = self.m[:, None] * angles, torch.where(self.m > 0, 2.0, 1.0)[:, None]  # for the negative ones
        cosines, sines = turns.cos() * twice, turns.sin() * twice
        even, odd = torch.stack([cosines, -sines], 1), torch.stack([sines, cosines], 1)
        return even[::2].flatten(0, 1).float(), odd[1::2].flatten(0, 1).float()

    def harmonics_of(self, images: Tensor) -> Tensor:
        """Return the harmonics (n, rings, harmonics) of images (n, side, side)."""
        parts = []
        for start in range(0, len(images), _AT_ONCE):
            some = images[start : start + _AT_ONCE]
            flat = (some.to(self.device, torch.float32) * self.mask).flatten(1)[:, self._shown]
            half = torch.complex(flat @ self._cosines, -(flat @ self._sines))
            half = half.view(len(some), self.rings, self.harmonics)
            parts.append(self.from_samples(torch.cat([half, half.conj()], -1)))
        nothing = torch.zeros((0, self.rings, self.harmonics), dtype=torch.complex64, device=self.device)
        return torch.cat([nothing, *parts])

    def samples(self, harmonics: Tensor) -> Tensor:
        """Return the values (..., rings, angles) of images with these harmonics."""
        half = self.first_half(harmonics)
        return torch.cat([half, half.conj()], -1)

    def first_half(self, harmonics: Tensor) -> Tensor:
        """Return what `samples` does, but for the second half of each ring, which is the conjugate of the first."""
        # Half a turn on, even harmonics are what they were, odd ones minus that: they add up to the real and to the
        # imaginary parts.
        parts = torch.view_as_real(harmonics)
        real, imaginary = (parts[..., first::2, :].flatten(-2) @ self._turns[first] for first in (0, 1))
        return torch.complex(real, imaginary)

    def from_samples(self, samples: Tensor) -> Tensor:
        """Return the harmonics of images with these values."""
        harmonics: Tensor = torch.fft.fft(samples, norm="forward")[..., : self.harmonics]
        return harmonics

    def moves(self, shifts: Tensor) -> Tensor:
        """Return what moving an image by shifts (..., 2), x and y in pixels, multiplies its values with."""
        kx, ky = self.kx.float(), self.ky.float()
        turns = shifts[..., 0, None, None] * kx + shifts[..., 1, None, None] * ky
        return torch.polar(torch.ones_like(turns), turns * (-2 * math.pi / self.side))

    def turned(self, harmonics: Tensor, angles: Tensor) -> Tensor:
        """Return images (n, ...) turned by angles (n,) in radians, from the x axis towards the y axis."""
        turns = angles[:, None] * self.m
        return harmonics * torch.polar(torch.ones_like(turns), -turns)[:, None]
