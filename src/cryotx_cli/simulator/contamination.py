"""What lies on a micrograph beside particles and smooth ice: dirt, ice crystals, filaments, carbon and gold films."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cryotx_cli.simulator import specimen
from cryotx_cli.simulator.conditions import Conditions
from cryotx_cli.simulator.optics import INTERACTION, frequencies, gaussian_blur
from cryotx_cli.simulator.structures import PROTEIN_EXCESS, Structure

CARBON_DENSITY, CARBON_POTENTIAL, CARBON_MIP = 0.088, 103.5, 9.09  # atoms/Å³, V Å³, V at 1.75 g/cm³


class Contamination(NamedTuple):
    """Maps of one size, (height, width).

    Attributes
    ----------
    phase
        That it adds to the electron wave.
    junk, film
        Coverage, 0 to 1: by all of it together, and by the support film alone.
    transmission
        Share of the electrons that pass.
    """

    phase: Tensor
    junk: Tensor
    film: Tensor
    transmission: Tensor


def contaminate(
    shape: tuple[int, int],
    structure: Structure,
    conditions: Conditions,
    pixel_size: float,
    rng: np.random.Generator,
    noise: torch.Generator,
) -> Contamination:
    """Draw the contamination of a micrograph of `shape` (height, width); `structure` gives it a measure of size."""
    sigma_e = INTERACTION[conditions.optics.voltage]
    diameter_px = structure.diameter / pixel_size
    yy, xx = torch.meshgrid(
        torch.arange(shape[0], dtype=torch.float32), torch.arange(shape[1], dtype=torch.float32), indexing="ij"
    )
    phase, junk = torch.zeros(shape), torch.zeros(shape)
    for _ in range(int(rng.poisson(conditions.junk * shape[0] * shape[1] / (20 * diameter_px) ** 2))):
        radius = diameter_px * math.exp(rng.uniform(math.log(0.2), math.log(3.0)))
        profile = specimen.blob(xx, yy, radius, rng)
        strength = sigma_e * PROTEIN_EXCESS * structure.diameter * math.exp(rng.uniform(math.log(0.5), math.log(8)))
        texture = 1 + rng.uniform(0, 0.5) * _grain(shape, rng.uniform(1, 6), noise)
        phase += profile * strength * texture
        junk = torch.maximum(junk, profile.clamp(0, 1))
    if rng.random() < 0.35 * conditions.artefacts:  # ice that settled on the grid, of many sizes
        count = int(rng.poisson(rng.uniform(1, 20) * shape[0] * shape[1] / (20 * diameter_px) ** 2))
        balls = torch.zeros(shape)
        largest = diameter_px * rng.uniform(0.3, 1.0)
        specimen.ice_balls(balls, junk, count, 0.3 * largest, largest, pixel_size, rng)
        phase += sigma_e * balls
    if rng.random() < 0.02 * conditions.artefacts:
        profile = specimen.filament(xx, yy, diameter_px * rng.uniform(0.2, 0.9), rng)
        phase += profile * sigma_e * PROTEIN_EXCESS * structure.diameter * rng.uniform(0.3, 1.5)
        junk = torch.maximum(junk, profile)
    if rng.random() < 0.02 * conditions.artefacts:  # crystalline ice: a strongly textured patch
        patch = specimen.blob(xx, yy, diameter_px * rng.uniform(2, 6), rng).clamp(0, 1)
        phase += patch * sigma_e * 30 * rng.uniform(5, 30) * _grain(shape, rng.uniform(1.5, 6), noise)
        junk = torch.maximum(junk, patch)
    if rng.random() < 0.03 * conditions.artefacts:  # continuous thin carbon under everything
        phase += _carbon_grain(rng.uniform(20, 50), sigma_e, pixel_size, rng) * torch.randn(shape, generator=noise)
    film, transmission = torch.zeros(shape), torch.ones(shape)
    if rng.random() < conditions.film:
        edge = specimen.distance_to_edge(xx, yy, rng, pixel_size, conditions.film_edge)
        film = torch.sigmoid(edge / rng.uniform(10, 60))
        film_phase, transmission = _support_film(film, sigma_e, pixel_size, rng, noise)
        phase += film_phase
        junk = torch.maximum(junk, film)
    return Contamination(phase, junk, film, transmission)


def _support_film(
    film: Tensor, sigma_e: float, pixel_size: float, rng: np.random.Generator, noise: torch.Generator
) -> tuple[Tensor | float, Tensor]:
    """Phase and transmission of a film of gold or of carbon that covers what `film` says."""
    if rng.random() < 0.2:  # gold: nearly opaque
        return 0.0, 1 - film * rng.uniform(0.6, 0.92)
    thickness = rng.uniform(80, 250)
    grain = _carbon_grain(thickness, sigma_e, pixel_size, rng)
    phase = film * (sigma_e * CARBON_MIP * thickness + grain * torch.randn(film.shape, generator=noise))
    return phase, 1 - film * rng.uniform(0.03, 0.15)


def _carbon_grain(thickness: float, sigma_e: float, pixel_size: float, rng: np.random.Generator) -> float:
    """Return the standard deviation of the phase of a pixel under amorphous carbon of this thickness in Å."""
    return math.sqrt(CARBON_DENSITY * thickness * rng.uniform(0.3, 1)) * CARBON_POTENTIAL * sigma_e / pixel_size


def _grain(shape: tuple[int, int], length: float, noise: torch.Generator) -> Tensor:
    """Gaussian random field of unit variance with a correlation length in pixels."""
    spectrum = torch.fft.rfft2(torch.randn(shape, generator=noise)).mul_(
        gaussian_blur(*frequencies(*shape, 1.0), length)
    )
    field: Tensor = torch.fft.irfft2(spectrum, s=shape)
    return field.div_(field.std())
