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
_AT_ONCE = 128  # few enough that they stay in the processor's cache


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
        self.m = torch.arange(self.harmonics, device=device)
        self._turns = self._half_turns(angle[: self.harmonics])
        shown = torch.where(self.mask.amax(0)[side // 2 :] > _NOTHING)[0]
        self._box = int(shown[-1]) + 1
        self._waves = self._quarter_waves(axis[side // 2 :][: self._box])

    def _half_turns(self, angles: Tensor) -> tuple[Tensor, Tensor]:
        """Return what adds even harmonics up to real parts and odd ones to imaginary parts, (2 * harmonics, angles)."""
        turns, twice = self.m[:, None] * angles, torch.where(self.m > 0, 2.0, 1.0)[:, None]  # for the negative ones
        cosines, sines = turns.cos() * twice, turns.sin() * twice
        even, odd = torch.stack([cosines, -sines], 1), torch.stack([sines, cosines], 1)
        return even[::2].flatten(0, 1).float(), odd[1::2].flatten(0, 1).float()

    def _quarter_waves(self, axis: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what makes harmonics of what is even and odd along the axes of an image, (pixels, harmonics * rings).

        The real and the imaginary parts of even harmonics, then of odd ones, from the pixels of a quarter.
        """
        along_x, along_y = (
            2 * math.pi / self.side * k[:, : self.harmonics] * position[..., None, None]
            for k, position in ((self.kx, axis.expand(len(axis), -1)), (self.ky, axis[:, None].expand(-1, len(axis))))
        )
        turns = self.m[:, None] * torch.arange(self.harmonics, device=self.device).double() * (math.pi / self.harmonics)
        cosines, sines = (turns.cos() / self.harmonics).T, (turns.sin() / self.harmonics).T
        waves = (
            (along_x.cos() * along_y.cos()) @ cosines[:, ::2],
            (along_x.sin() * along_y.sin()) @ sines[:, ::2],
            -(along_x.cos() * along_y.sin()) @ sines[:, 1::2],
            -(along_x.sin() * along_y.cos()) @ cosines[:, 1::2],
        )
        half = self.side // 2
        mask = self.mask[half:, half:][: len(axis), : len(axis)].reshape(-1, 1)
        even, even_i, odd, odd_i = (wave.transpose(-2, -1).reshape(len(mask), -1).float() * mask for wave in waves)
        return even, even_i, odd, odd_i

    def harmonics_of(self, images: Tensor) -> Tensor:
        """Return the harmonics (n, rings, harmonics) of images (n, side, side).

        Of each image what is even along an axis goes with cosines, what is odd with sines: products with a quarter of
        the pixels are all that it takes.
        """
        # Rings of a harmonic are neighbours: these are what is looked at together.
        found = torch.empty((len(images), self.harmonics, self.rings), dtype=torch.complex64, device=self.device)
        middle, box = self.side // 2, self._box
        shown = slice(middle - box, middle + box)
        for start in range(0, len(images), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            some = images[part, shown, shown].to(self.device, torch.float32)
            low, high = some[:, :box].flip(1), some[:, box:]
            parts = []
            for rows in (high + low, high - low):
                left, right = rows[:, :, :box].flip(2), rows[:, :, box:]
                parts += [(right + left).flatten(1), (right - left).flatten(1)]
            both, odd_x, odd_y, neither = parts
            real, imaginary = found[part].real, found[part].imag
            for first, values in ((0, (both, neither)), (1, (odd_y, odd_x))):
                for out, value, wave in zip((real, imaginary), values, self._waves[2 * first :], strict=False):
                    out[:, first::2] = (value @ wave).view(len(some), -1, self.rings)
        return found.transpose(1, 2)

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
