"""Support film: what the film finder sees, what is made of what it says, and the bundled one on simulated film."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.path import Path as Polygon
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from torch import nn

from cryotx_cli.config import PickConfig
from cryotx_cli.detector.center.checkpoint import load_checkpoint
from cryotx_cli.detector.center.film import (
    FilmFinder,
    film_at,
    film_features,
    film_outlines,
    film_probability,
    off_film,
)
from cryotx_cli.detector.load_picker import load_picker
from cryotx_cli.micrographs.image import normalise
from cryotx_cli.micrographs.micrograph import Micrograph
from cryotx_cli.simulator.conditions import draw_conditions
from cryotx_cli.simulator.micrograph import simulate_micrograph
from cryotx_cli.simulator.structures import procedural_structure


class Says(nn.Module):
    """Takes for film, with a given probability, what has a mean above a half."""

    def __init__(self, probability):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(float(logit(probability))), requires_grad=False)

    def forward(self, features):
        return torch.where(features[:, 0] > 0.5, self.logit, torch.tensor(-9.0))


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def test_features_are_mean_and_spread_of_cells():
    image = noise((64, 50))
    image[:32] *= 3
    features, shown = film_features(image)
    assert features.shape == (2, 16, 13)
    assert shown.all()
    cells = [[image[y : y + 4, x : x + 4] for x in range(0, 50, 4)] for y in range(0, 64, 4)]
    assert_allclose(features[0], [[cell.mean() for cell in row] for row in cells], atol=1e-6)
    spread = np.log(np.array([[cell.std() for cell in row] for row in cells]) + 0.01)
    assert_allclose(features[1], 2 * (spread - np.sort(spread.ravel())[(spread.size - 1) // 2]), atol=1e-3)


def test_padding_says_nothing():
    image = noise((80, 80))
    image[:10] = image[10]
    features, shown = film_features(image)
    assert not shown[:2].any()
    assert shown[4:].all()
    assert_array_equal(features[:, ~shown], 0)


def test_film_is_where_it_is_likelier_than_not():
    image = noise((64, 80))
    image[:, :32] += 1
    film = film_probability(Says(0.9), image)
    assert film.shape == (16, 20)
    assert_allclose(film[:, :8], 0.9, rtol=1e-5)
    assert_array_equal(film[:, 8:], 0)
    assert_array_equal(film_probability(Says(0.4), image), 0)


def test_a_micrograph_of_film_has_none():
    image = noise((64, 80))
    image[:, :52] += 1
    assert_array_equal(film_probability(Says(0.9), image), 0)


def test_film_reaches_into_the_padding():
    image = noise((80, 80))
    image[:, :32] += 1
    image[:10] = image[10]
    film = film_probability(Says(0.9), image)
    assert_allclose(film[:, :8], 0.9, rtol=1e-5)


def test_a_particle_off_film_is_a_particle_and_no_film():
    x, f = (a.ravel() for a in np.meshgrid([-5.0, 0.0, 3.0, 9.0], [0.0, 0.2, 0.9, 0.999]))
    assert_allclose(expit(off_film(x, f)), expit(x) * (1 - f), rtol=1e-9)
    assert_array_equal(off_film(x, np.zeros_like(f)), x)
    assert np.isfinite(off_film(np.array([50.0, -50.0]), np.ones(2))).all()


def test_film_is_read_at_the_cell_of_a_point():
    film = np.arange(6, dtype=np.float32).reshape(2, 3)
    points = np.array([[0.0, 0.0], [3.9, 4.0], [11.9, 7.9], [12.5, 9.0], [-1.0, 5.0]])
    assert_array_equal(film_at(film, points), [0, 3, 5, 5, 3])


def inside(outlines, shape, scale=1.0):
    """Which pixels lie within an odd number of the polygons: the even-odd rule, by matplotlib for each of them."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    points = np.column_stack([x.ravel(), y.ravel()])
    crossed = sum((Polygon(one).contains_points(points).astype(int) for one in outlines), np.zeros(len(points), int))
    return (crossed % 2 == 1).reshape(shape)


def test_outlines_go_around_film_and_around_its_holes():
    film = np.zeros((60, 80), np.float32)
    film[:, :40] = 0.9
    film[20:32, 10:22] = 0  # a hole of two particles
    film[50:52, 60:62] = 0.9  # smaller than a particle
    film[5, 5] = 0  # as is this hole
    outlines = film_outlines(film)
    assert len(outlines) == 2
    wanted = np.zeros((240, 320), bool)
    wanted[:, :160] = True
    wanted[80:128, 40:88] = False
    assert (inside(outlines, wanted.shape) != wanted).mean() < 0.005
    assert sum(map(len, outlines)) < 40
    border = np.concatenate(outlines)
    assert {border[:, 0].min(), border[:, 1].min(), border[:, 1].max()} == {-0.5, 239.5}
    assert film_outlines(np.zeros((60, 80), np.float32)) == []


@pytest.mark.parametrize("shape", [(33, 64), (200, 120)])
def test_any_size_has_logits_of_its_own_size(shape):
    logits = FilmFinder().eval()(torch.zeros(1, 2, *shape))
    assert logits.shape == (1, *shape)


@pytest.fixture(scope="module")
def bundled():
    finder = FilmFinder()
    finder.load_state_dict(load_checkpoint("default").film)
    return finder.eval()


def simulated(seed, film):
    """A clean micrograph, with or without film, and the diameter of its particles in Å."""
    rng = np.random.default_rng(seed)
    structure = procedural_structure(rng)
    conditions = replace(draw_conditions(rng, 0.0), film=float(film), film_edge=(0.1, 0.2), junk=0.0)
    pixel_size = structure.diameter / 24
    return simulate_micrograph(structure, structure, conditions, (512, 512), pixel_size, rng), structure.diameter


def test_bundled_finder_finds_simulated_film_and_nothing_else(bundled):
    found = wanted = wrong = ice = 0
    for seed in range(6):
        micrograph, _ = simulated(seed, film=seed % 2)
        seen = film_probability(bundled, normalise(micrograph.image)).repeat(4, 0).repeat(4, 1) > 0
        film = micrograph.film > 0.5
        found, wanted = found + (seen & film).sum(), wanted + film.sum()
        wrong, ice = wrong + (seen & (micrograph.film < 0.01)).sum(), ice + (micrograph.film < 0.01).sum()
    assert wanted > 0.05 * 6 * 512**2
    assert found > 0.8 * wanted
    assert wrong < 0.01 * ice


@pytest.mark.slow
def test_the_outline_of_film_lies_where_film_was_simulated():
    careful, careless = (
        load_picker(PickConfig(diameter=100.0, on_film=on_film, device="cpu")).picker for on_film in (False, True)
    )
    for seed in (1, 3, 5):
        micrograph, diameter = simulated(seed, film=True)
        # Pixels of a micrograph are not those of the network.
        image = cv2.resize(micrograph.image, (700, 600), interpolation=cv2.INTER_CUBIC)
        truth = cv2.resize(micrograph.film, (700, 600)) > 0.5
        held = Micrograph(image, diameter / 24 * 512 / 650, Path("film.mrc"))
        region = careful.locate(careful.prepare(held, diameter), held).film
        seen = inside(region.outlines, truth.shape)
        assert (seen & truth).sum() > 0.75 * (seen | truth).sum()
        assert region.share(*truth.shape) == pytest.approx(seen.mean(), abs=0.01)
        assert careless.locate(careless.prepare(held, diameter), held).film is None
    clean, diameter = simulated(2, film=False)
    held = Micrograph(clean.image, diameter / 24, Path("clean.mrc"))
    assert careful.locate(careful.prepare(held, diameter), held).film.outlines == ()


@pytest.mark.slow
def test_nothing_is_picked_on_film_unless_it_is_wanted():
    careful, careless = (
        load_picker(PickConfig(diameter=100.0, on_film=on_film, device="cpu")).picker for on_film in (False, True)
    )
    assert careful.fingerprint != careless.fingerprint
    on_film = np.zeros(2, int)
    beside = np.zeros(2, int)
    for seed in (1, 3, 5):
        micrograph, diameter = simulated(seed, film=True)
        image = Micrograph(micrograph.image, diameter / 24, Path("film.mrc"))
        for number, picker in enumerate((careful, careless)):
            centres = picker.pick(image, diameter).above(0.3).centres
            film = micrograph.film[tuple(centres.round().astype(int).T[::-1])]
            on_film[number] += (film > 0.9).sum()
            beside[number] += (film < 0.1).sum()
    assert on_film[0] < 0.1 * on_film[1]
    assert on_film[1] > 10
    assert beside[0] > 0.97 * beside[1] > 50
