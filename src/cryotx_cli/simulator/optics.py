"""Contrast transfer in the weak-phase approximation, and what dose and camera leave of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Interaction constant in rad/(V Å) and electron wavelength in Å, relativistic, per accelerating voltage in kV.
INTERACTION = {300: 6.53e-4, 200: 7.29e-4, 100: 9.24e-4}
WAVELENGTH = {300: 0.01969, 200: 0.02508, 100: 0.03701}


@dataclass(frozen=True)
class Optics:
    """Settings of the microscope for one micrograph."""

    voltage: int  # kV
    defocus: float  # Å, positive is underfocus
    astigmatism: float  # Å, half the difference of the two principal defoci
    astigmatism_angle: float  # rad
    spherical_aberration: float  # Å
    amplitude_contrast: float
    phase_shift: float  # rad, of a phase plate
    b_factor: float  # Å²
    dose: float  # electrons/Å²
    dose_weighted: bool
    mtf_decay: float  # Å: the camera passes exp(-decay * k)
    drift: float  # Å, standard deviation of uncorrected motion along one direction
    drift_angle: float  # rad


def frequencies(
    height: int, width: int, pixel_size: float, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Spatial frequencies (ky, kx) in 1/Å of a real FFT; shapes (height, 1) and (1, width // 2 + 1)."""
    ky = torch.fft.fftfreq(height, d=pixel_size, device=device)[:, None]
    kx = torch.fft.rfftfreq(width, d=pixel_size, device=device)[None]
    return ky, kx


def contrast_transfer(optics: Optics, ky: Tensor, kx: Tensor) -> Tensor:
    """Evaluate sin(gamma) E on the given frequencies; broadcast shape of `ky` and `kx`.

    gamma = pi lambda df(theta) k^2 - pi/2 Cs lambda^3 k^4 + asin(w) + phase shift, and E is the envelope of B-factor,
    radiation damage, camera and drift. A protein's positive phase comes out dark at underfocus: 1 - 2 sin(gamma) E phi.
    """
    wavelength = WAVELENGTH[optics.voltage]
    k2 = ky**2 + kx**2
    k = k2.sqrt()
    # k^2 cos(2 (theta - angle)) without an arc tangent and a cosine for each frequency
    turn = 2 * optics.astigmatism_angle
    lobes = (kx**2 - ky**2).mul_(math.cos(turn)).add_(ky * (2 * math.sin(turn)) * kx)
    gamma = (k2 * (-math.pi / 2 * optics.spherical_aberration * wavelength**3)).add_(
        math.pi * wavelength * optics.defocus
    )
    gamma = gamma.mul_(k2).add_(lobes, alpha=math.pi * wavelength * optics.astigmatism)
    gamma += math.asin(optics.amplitude_contrast) + optics.phase_shift
    exponent = (k * -optics.mtf_decay).sub_(k2, alpha=optics.b_factor / 4)
    if optics.drift:
        along = ky * math.sin(optics.drift_angle) + kx * math.cos(optics.drift_angle)
        exponent -= 2 * math.pi**2 * optics.drift**2 * along**2
    return gamma.sin_().mul_(exponent.exp_()).mul_(damage_envelope(k, optics))


def damage_envelope(k: Tensor, optics: Optics) -> Tensor:
    """Signal left of an undamaged specimen after the exposure, averaged over its frames.

    Critical exposure Ne(k) = 0.245 k^-1.665 + 2.81 electrons/Å² at 300 kV and 0.8 of that at 200 kV (Grant and
    Grigorieff 2015); the mean of exp(-n / 2 Ne) over n in 0..dose. Dose weighting recovers part of it: its square root
    is a fair stand-in at the resolutions of picking.
    """
    scale = 1.0 if optics.voltage == 300 else 0.8
    critical = (k.clamp_min(1e-3) ** -1.665).mul_(0.245 * scale).add_(2.81 * scale)
    # (1 - exp(-2 h)) / 2 h by the hyperbolic tangent, as exact near zero as expm1 and several times as fast
    half = critical.reciprocal_().mul_(optics.dose / 4)
    tangent = half.tanh()
    mean = tangent.div_((tangent + 1).mul_(half))
    return mean.sqrt_() if optics.dose_weighted else mean


def water_decorrelation(k: Tensor, dose: float) -> Tensor:
    """Share of the ice's noise power left after beam-induced motion of the water, in 0..1.

    Water moves with a variance of about 1.1 Å² per electron/Å² (McMullan et al. 2015), so amplitudes decay with
    x = 8 k² dose over the exposure and the power of the sum falls as 2 (exp(-x) - 1 + x) / x².
    """
    x = (8 * k**2 * dose).clamp_min(0.02)  # below, the difference drowns in rounding
    return 2 * (torch.exp(-x) - 1 + x) / x**2


def gaussian_blur(ky: Tensor, kx: Tensor, deviation: float) -> Tensor:
    """Transfer of a blur by a Gaussian of this standard deviation: exp(-2 pi² deviation² k²)."""
    factor = -2 * (math.pi * deviation) ** 2
    return torch.exp(factor * ky**2) * torch.exp(factor * kx**2)
