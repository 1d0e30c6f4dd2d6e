"""Phases are flipped where the contrast transfer is known: averages agree with the particle beyond its first zero."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from cryotx_cli.averages.crops import SIDE, Frame, crops_of
from cryotx_cli.micrographs.ctf import Ctf
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.simulator.optics import Optics, contrast_transfer, frequencies

PIXEL, STEP, WIDTH = 2.0, 80, 960
CTF = Ctf(21000.0, 18000.0, 40.0, 300.0, 2.7, 0.1)
FIRST_ZERO, SECOND_ZERO = (SIDE * PIXEL * math.sqrt(n / (0.01969 * 19500)) for n in (1, 2))  # rings, nearly


def truth() -> np.ndarray:
    """A particle with all frequencies, bright."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    return np.random.default_rng(3).normal(size=(SIDE, SIDE)) * (np.hypot(x, y) < 17)


@cache
def micrograph() -> tuple[Micrograph, np.ndarray]:
    """The particle again and again, as the simulator's own formula shows it, dark in noise; and where they are."""
    image, centres = np.zeros((WIDTH, WIDTH)), []
    for y in range(STEP // 2, WIDTH - STEP // 2, STEP):
        for x in range(STEP // 2, WIDTH - STEP // 2, STEP):
            image[y - SIDE // 2 : y + SIDE // 2, x - SIDE // 2 : x + SIDE // 2] += truth()
            centres.append((x - 0.5, y - 0.5))
    optics = Optics(
        voltage=300, defocus=19500.0, astigmatism=1500.0, astigmatism_angle=math.radians(40),
        spherical_aberration=2.7e7, amplitude_contrast=0.1, phase_shift=0.0, b_factor=0.0, dose=1.0,
        dose_weighted=False, mtf_decay=0.0, drift=0.0, drift_angle=0.0,
    )  # fmt: skip
    transfer = contrast_transfer(optics, *frequencies(WIDTH, WIDTH, PIXEL))
    dark = -torch.fft.irfft2(torch.fft.rfft2(torch.from_numpy(image)) * transfer, s=image.shape).numpy()
    noisy = dark + np.random.default_rng(4).normal(0, 2, image.shape)
    return Micrograph(noisy.astype(np.float32), PIXEL, Path("m")), np.array(centres)


def agreement(ctf: Ctf | None, bright: bool = False) -> np.ndarray:
    """Correlation of the mean crop with the particle on each ring."""
    seen, centres = micrograph()
    found = crops_of(Micrograph(-seen.image, PIXEL, Path("m")) if bright else seen, centres, Frame(40 * PIXEL), ctf)
    assert found.flipped == (ctf is not None)
    one, other = np.fft.fft2(found.images.mean(0)), np.fft.fft2(truth())
    ring = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(SIDE) * SIDE])).round().astype(int).ravel()
    shared = np.bincount(ring, (one * other.conj()).real.ravel())
    power = np.bincount(ring, np.abs(one.ravel()) ** 2) * np.bincount(ring, np.abs(other.ravel()) ** 2)
    return shared / np.sqrt(power)


def test_beyond_the_first_zero_averages_agree_with_the_particle_where_phases_are_flipped() -> None:
    known, unknown = agreement(CTF), agreement(None)
    before = slice(3, int(FIRST_ZERO) - 1)
    between = slice(math.ceil(FIRST_ZERO) + 1, int(SECOND_ZERO))

    assert min(known[before].min(), unknown[before].min()) > 0.7
    assert unknown[between].max() < -0.5  # turned round
    assert known[between].min() > 0.7
    assert known[3:25].mean() > 0.5
    assert unknown[3:25].mean() < 0.25


@pytest.mark.parametrize(("name", "value"), [("angle", -40.0), ("defocus_u", 27000.0)])
def test_with_a_wrong_contrast_transfer_they_agree_less(name: str, value: float) -> None:
    wrong = Ctf(**{**vars(CTF), name: value})

    assert agreement(wrong)[3:25].mean() < agreement(CTF)[3:25].mean() - 0.05


def test_bright_particles_that_are_turned_round_first_agree_less_than_not_at_all() -> None:
    assert agreement(CTF, bright=True)[3:25].mean() < -0.5


def test_where_the_noise_cannot_be_told_phases_are_flipped_all_the_same() -> None:
    seen, centres = micrograph()
    small = Micrograph(seen.image[:60, :60], PIXEL, Path("m"))

    with_phases, without = (crops_of(small, centres[:1], Frame(40 * PIXEL), ctf) for ctf in (CTF, None))

    assert with_phases.flipped
    assert not np.allclose(with_phases.images, without.images)
