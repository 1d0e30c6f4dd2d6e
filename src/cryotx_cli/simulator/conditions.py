"""The circumstances of one micrograph besides its structures: microscope, ice, dirt and camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cryotx_cli.simulator.optics import Optics


@dataclass(frozen=True)
class Conditions:
    """Everything about one micrograph besides its structures; drawn by `draw_conditions`."""

    optics: Optics
    dqe: float
    ice_thickness: float  # Å
    ice_noise: float  # structure factor of ice towards low resolution
    soup: float  # rms relative to the ice noise
    soup_length: float  # Å
    fragments: float  # per particle area
    coverage: float  # share of the area under particle discs
    junk: float  # mean number of blobs per (20 diameters)²
    film: float  # chance of a support film edge
    film_edge: tuple[float, float]  # range of its distance from the middle, in image sides; below 0: film in the middle
    artefacts: float  # chance scale of camera and software marks


def draw_conditions(rng: np.random.Generator, severity: float = 1.0) -> Conditions:
    """Draw the circumstances of one micrograph from those that labs meet.

    Parameters
    ----------
    severity
        1 for the full range; 0 for a good day: clean ice, fair defocus and dose (what `cryotx simulate` starts from).
    """
    voltage = int(rng.choice([300, 200, 100], p=[0.75, 0.22, 0.03]))
    defocus = float(np.clip(math.exp(rng.normal(math.log(1.6e4), 0.5)), 3e3, 4.5e4))
    defocus = defocus if severity >= 0.5 else float(np.clip(defocus, 1.2e4, 2.8e4))
    dose = rng.uniform(18, 65) if severity >= 0.5 else rng.uniform(35, 60)
    optics = Optics(
        voltage=voltage,
        defocus=defocus,
        astigmatism=rng.uniform(0, 500),
        astigmatism_angle=rng.uniform(0, math.pi),
        spherical_aberration=2.7e7 if rng.random() < 0.9 else 1e4,
        amplitude_contrast=rng.uniform(0.06, 0.12),
        phase_shift=math.radians(rng.uniform(60, 110)) if rng.random() < 0.02 * severity else 0.0,
        b_factor=rng.uniform(20, 250),
        dose=dose,
        dose_weighted=bool(rng.random() < 0.5),
        mtf_decay=rng.uniform(0.3, 4.0),
        drift=rng.uniform(2, 15) if rng.random() < 0.05 * severity else 0.0,
        drift_angle=rng.uniform(0, math.pi),
    )
    old_camera = rng.random() < 0.06 * severity
    return Conditions(
        optics=optics,
        dqe=rng.uniform(0.15, 0.35) if old_camera else rng.uniform(0.5, 0.95),
        ice_thickness=float(np.clip(math.exp(rng.normal(math.log(350), 0.45)), 150, 1500 if severity >= 0.5 else 500)),
        ice_noise=math.exp(rng.uniform(math.log(0.05), math.log(0.4 if severity >= 0.5 else 0.1))),
        soup=rng.uniform(0, 1.6 if rng.random() < 0.9 else 4.0) * severity,
        soup_length=math.exp(rng.uniform(math.log(10), math.log(160))),
        fragments=rng.uniform(0, 3) * severity if rng.random() < 0.5 else 0.0,
        coverage=float(0.95 * rng.beta(1.25, 2.4)) if severity >= 0.5 else rng.uniform(0.12, 0.4),
        junk=float(rng.gamma(1.0, 1.5)) * severity + 0.15,
        film=0.35 * severity,
        film_edge=(-0.1, 0.45),
        artefacts=severity,
    )
