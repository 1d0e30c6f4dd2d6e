"""Simulated micrographs against direct statistics: noise levels, potentials, labels and how visible particles are."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import cKDTree

from cryotx_cli.simulator.conditions import Conditions, draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.optics import Optics, contrast_transfer, frequencies, water_decorrelation
from cryotx_cli.simulator.structures import Structure, procedural_structure

# A phase plate in focus and an almost undamaging dose: the contrast is 2 sigma_e times the projected potential.
FAITHFUL = Optics(
    voltage=300,
    defocus=0.0,
    astigmatism=0.0,
    astigmatism_angle=0.0,
    spherical_aberration=0.0,
    amplitude_contrast=0.1,
    phase_shift=math.pi / 2 - math.asin(0.1),
    b_factor=0.0,
    dose=1e-3,
    dose_weighted=False,
    mtf_decay=0.0,
    drift=0.0,
    drift_angle=0.0,
)
USUAL = replace(FAITHFUL, defocus=15000.0, spherical_aberration=2.7e7, phase_shift=0.0, b_factor=80.0, dose=40.0)
EMPTY = Conditions(
    optics=USUAL,
    dqe=0.8,
    ice_thickness=300.0,
    ice_noise=0.0,
    soup=0.0,
    soup_length=30.0,
    fragments=0.0,
    coverage=0.0,
    junk=0.0,
    film=0.0,
    film_edge=(-0.1, 0.45),
    artefacts=0.0,
)
NOISELESS = replace(EMPTY, optics=FAITHFUL, dqe=1e15)


def rng(seed=0):
    return np.random.default_rng(seed)


def ball_of(beads):
    """A protein of 900 kV Å^3 and a radius of 50 Å."""
    points = rng(1).normal(size=(beads, 3))
    points *= 50 * rng(2).random((beads, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    return Structure.from_beads(points, np.full(beads, 9e5 / beads), "ball", rng())


@pytest.fixture(scope="module")
def ball():
    return ball_of(1500)


def simulate(structure, conditions, shape=(256, 256), pixel_size=5.0, seed=0):
    return simulate_micrograph(structure, structure, conditions, shape, pixel_size, rng(seed))


def background_of(image, clear=True):
    """Smooth intensity: a polynomial of fourth degree in both directions, fitted to the logarithm where it is clear."""
    height, width = image.shape
    v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([u**i * v**j for i in range(5) for j in range(5 - i)], -1).reshape(-1, 15)
    used = np.broadcast_to(clear, image.shape).ravel()
    weights, *_ = np.linalg.lstsq(terms[used], np.log(image.ravel()[used]), rcond=None)
    return np.exp(terms @ weights).reshape(height, width)


def flattened(micrograph, reach):
    """Relative intensity minus one, its background taken where no label is within `reach` px."""
    image = micrograph.image.astype(float)
    pixels = np.indices(image.shape)[::-1].reshape(2, -1).T
    clear = cKDTree(micrograph.centres).query(pixels)[0] > reach
    return image / background_of(image, clear.reshape(image.shape)) - 1


def isolated(micrograph, distance):
    """Indices of particles with no other and no border within `distance` px."""
    centres, sides = micrograph.centres, np.array(micrograph.image.shape[::-1])
    if not len(centres):
        return []
    apart = cKDTree(centres).query(centres, 2)[0][:, 1] > 2 * distance
    return np.flatnonzero(apart & (centres > distance).all(1) & (centres < sides - 1 - distance).all(1))


def window_at(image, centre, reach):
    """Cut a window around a centre; the window and the centre in it."""
    x0, y0 = (round(c) - reach for c in centre)
    return image[y0 : y0 + 2 * reach + 1, x0 : x0 + 2 * reach + 1], np.asarray(centre) - [x0, y0]


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dose", "dqe", "pixel_size"), [(40.0, 0.8, 5.0), (20.0, 0.3, 3.0), (60.0, 0.9, 9.0)])
def test_shot_noise_of_an_empty_micrograph_counts_electrons(ball, dose, dqe, pixel_size):
    # Poisson: of n = dose x DQE x s^2 electrons on clear ice, B n pass, and the image B has the variance B / n.
    conditions = replace(EMPTY, optics=replace(USUAL, dose=dose), dqe=dqe)
    image = simulate(ball, conditions, pixel_size=pixel_size).image.astype(float)
    neighbours = np.diff(image, axis=1)
    assert neighbours.var() / 2 / image.mean() == pytest.approx(1 / (dose * dqe * pixel_size**2), rel=0.025)
    noise = image / background_of(image) - 1
    spectrum = np.abs(np.fft.rfft2(noise)[1:100, 1:100]) ** 2
    assert spectrum[:50, :50].mean() == pytest.approx(spectrum[50:, 50:].mean(), rel=0.1)  # white


@pytest.mark.parametrize(("thickness", "structure_factor", "voltage"), [(300.0, 0.2, 300), (600.0, 0.1, 200)])
def test_ice_noise_has_the_power_of_its_molecules_through_the_optics(ball, thickness, structure_factor, voltage):
    pixel_size, shape = 4.0, (320, 320)
    optics = replace(USUAL, voltage=voltage)
    conditions = replace(EMPTY, optics=optics, dqe=1e15, ice_thickness=thickness, ice_noise=structure_factor)
    image = simulate(ball, conditions, shape, pixel_size).image.astype(float)
    contrast = 1 - image / background_of(image)
    found = np.abs(np.fft.rfft2(contrast)) ** 2 / contrast.size
    # sigma_e^2 n t f^2 S / s^2 a pixel, n = 0.0314 molecules/Å^3 of f = 145.6 V Å^3
    sigma_e = {300: 6.53e-4, 200: 7.29e-4}[voltage]
    power = sigma_e**2 * 0.0314 * thickness * 145.6**2 * structure_factor / pixel_size**2
    ky, kx = frequencies(*shape, pixel_size)
    k = k_tensor(ky, kx).numpy()
    transfer = contrast_transfer(optics, ky, kx).numpy()
    expected = 4 * transfer**2 * power * water_decorrelation(k_tensor(ky, kx), optics.dose).numpy()
    for low, high in ((0.015, 0.04), (0.04, 0.07), (0.07, 0.12)):
        band = (k > low) & (k < high)
        assert found[band].mean() == pytest.approx(expected[band].mean(), rel=0.1)


def k_tensor(ky, kx):
    return (ky**2 + kx**2).sqrt()


@pytest.mark.parametrize("soup", [0.5, 1.5])
def test_soup_is_a_multiple_of_the_ice_noise(ball, soup):
    spreads = []
    for level in (0.0, soup):
        conditions = replace(NOISELESS, ice_noise=0.2, soup=level, soup_length=12.0)
        image = simulate(ball, conditions, pixel_size=4.0).image.astype(float)
        spreads.append((image / background_of(image)).var())
    assert spreads[1] / spreads[0] == pytest.approx(1 + soup**2, rel=0.1)


def test_thick_ice_is_dark(ball):
    # exp(-t / Lambda), Lambda between 2500 and 4000 Å
    image = simulate(ball, replace(NOISELESS, ice_thickness=1000.0)).image
    assert math.exp(-1000 / 2500 * 1.8) < image.mean() < math.exp(-1000 / 4000 * 0.9)


# --- signal and labels -----------------------------------------------------------------------------------------------


def test_a_particle_darkens_the_image_by_its_whole_potential_at_its_label(ball):
    pixel_size, conditions = 5.0, replace(NOISELESS, coverage=0.06)
    reach = int(0.8 * ball.diameter / pixel_size)
    integrals, misses = [], []
    for seed in range(6):
        micrograph = simulate(ball, conditions, (320, 400), pixel_size, seed)
        dark = -flattened(micrograph, reach)
        for i in isolated(micrograph, reach + 1):
            window, centre = window_at(dark, micrograph.centres[i], reach)
            yy, xx = np.indices(window.shape)
            misses.append(np.array([(xx * window).sum(), (yy * window).sum()]) / window.sum() - centre)
            integrals.append(window.sum() * pixel_size**2 / (2 * 6.53e-4))
    assert len(misses) > 30
    assert np.abs(np.median(misses, axis=0)).max() < 0.01
    assert np.quantile(np.abs(misses), 0.9) < 0.1  # one in twenty has lost a piece
    assert np.median(integrals) == pytest.approx(ball.weights.sum(), rel=0.06)  # each +-10 %


@pytest.mark.slow
def test_labels_lie_on_dark_spots_of_usual_micrographs(ball):
    conditions = replace(EMPTY, coverage=0.2, ice_noise=0.1)
    stack = []
    for seed in range(5):
        micrograph = simulate(ball, conditions, shape=(256, 320), seed=seed)
        flat = micrograph.image / background_of(micrograph.image.astype(float)) - 1
        inside = ((micrograph.centres > 20) & (micrograph.centres < [299, 235])).all(1)
        stack += [window_at(flat, c, 15)[0] for c in micrograph.centres[inside]]
    mean = np.mean(stack, axis=0)
    assert len(stack) > 50
    assert mean[13:18, 13:18].mean() < -0.01  # 16 standard errors
    assert abs(mean[:, :3].mean()) < 0.005
    yy, xx = np.nonzero(mean < -0.01)  # the disc within its bright fringe
    assert 8 < math.sqrt(len(xx) / math.pi) < 10.5  # the radius is 10 px
    assert_allclose([xx.mean(), yy.mean()], 15, atol=0.4)


def test_radii_are_half_the_diameter_in_pixels(ball):
    micrograph = simulate(ball, replace(EMPTY, coverage=0.2), pixel_size=4.0)
    assert_allclose(micrograph.radii, ball.diameter / 8)
    assert len(micrograph.radii) == len(micrograph.centres) == len(micrograph.ignored) > 5


@pytest.mark.parametrize("dose", [10.0, pytest.param(40.0, marks=pytest.mark.slow)])
def test_detectability_is_the_contrast_of_the_matched_filter(dose):
    # With shot noise alone, the best linear detector has d'^2 = (signal energy) x (electrons a pixel).
    coarse, pixel_size, dqe = ball_of(400), 5.0, 0.7
    optics = replace(USUAL, dose=dose)
    clean, noisy = replace(EMPTY, optics=optics, dqe=1e15, coverage=0.04), replace(EMPTY, optics=optics, dqe=dqe)
    energies = []
    for seed in range(4):
        micrograph = simulate(coarse, clean, (400, 400), pixel_size, seed)
        flat = flattened(micrograph, 22)
        energies += [(window_at(flat, micrograph.centres[i], 22)[0] ** 2).sum() for i in isolated(micrograph, 24)]
    expected = math.sqrt(np.median(energies) * dose * dqe * pixel_size**2)
    found = [simulate(coarse, noisy, (64, 64), pixel_size, seed).detectability for seed in range(9)]
    assert len(energies) >= 12
    assert np.median(found) == pytest.approx(expected, rel=0.1)


def test_more_noise_makes_particles_harder_to_detect(ball):
    levels = [replace(EMPTY), replace(EMPTY, ice_noise=0.3), replace(EMPTY, ice_noise=0.3, soup=1.5)]
    values = [simulate(ball, level).detectability for level in levels]
    assert values[0] > 1.1 * values[1] > 1.2 * values[2]


def test_particles_below_the_noise_are_ignored(ball):
    conditions = replace(EMPTY, coverage=0.2, dqe=1e-3)
    micrograph = simulate(ball, conditions)
    assert micrograph.detectability < 2.5
    assert len(micrograph.ignored) > 5
    assert micrograph.ignored.all()


def test_particles_cut_by_the_border_are_ignored_and_those_beyond_left_out(ball):
    reach = 0.25 * ball.diameter / 5.0
    outside = 0
    for seed in range(6):
        micrograph = simulate(ball, replace(EMPTY, coverage=0.4), shape=(160, 200), seed=seed)
        x, y = micrograph.centres.T
        assert (x > -0.5 - reach).all()
        assert (y > -0.5 - reach).all()
        assert (x < 199.5 + reach).all()
        assert (y < 159.5 + reach).all()
        off = (x < -0.5) | (y < -0.5) | (x > 199.5) | (y > 159.5)
        assert_array_equal(micrograph.ignored, off)
        outside += off.sum()
    assert outside > 5


def test_a_film_hides_particles_and_dims_the_beam(ball):
    seen = 0
    for seed in range(12):
        micrograph = simulate(ball, replace(EMPTY, coverage=0.3, film=1.0), seed=seed)
        film = micrograph.film
        assert_array_equal(film, micrograph.junk)
        assert film.min() >= 0
        assert film.max() <= 1
        x, y = micrograph.centres.round().astype(int).clip(0, 255).T
        inside = ((micrograph.centres > 0) & (micrograph.centres < 255)).all(1)
        assert_array_equal(micrograph.ignored[inside], film[y, x][inside] > 0.6)
        if 0.1 < film.mean() < 0.9:
            assert micrograph.image[film > 0.9].mean() < micrograph.image[film < 0.1].mean()
            seen += 1
    assert seen >= 3


def test_beside_a_hole_nobody_wants_the_particles_on_the_film(ball):
    conditions = replace(EMPTY, coverage=0.5, film=1.0)
    shown = 0
    for seed in range(12):
        micrograph = simulate(ball, conditions, seed=seed)
        if not 0.1 < micrograph.junk.mean() < 0.5:
            continue
        x, y = micrograph.centres.round().astype(int).clip(0, 255).T
        assert not (micrograph.junk[y, x] > 0.7).any()
        assert len(micrograph.centres) > 5
        shown += 1
    assert shown >= 3


@pytest.mark.slow
def test_contamination_is_dark_and_marked(ball):
    darker = []
    for seed in range(8):
        micrograph = simulate(ball, replace(EMPTY, junk=3.0), seed=seed)
        assert not micrograph.film.any()
        flat = micrograph.image / background_of(micrograph.image.astype(float), micrograph.junk < 0.05)
        if (micrograph.junk > 0.8).sum() > 50:
            darker.append(flat[micrograph.junk > 0.8].mean() - flat[micrograph.junk < 0.1].mean())
    assert len(darker) >= 4
    assert np.median(darker) < -0.01


def test_particles_in_aggregates_are_ignored(ball):
    # One micrograph in ten has an aggregate: ten times as often is always.
    counts = []
    for seed in range(5):
        micrograph = simulate(ball, replace(EMPTY, artefacts=10.0), seed=seed)
        assert micrograph.ignored.all()
        counts.append(len(micrograph.ignored))
    assert max(counts) > 3


# --- reproducibility --------------------------------------------------------------------------------------------------


def test_a_seed_names_one_micrograph(ball):
    other = procedural_structure(rng(3))

    def run(seed):
        generator = rng(seed)
        return simulate_micrograph(ball, other, draw_conditions(generator), (128, 160), 5.0, generator)

    first, again, different = run(1), run(1), run(2)
    assert first.image.shape == first.junk.shape == (128, 160)
    assert first.image.dtype == np.float32
    for name in ("image", "centres", "radii", "ignored", "junk", "film"):
        assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.optics == again.optics
    assert (first.image != different.image).all()


def test_any_circumstances_give_a_finite_picture():
    for seed in range(20):
        generator = rng(seed)
        structure, distractor = procedural_structure(generator), procedural_structure(generator)
        pixel_size = structure.diameter / generator.uniform(15, 38)
        micrograph = simulate_micrograph(
            structure, distractor, draw_conditions(generator), (96, 112), pixel_size, generator
        )
        assert np.isfinite(micrograph.image).all()
        assert micrograph.image.std() > 0
        assert np.isfinite(micrograph.detectability)
