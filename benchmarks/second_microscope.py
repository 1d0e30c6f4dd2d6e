"""The second simulator's optics and camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from second_specimen import paste


@dataclass(frozen=True)
class Microscope:
    """Settings for one micrograph; lengths in Å."""

    kilovolts: float
    defocus: float
    astigmatism: float
    axis: float
    b_factor: float
    focal_spread: float
    divergence: float  # rad
    absorption: float
    dose: float  # electrons/Å² that are counted
    camera: float  # modulation transfer at the Nyquist frequency

    @property
    def wavelength(self) -> float:
        volts = 1e3 * self.kilovolts
        return 12.2643 / math.sqrt(volts * (1 + 0.978466e-6 * volts))

    @property
    def interaction(self) -> float:
        """Phase in rad that 1 V Å adds."""
        ratio = (511 + self.kilovolts) / (2 * 511 + self.kilovolts)
        return 2 * math.pi * ratio / (self.wavelength * 1e3 * self.kilovolts)


def draw_microscope(rng: np.random.Generator) -> Microscope:
    return Microscope(
        kilovolts=float(rng.choice([300, 200], p=[0.75, 0.25])),
        defocus=rng.uniform(0.4e4, 3.0e4),
        astigmatism=rng.uniform(0, 400),
        axis=rng.uniform(0, math.pi),
        b_factor=rng.uniform(80, 350),
        focal_spread=rng.uniform(50, 120),
        divergence=rng.uniform(1e-5, 1e-4),
        absorption=rng.uniform(0.06, 0.11),
        dose=rng.uniform(8, 40),
        camera=rng.uniform(0.25, 0.9),
    )


def transfer(scope: Microscope, side: int, pixel_size: float) -> np.ndarray:
    """exp(i chi) E of the lens, so that protein comes out dark below focus: (side, side) complex64."""
    frequency = fft.fftfreq(side, pixel_size)
    ky, kx = np.meshgrid(frequency, frequency, indexing="ij")
    k2, wavelength, aberration = kx**2 + ky**2, scope.wavelength, 2.7e7
    defocus = scope.defocus + scope.astigmatism * np.cos(2 * (np.arctan2(ky, kx) - scope.axis))
    chi = math.pi * wavelength * defocus * k2 - math.pi / 2 * aberration * wavelength**3 * k2**2
    energy = np.exp(-((math.pi * wavelength * scope.focal_spread * k2) ** 2) / 2)
    slope = aberration * wavelength**2 * k2**1.5 - defocus * np.sqrt(k2)
    source = np.exp(-((math.pi * scope.divergence * slope) ** 2))
    lens: NDArray[np.complex64] = (np.exp(1j * chi - scope.b_factor * k2 / 4) * energy * source).astype(np.complex64)
    return lens


def expose(
    potential: np.ndarray, loss: np.ndarray, scope: Microscope, lens: np.ndarray, pixel_size: float
) -> np.ndarray:
    """Electrons expected in each pixel behind a specimen of projected potential (V Å)."""
    phase = scope.interaction * potential
    wave = np.exp((1j - scope.absorption) * phase - loss).astype(np.complex64)
    wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * lens, overwrite_x=True)
    electrons: np.ndarray = scope.dose * pixel_size**2 * (wave.real**2 + wave.imag**2)
    return electrons


def record(electrons: np.ndarray, scope: Microscope, rng: np.random.Generator) -> np.ndarray:
    """Count electrons and blur the counts as the camera does; a few pixels are hot."""
    side = len(electrons)
    frequency = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None])
    blur = (scope.camera ** ((2 * frequency) ** 2)).astype(np.float32)
    counts = rng.poisson(electrons).astype(np.float32)
    image = fft.irfft2(fft.rfft2(counts) * blur, s=counts.shape)
    hot = rng.random(image.shape) < 3e-6
    recorded: np.ndarray = np.where(hot, image * 8, image).astype(np.float32)
    return recorded


def detectability(
    views: np.ndarray, empty: np.ndarray, scope: Microscope, lens: np.ndarray, pixel_size: float
) -> float:
    """Return d' of the matched filter, median over views, faster changes than half a cycle a diameter alone.

    The noise is the spectrum of the field without particles, averaged over rings.
    """
    side = len(empty)
    cycles = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None]) * side
    ring = np.minimum(cycles.astype(int), side // 2)
    power = np.abs(fft.rfft2(empty - empty.mean())) ** 2
    rings = np.bincount(ring.ravel(), power.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    blur = scope.camera ** ((2 * cycles / side) ** 2)
    half_spectrum = np.full(power.shape, 2.0)
    half_spectrum[:, 0] = 1
    counted = half_spectrum * (cycles > side / (1.1 * views.shape[1])) * blur**2 / rings[ring]
    squared = []
    for view in views[:6]:
        alone = np.zeros((side, side), np.float32)
        paste(alone, view, side // 2, side // 2)
        signal = expose(alone, np.zeros_like(alone), scope, lens, pixel_size)
        squared.append((np.abs(fft.rfft2(signal - signal[0, 0])) ** 2 * counted).sum())
    return float(np.sqrt(np.median(squared)))
