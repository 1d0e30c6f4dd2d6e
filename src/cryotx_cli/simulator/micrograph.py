"""One labelled micrograph from physics: specimen, contrast transfer, electrons, camera.

The model::

    phi(r) = sigma_e [projected potential of particles, junk, support film, ice and soup]
    I(r)   = B(r) (1 - 2 F^-1{F[phi] sin(gamma) E})
    image  = Poisson-like noise of dose x pixel area x DQE electrons on I(r), then the camera's and the software's marks
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryotx_cli.simulator import specimen
from cryotx_cli.simulator.conditions import Conditions
from cryotx_cli.simulator.contamination import contaminate
from cryotx_cli.simulator.optics import (
    INTERACTION,
    Optics,
    contrast_transfer,
    frequencies,
    gaussian_blur,
    water_decorrelation,
)
from cryotx_cli.simulator.structures import RESIDUE_EXCESS, Structure

ICE_DENSITY, ICE_POTENTIAL = 0.0314, 145.6  # molecules/Å³ and V Å³ a molecule, vitreous ice at 0.94 g/cm³


@dataclass(frozen=True)
class SimulatedMicrograph:
    """A micrograph with its truth; every position in pixels of `image`.

    Attributes
    ----------
    image
        (height, width) float32 intensity, protein dark.
    centres, radii
        (n, 2) projected centres of mass and (n,) half the structures' diameters.
    ignored
        (n,) bool: neither right nor wrong to pick (undetectable, hidden by junk, in an aggregate, on the film).
    junk, film
        (height, width) float32 in 0..1: contamination and support film together, and the film alone.
    detectability
        Matched-filter d' of a typical particle: expected signal of the best linear detector over its noise.
    optics
        How the microscope was set.
    """

    image: NDArray[np.float32]
    centres: NDArray[np.float64]
    radii: NDArray[np.float64]
    ignored: NDArray[np.bool_]
    junk: NDArray[np.float32]
    film: NDArray[np.float32]
    detectability: float
    optics: Optics


def simulate_micrograph(
    structure: Structure,
    distractor: Structure,
    conditions: Conditions,
    shape: tuple[int, int],
    pixel_size: float,
    rng: np.random.Generator,
) -> SimulatedMicrograph:
    """Simulate one micrograph of `structure`.

    Parameters
    ----------
    distractor
        A different macromolecule that may be present as an impurity (never labelled), scaled to 0.3-0.75 of the
        diameter of `structure`, seldom to 1.5-3.
    shape
        (height, width) in pixels.
    pixel_size
        Å per pixel.
    """
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    height, width = shape
    margin = int(max(24, min(64, structure.diameter / pixel_size)))
    full = (_fft_size(height + 2 * margin), _fft_size(width + 2 * margin))
    inner = (slice(margin, margin + height), slice(margin, margin + width))
    potential = torch.zeros(full)
    centres, ignored = _fill(potential, structure, distractor, conditions, pixel_size, rng)
    contamination = contaminate(full, structure, conditions, pixel_size, rng, noise)
    background = _background(full, conditions, rng) * contamination.transmission
    image, ratio = _expose(potential, contamination.phase, background, structure, conditions, pixel_size, noise)
    detectability = _detectability(structure, ratio, full, pixel_size, rng)
    # Signal buried by optics or contamination cannot be asked for.
    ignored |= (_at(contamination.junk, centres) > 0.6) | (detectability < 2.5)
    if contamination.film.mean() < 0.6:  # beside a hole, nobody wants the particles on the film
        wanted = _at(contamination.film, centres) < 0.6
        centres, ignored = centres[wanted], ignored[wanted]
    centres = centres - margin
    radius = structure.diameter / pixel_size / 2
    end = np.array([width, height]) - 0.5
    ignored |= (centres < -0.5).any(1) | (centres > end).any(1)
    inside = (centres > -0.5 - 0.5 * radius).all(1) & (centres < end + 0.5 * radius).all(1)
    return SimulatedMicrograph(
        image=image[inner].numpy().astype(np.float32),
        centres=centres[inside],
        radii=np.full(int(inside.sum()), radius),
        ignored=ignored[inside],
        junk=contamination.junk[inner].numpy(),
        film=contamination.film[inner].numpy(),
        detectability=detectability,
        optics=conditions.optics,
    )


def _at(field: Tensor, centres: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values (n,) of a map at the pixels of centres (n, 2)."""
    height, width = field.shape
    x, y = centres.round().astype(int).T
    return np.asarray(field[y.clip(0, height - 1), x.clip(0, width - 1)].numpy())


def _fill(
    potential: Tensor,
    structure: Structure,
    distractor: Structure,
    conditions: Conditions,
    pixel_size: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Add particles and impurities to the potential; return centres (n, 2) in its pixels, and which are ignored."""
    height, width = potential.shape
    diameter_px = structure.diameter / pixel_size
    centres = specimen.place_particles(height, width, diameter_px, conditions.coverage, rng, margin=0.0)
    cluttered = rng.random() < 0.2 * conditions.artefacts
    if rng.random() < (0.5 if cluttered else 0.08 * conditions.artefacts):
        centres = centres[:0]
    ignored = np.zeros(len(centres), bool)
    specimen.project(potential, structure, centres, pixel_size, rng)
    centres, ignored = _add_impurities(potential, structure, distractor, conditions, centres, ignored, pixel_size, rng)
    if cluttered:
        count = int(rng.poisson(rng.uniform(0.05, 0.6) * height * width / diameter_px**2))
        specimen.clutter(potential, count, structure, pixel_size, rng)
    return centres, ignored


def _expose(
    potential: Tensor,
    phase: Tensor,
    background: Tensor,
    structure: Structure,
    conditions: Conditions,
    pixel_size: float,
    noise: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Image what is in the ice.

    Returns
    -------
    Tensor, Tensor
        The image, and for each frequency of a real FFT what a unit of potential puts into the signal's power over the
        noise's power.
    """
    optics, sigma_e = conditions.optics, INTERACTION[conditions.optics.voltage]
    shape = (potential.shape[0], potential.shape[1])
    ky, kx = frequencies(*shape, pixel_size)
    k = (ky**2 + kx**2).sqrt()
    transfer = contrast_transfer(optics, ky, kx)
    # Beads are a coarse sampling of a smooth density: blur them by their own size.
    smooth = gaussian_blur(ky, kx, max(4.0, 0.75 * pixel_size))
    ice_power = _ice_power(conditions, sigma_e, pixel_size)
    colour = (water_decorrelation(k, optics.dose) * ice_power).sqrt()
    soup_power = 1 / (1 + (k * conditions.soup_length) ** 2) ** 2
    soup_power *= conditions.soup**2 * ice_power / soup_power.mean()
    white = torch.fft.rfft2(torch.randn(shape, generator=noise))
    other = torch.fft.rfft2(torch.randn(shape, generator=noise))
    spectrum = white.mul_(colour).add_(other.mul_(soup_power.sqrt()))
    spectrum += torch.fft.rfft2(potential).mul_(sigma_e * smooth)
    if phase.abs().max() > 0:
        spectrum += torch.fft.rfft2(phase)
    relative = torch.fft.irfft2(spectrum.mul_(transfer), s=shape).mul_(-2).add_(1)  # intensity over background
    shot_power = 1 / (optics.dose * conditions.dqe * pixel_size**2)  # of clear ice
    shot = torch.randn(shape, generator=noise).mul_(relative.clamp_min(0.1).mul_(background).sqrt_())
    image = relative.mul_(background).add_(shot, alpha=math.sqrt(shot_power))
    passed = 4 * transfer**2
    power = passed * (colour**2 + soup_power) + shot_power
    visible = k > 0.5 / structure.diameter  # slower changes are lost with the background
    return image, passed.mul_(visible).mul_((sigma_e * smooth) ** 2).div_(power)


def _fft_size(n: int) -> int:
    from scipy.fft import next_fast_len

    size = next_fast_len(n, real=True)
    while size % 2:
        size = next_fast_len(size + 1, real=True)
    return int(size)


def _ice_power(conditions: Conditions, sigma_e: float, pixel_size: float) -> float:
    """Variance a pixel of the phase of amorphous ice: sigma_e² n t f² S / s² (white below about 1/8 Å)."""
    thickness = ICE_DENSITY * conditions.ice_thickness * conditions.ice_noise
    return thickness * (ICE_POTENTIAL * sigma_e / pixel_size) ** 2


def _add_impurities(
    potential: Tensor,
    structure: Structure,
    distractor: Structure,
    conditions: Conditions,
    centres: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    pixel_size: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Add aggregates (ignored labels), foreign proteins, pieces and fragments (no labels) to the potential."""
    height, width = potential.shape
    diameter_px = structure.diameter / pixel_size
    if rng.random() < 0.10 * conditions.artefacts:
        count = int(rng.integers(5, 40))
        spread = diameter_px * 0.35 * math.sqrt(count)
        clump = rng.normal(size=(count, 2)) * spread + rng.random(2) * [width, height]
        specimen.project(potential, structure, clump, pixel_size, rng)
        centres = np.concatenate([centres, clump])
        ignored = np.concatenate([ignored, np.ones(count, bool)])
    area = height * width / diameter_px**2
    if rng.random() < 0.22 * conditions.artefacts:
        large = rng.random() < 0.15
        diameter = structure.diameter * (rng.uniform(1.5, 3) if large else rng.uniform(0.3, 0.75))
        foreign = distractor.scaled(diameter / distractor.diameter)
        count = int(rng.poisson(0.01 * area if large else rng.uniform(0.05, 0.4) * area))
        specimen.project(potential, foreign, rng.random((count, 2)) * [width, height], pixel_size, rng, beads_each=600)
    if rng.random() < 0.12 * conditions.artefacts:  # dissociated assemblies
        piece = structure.piece(rng.uniform(0.12, 0.45), rng)
        count = int(rng.poisson(rng.uniform(0.05, 0.4) * area))
        specimen.project(potential, piece, rng.random((count, 2)) * [width, height], pixel_size, rng, beads_each=600)
    fragments = int(rng.poisson(conditions.fragments * area))
    if fragments:
        residues = rng.uniform(45, 550, fragments).clip(max=0.12 * structure.weights.sum() / RESIDUE_EXCESS)
        beads = 40
        size = (residues * 135 * 3 / (4 * math.pi)) ** (1 / 3) / pixel_size
        at = (
            rng.random((fragments, 1, 2)) * [width, height]
            + rng.normal(size=(fragments, beads, 2)) * size[:, None, None] * 0.5
        )
        amounts = np.repeat(residues * RESIDUE_EXCESS / beads, beads) / pixel_size**2
        specimen.splat(
            potential,
            torch.from_numpy(at.reshape(-1, 2).astype(np.float32)),
            torch.from_numpy(amounts.astype(np.float32)),
        )
    return centres, ignored


def _background(shape: tuple[int, int], conditions: Conditions, rng: np.random.Generator) -> Tensor:
    """Mean intensity: inelastic loss exp(-t / Lambda) with a tilted and bowed ice layer, and uneven illumination."""
    v, u = torch.linspace(-1, 1, shape[0])[:, None], torch.linspace(-1, 1, shape[1])[None]
    angle = rng.uniform(0, 2 * math.pi)
    tilt, bowl = rng.uniform(0, 0.6), rng.uniform(0, 0.8) if rng.random() < 0.5 else 0.0
    loss = conditions.ice_thickness / rng.uniform(2500, 4000)
    light = rng.uniform(0, 0.2) * conditions.artefacts
    # The exponent is a sum of one term for the rows and one for the columns.
    across = torch.exp(u * (light * math.sin(angle * 3) - loss * tilt * math.cos(angle) / 2) - loss * bowl / 2 * u**2)
    down = torch.exp(v * (light * math.cos(angle * 3) - loss * tilt * math.sin(angle) / 2) - loss * bowl / 2 * v**2)
    return math.exp(-loss) * down * across


def _detectability(
    structure: Structure, ratio: Tensor, shape: tuple[int, int], pixel_size: float, rng: np.random.Generator
) -> float:
    """Return d' of the matched filter, mean over three views: d'² = sum_k |V(k)|² ratio(k) / pixels.

    V is the projected potential of one particle and `ratio`, on the frequencies of a real FFT of `shape`, what a unit
    of it puts into the signal's power over the noise's power a pixel. By Parseval's theorem the sum over frequencies is
    one over distances, of the autocorrelation of V times the inverse transform of `ratio`. The former vanishes beyond
    the particle's width, so it takes a small field only.
    """
    reach = math.sqrt(np.einsum("ij,ij->i", structure.beads, structure.beads).max()) / pixel_size
    small = [min(side, _fft_size(math.ceil(4 * reach) + 8)) for side in shape]
    views = torch.zeros(3, *small)
    for view in views:
        specimen.project(view, structure, np.array([[small[1] / 2, small[0] / 2]]), pixel_size, rng, beads_each=400)
    spectra = torch.view_as_real(torch.fft.rfft2(views))
    autocorrelation = torch.fft.irfft2((spectra**2).sum(-1).mean(0), s=small)
    rows = _ends(torch.fft.ifft(ratio, dim=0), small[0], axis=0)
    weight = _ends(torch.fft.irfft(rows, n=shape[1], dim=1), small[1], axis=1)
    return math.sqrt(max(0.0, float((autocorrelation * weight).sum())))


def _ends(field: Tensor, count: int, axis: int) -> Tensor:
    """Keep the first and the last `count` / 2 along an axis: the shortest distances of a periodic function."""
    half = count // 2
    return torch.cat([field.narrow(axis, 0, half), field.narrow(axis, field.shape[axis] - half, half)], axis)
