"""Contrast transfer against the analytic formulas and the constants of nature."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from cryotx_cli.simulator.optics import (
    INTERACTION,
    WAVELENGTH,
    Optics,
    contrast_transfer,
    damage_envelope,
    frequencies,
    water_decorrelation,
)

OPTICS = Optics(
    voltage=300,
    defocus=15000.0,
    astigmatism=0.0,
    astigmatism_angle=0.0,
    spherical_aberration=2.7e7,
    amplitude_contrast=0.1,
    phase_shift=0.0,
    b_factor=0.0,
    dose=1e-6,
    dose_weighted=False,
    mtf_decay=0.0,
    drift=0.0,
    drift_angle=0.0,
)


def along(k, angle):
    """Frequencies at distance `k` (tensor) from zero in one direction."""
    return k * math.sin(angle), k * math.cos(angle)


@pytest.mark.parametrize("voltage", [100, 200, 300])
def test_constants_follow_from_relativity(voltage):
    # CODATA 2018: h, m, e, c
    h, m, e, c = 6.62607015e-34, 9.1093837015e-31, 1.602176634e-19, 299792458.0
    energy = e * voltage * 1e3
    wavelength = h / math.sqrt(2 * m * energy * (1 + energy / (2 * m * c**2)))
    assert WAVELENGTH[voltage] == pytest.approx(wavelength * 1e10, rel=1e-3)
    interaction = 2 * math.pi * (m + energy / c**2) * e * wavelength / h**2  # rad/(V m)
    assert INTERACTION[voltage] == pytest.approx(interaction * 1e-10, rel=2e-3)


def test_frequencies_are_those_of_numpy():
    ky, kx = frequencies(10, 12, 1.5)
    assert_allclose(ky[:, 0], np.fft.fftfreq(10, 1.5), atol=1e-7)
    assert_allclose(kx[0], np.fft.rfftfreq(12, 1.5), atol=1e-7)


@pytest.mark.parametrize(
    ("voltage", "defocus", "cs", "phase_shift"),
    [(300, 15000.0, 2.7e7, 0.0), (200, 8000.0, 2.7e7, 0.0), (300, 30000.0, 1e4, 0.0), (300, 12000.0, 2.7e7, 1.6)],
)
def test_zeros_lie_where_gamma_is_a_multiple_of_pi(voltage, defocus, cs, phase_shift):
    optics = replace(OPTICS, voltage=voltage, defocus=defocus, spherical_aberration=cs, phase_shift=phase_shift)
    k = torch.linspace(0, 1 / 6, 40001, dtype=torch.float64)
    transfer = contrast_transfer(optics, torch.zeros(1, dtype=torch.float64), k).numpy()
    zeros = k.numpy()[1:][np.diff(np.sign(transfer)) != 0]
    # pi lambda df u - pi/2 Cs lambda^3 u^2 + asin(w) + phase = n pi with u = k^2
    wavelength = WAVELENGTH[voltage]
    n = np.arange(1, len(zeros) + 1)
    rest = n - (math.asin(0.1) + phase_shift) / math.pi
    b, a = wavelength * defocus, cs * wavelength**3
    expected = np.sqrt((b - np.sqrt(b**2 - 2 * a * rest)) / a)
    assert len(zeros) >= 3
    assert_allclose(zeros, expected, atol=1e-5)


def test_protein_is_dark_at_underfocus_and_bright_at_overfocus():
    # The image is 1 - 2 sin(gamma) phi: positive transfer at low resolution is dark.
    k = torch.linspace(0.01, 0.03, 20)
    assert (contrast_transfer(OPTICS, torch.zeros(1), k) > 0).all()
    assert (contrast_transfer(replace(OPTICS, defocus=-15000.0), torch.zeros(1), k)[5:] < 0).all()


def test_amplitude_contrast_and_a_phase_plate_set_the_start():
    zero = torch.zeros(1)
    assert float(contrast_transfer(OPTICS, zero, zero)) == pytest.approx(0.1, rel=1e-5)
    plate = replace(OPTICS, phase_shift=math.pi / 2)
    assert float(contrast_transfer(plate, zero, zero)) == pytest.approx(math.sqrt(1 - 0.01), rel=1e-5)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.5])
def test_astigmatism_is_half_the_difference_of_the_principal_defoci(angle):
    optics = replace(OPTICS, astigmatism=700.0, astigmatism_angle=angle)
    k = torch.linspace(0, 0.12, 500)
    for turn, defocus in ((0.0, 15700.0), (math.pi / 2, 14300.0), (math.pi / 4, 15000.0), (math.pi, 15700.0)):
        found = contrast_transfer(optics, *along(k, angle + turn))
        expected = contrast_transfer(replace(OPTICS, defocus=defocus), *along(k, 0.0))
        assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "envelope"),
    [
        ({"b_factor": 200.0}, lambda k: np.exp(-50 * k**2)),
        ({"mtf_decay": 3.0}, lambda k: np.exp(-3 * k)),
        ({"drift": 6.0, "drift_angle": 0.7}, lambda k: np.exp(-2 * np.pi**2 * 36 * k**2)),
        ({"drift": 6.0, "drift_angle": 0.7 + math.pi / 2}, np.ones_like),
    ],
)
def test_envelopes(change, envelope):
    k = torch.linspace(0.002, 0.12, 200)
    plain = contrast_transfer(OPTICS, *along(k, 0.7))
    damped = contrast_transfer(replace(OPTICS, **change), *along(k, 0.7))
    assert_allclose(damped.numpy(), plain.numpy() * envelope(k.numpy()), atol=1e-5)


@pytest.mark.parametrize(("voltage", "scale"), [(300, 1.0), (200, 0.8)])
def test_damage_is_the_mean_over_the_exposure(voltage, scale):
    k = np.array([0.02, 0.05, 1 / 12, 0.15])
    critical = scale * (0.245 * k**-1.665 + 2.81)
    exposure = (np.arange(20000) + 0.5) / 20000 * 40
    expected = np.exp(-exposure[:, None] / (2 * critical)).mean(0)
    optics = replace(OPTICS, voltage=voltage, dose=40.0)
    found = damage_envelope(torch.from_numpy(k), optics)
    assert_allclose(found, expected, rtol=1e-6)
    assert_allclose(
        damage_envelope(torch.from_numpy(k), replace(optics, dose_weighted=True)), np.sqrt(expected), rtol=1e-6
    )
    if voltage == 300:
        assert_allclose(found[1:3], [0.78, 0.61], atol=0.01)


def test_water_keeps_the_power_of_a_sum_over_a_decaying_correlation():
    # Frames at times s, t of the exposure correlate as exp(-8 k^2 dose |s - t|); their mean has this much power.
    k = np.array([0.03, 0.05, 1 / 12, 0.2])
    times = (np.arange(400) + 0.5) / 400
    apart = np.abs(times[:, None] - times[None])
    expected = [np.exp(-8 * q**2 * 40 * apart).mean() for q in k]
    found = water_decorrelation(torch.from_numpy(k), 40.0)
    assert_allclose(found, expected, rtol=1e-3)
    assert_allclose(found[1:3], [0.78, 0.54], atol=0.01)
    assert float(water_decorrelation(torch.zeros(1), 40.0)) == pytest.approx(1, abs=0.01)
