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
    theta = torch.atan2(ky.expand(k2.shape), kx.expand(k2.shape))
    defocus = optics.defocus + optics.astigmatism * torch.cos(2 * (theta - optics.astigmatism_angle))
    gamma = math.pi * wavelength * defocus * k2 - math.pi / 2 * optics.spherical_aberration * wavelength**3 * k2**2
    gamma += math.asin(optics.amplitude_contrast) + optics.phase_shift
    along = ky * math.sin(optics.drift_angle) + kx * math.cos(optics.drift_angle)
    envelope = torch.exp(
        -optics.b_factor / 4 * k2 - 2 * math.pi**2 * optics.drift**2 * along**2 - optics.mtf_decay * k2.sqrt()
    )
    return torch.sin(gamma) * envelope * damage_envelope(k2.sqrt(), optics)


def damage_envelope(k: Tensor, optics: Optics) -> Tensor:
    """Signal left of an undamaged specimen after the exposure, averaged over its frames.

    Critical exposure Ne(k) = 0.245 k^-1.665 + 2.81 electrons/Å² at 300 kV and 0.8 of that at 200 kV (Grant and
    Grigorieff 2015); the mean of exp(-n / 2 Ne) over n in 0..dose. Dose weighting recovers part of it: its square root
    is a fair stand-in at the resolutions of picking.
    """
    critical = 0.245 * k.clamp_min(1e-3) ** -1.665 + 2.81
    critical = critical * (1.0 if optics.voltage == 300 else 0.8)
    x = optics.dose / (2 * critical)
    mean = -torch.expm1(-x) / x
    return mean.sqrt() if optics.dose_weighted else mean


def water_decorrelation(k: Tensor, dose: float) -> Tensor:
    """Share of the ice's noise power left after beam-induced motion of the water, in 0..1.

    Water moves with a variance of about 1.1 Å² per electron/Å² (McMullan et al. 2015), so amplitudes decay with
    x = 8 k² dose over the exposure and the power of the sum falls as 2 (exp(-x) - 1 + x) / x².
    """
    x = (8 * k**2 * dose).clamp_min(0.02)  # below, the difference drowns in rounding
    return 2 * (torch.exp(-x) - 1 + x) / x**2
