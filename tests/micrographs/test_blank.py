"""Blank parts that reach in from the border, and none where an image shows something."""

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cryotx_cli.micrographs.blank import blank_parts, distance_from, normalise_shown, zeroed_parts
from cryotx_cli.micrographs.image import normalise, rescale

SHAPE = (200, 260)


def noise(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(100, 8, shape).astype(np.float32)


def wedge(shape=SHAPE):
    """Along the left side, 4 px wide at the top and 40 at the bottom."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return x < 4 + 36 * y / shape[0]


def corner(shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (x < 60) & (y < 45)


def steps(shape=SHAPE):
    """Along the right side, each step as high as a tile of the detector."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return x >= shape[1] - np.array([12, 30, 0, 18])[y * 4 // shape[0]]


SHAPES = {"wedge": wedge(), "corner": corner(), "steps": steps()}


@pytest.mark.parametrize("value", [0.0, 100.0, 255.0, -1e4])
@pytest.mark.parametrize("name", ["wedge", "corner", "steps"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_parts_of_one_value_are_found_on_each_side(name, value, turns):
    image = np.where(SHAPES[name], np.float32(value), noise())
    found = blank_parts(np.rot90(image, turns))
    wrong = np.rot90(SHAPES[name], turns) != found
    assert wrong.mean() < 0.01
    assert np.rot90(SHAPES[name], turns)[found].mean() > 0.99


def test_copies_of_the_outermost_pixels_are_blank():
    image = noise()
    image[:80, :30] = image[:80, 30:31]
    found = blank_parts(image)
    assert found[:78, :29].all()
    assert not found[90:].any()
    assert not found[:, 40:].any()


def test_parts_are_found_after_shrinking():
    large = np.kron(wedge(), np.ones((5, 5))) > 0
    image = np.where(large, np.float32(0), noise(large.shape))
    found = blank_parts(rescale(image, 0.2))
    assert (found != wedge()).mean() < 0.02


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [0.3, 0.7, 1.0, 1.6, 3.0])
def test_noise_particles_and_gradients_are_not_blank(factor, seed):
    image = cv2.GaussianBlur(noise((300, 300), seed), (0, 0), 1.0)
    image += np.linspace(0, 40, 300, dtype=np.float32)
    for x, y in np.random.default_rng(seed).integers(0, 300, (20, 2)).tolist():
        cv2.circle(image, (x, y), 12, 60.0, -1)
        image[...] += np.random.default_rng(x).normal(0, 1, image.shape)
    assert blank_parts(rescale(image, factor)) is None


@pytest.mark.parametrize("levels", [4, 8, 20])
@pytest.mark.parametrize("factor", [0.4, 1.0, 2.0])
def test_few_grey_levels_are_not_blank(levels, factor):
    image = np.clip((noise() - 100) / 8 * levels / 6 + levels / 2, 0, levels - 1).round().astype(np.float32)
    assert blank_parts(rescale(image, factor)) is None


def test_what_is_saturated_inside_is_not_blank():
    image = noise()
    image[60:120, 80:160] = 255
    assert blank_parts(image) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("sigma", "levels"), [(1.7, 1), (2.5, 1), (2.5, 2), (4, 3), (8, 6)])
def test_few_grey_levels_of_a_smooth_image_are_not_blank(sigma, levels, seed):
    image = cv2.GaussianBlur(noise(seed=seed) - 100, (0, 0), sigma)
    image = (image / image.std() * levels).round()
    assert blank_parts(image) is None


@pytest.mark.parametrize("share", [0.45, 0.61, 0.8])
def test_more_than_half_of_an_image_may_be_blank(share):
    image, columns = noise(), round(share * SHAPE[1])
    image[:, :columns] = 100
    assert abs(blank_parts(image).mean() - share) < 0.02


def test_blank_parts_become_zero_and_count_for_nothing():
    image = noise()
    black = np.where(SHAPES["wedge"], np.float32(-1e4), image)
    found, plain = normalise_shown(black), normalise(image)
    blank = zeroed_parts(found)
    assert (blank != SHAPES["wedge"]).mean() < 0.01
    assert not found[blank].any()
    far = distance_from(blank) > 60
    assert np.abs(found - plain)[far].max() < 0.5
    beside = ~blank & (distance_from(blank) < 10)
    assert abs(found[beside].mean()) < 0.3
    assert 0.8 < found[beside].std() < 1.2


def test_an_image_that_shows_something_everywhere_is_normalised_as_it_was():
    assert_array_equal(normalise_shown(noise()), normalise(noise()))
    assert zeroed_parts(normalise(noise())) is None


def test_distances_are_to_the_nearest_blank_pixel():
    blank = np.zeros((50, 60), bool)
    blank[:10] = True
    assert_array_equal(distance_from(blank)[:, 30], np.clip(np.arange(50) - 9, 0, None))
