"""Rescaling, clipping and normalising, against their formulas written out with other means."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import uniform_filter

from cryotx_cli.micrographs.image import (
    CLIP,
    PIXELS_PER_DIAMETER,
    clip_outliers,
    clipped_and_rescaled,
    normalise,
    padding,
    rescale,
)


def noise(shape=(96, 120), seed=0, mean=0.0, sigma=1.0):
    return np.random.default_rng(seed).normal(mean, sigma, shape).astype(np.float32)


def spot(shape, x, y, sigma):
    rows, columns = np.indices(shape)
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)).astype(np.float32)


def centroid(image):
    rows, columns = np.indices(image.shape)
    return np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()


def robust_spread(image):
    return 1.4826 * np.median(np.abs(image - np.median(image)))


# --- rescale ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "shape"), [(0.5, (48, 60)), (0.26, (25, 31)), (2.0, (192, 240)), (1e-6, (1, 1))])
def test_sides_grow_by_the_factor_rounded_to_whole_pixels(factor, shape):
    scaled = rescale(noise(), factor)
    assert scaled.shape == shape
    assert scaled.dtype == np.float32


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_factor_that_is_not_positive_is_refused(factor):
    with pytest.raises(ValueError, match="factor"):
        rescale(noise(), factor)


def test_the_same_size_is_the_same_image():
    image = noise()
    assert_array_equal(rescale(image, 1.0), image)
    assert_array_equal(rescale(image, 1.001), image)


def test_halving_averages_blocks_of_four():
    image = noise((64, 48))
    assert_allclose(rescale(image, 0.5), image.reshape(32, 2, 24, 2).mean((1, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "factor"), [((97, 131), 0.15), ((40, 23), 0.62), ((9, 300), 0.333), ((64, 64), 0.98)]
)
def test_shrinking_averages_over_areas(shape, factor):
    image = noise(shape, mean=100.0)
    scaled = rescale(image, factor)

    def shares(n, m):  # of the n old pixels in each of the m new ones, each old pixel cut into m equal parts
        return np.repeat(np.eye(n), m, axis=0).reshape(m, n, n).mean(axis=1)

    assert_allclose(scaled, shares(shape[0], scaled.shape[0]) @ image @ shares(shape[1], scaled.shape[1]).T, rtol=2e-6)


@pytest.mark.parametrize("factor", [0.21, 0.5, 0.7, 1.3, 2.4])
def test_a_spot_lands_where_the_convention_of_pixel_centres_says(factor):
    image = spot((150, 170), 97.3, 61.8, sigma=9.0)
    scaled = rescale(image, factor)
    sides = np.array(scaled.shape[::-1]) / np.array(image.shape[::-1])
    assert_allclose(centroid(scaled), (np.array([97.3, 61.8]) + 0.5) * sides - 0.5, atol=0.02)


@pytest.mark.parametrize("factor", [0.37, 1.9])
def test_flat_stays_flat(factor):
    assert_allclose(rescale(np.full((60, 70), 7.5, np.float32), factor), 7.5, rtol=1e-5)


# --- clip_outliers ---------------------------------------------------------------------------------------------------


def test_pixels_within_the_limits_are_left_as_they_are():
    image = noise(mean=100.0, sigma=3.0)
    assert_array_equal(clip_outliers(image), image)


def test_hot_and_dead_pixels_go_to_ten_robust_deviations():
    image = noise(mean=100.0, sigma=3.0)
    image[10, 20], image[30, 40] = 1e6, -1e6
    clipped = clip_outliers(image)
    limits = np.median(image) + 10 * robust_spread(image) * np.array([1, -1])
    assert_allclose([clipped[10, 20], clipped[30, 40]], limits, rtol=1e-5)
    clipped[10, 20], clipped[30, 40] = image[10, 20], image[30, 40]
    assert_array_equal(clipped, image)


@pytest.mark.parametrize("place", [(0, 0), (13, 29), (8, 16)])  # on and off the grid that statistics are taken from
def test_a_large_image_is_clipped_at_every_pixel(place):
    image = noise((300, 280), mean=5.0)
    image[place] = 1e5
    clipped = clip_outliers(image)
    assert 13 < clipped.max() < 17
    assert clipped[place] == clipped.max()
    assert clipped.dtype == np.float32


@pytest.mark.parametrize("factor", [0.21, 0.5, 0.999, 1.0, 1.7])
@pytest.mark.parametrize("shape", [(300, 280), (90, 130)])
def test_clipping_on_the_way_gives_what_clipping_first_does(shape, factor):
    image = noise(shape, mean=5.0)
    image[13, 29], image[70, 80] = 1e5, -1e5
    assert_array_equal(clipped_and_rescaled(image, factor), rescale(clip_outliers(image), factor))


def test_an_image_of_mostly_one_value_is_left_as_it_is():
    image = np.zeros((50, 50), np.float32)
    image[::10] = noise((5, 50))
    assert_array_equal(clip_outliers(image), image)


# --- normalise -------------------------------------------------------------------------------------------------------


def box_mean(image, window):
    padded = np.pad(image, window // 2, mode="symmetric")
    rows = sliding_window_view(padded, window, axis=0).mean(-1)
    return sliding_window_view(rows, window, axis=1).mean(-1)


def test_local_mean_of_two_diameters_twice_and_robust_deviation():
    rows, columns = np.indices((90, 110))
    image = 50 + 0.1 * rows - 3 * np.sin(columns / 40) + noise((90, 110), sigma=2.0)
    window = int(2 * PIXELS_PER_DIAMETER) + 1
    flat = image - box_mean(box_mean(image, window), window)
    flat -= np.median(flat)
    expected = np.clip(flat / (1.4826 * np.median(np.abs(flat))), -5, 5)
    assert_allclose(normalise(image.astype(np.float32)), expected, atol=2e-4)


def test_noise_comes_out_with_median_zero_and_deviation_one():
    image = normalise(noise((128, 128), mean=300.0, sigma=17.0))
    assert image.dtype == np.float32
    assert image.shape == (128, 128)
    assert abs(np.median(image)) < 1e-5
    assert robust_spread(image) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 50.0), (0.01, 0.0), (200.0, -3000.0)])
def test_gain_and_offset_of_the_camera_do_not_matter(gain, offset):
    image = noise((100, 100)) + 3 * spot((100, 100), 40, 60, 8.0)
    assert_allclose(normalise(gain * image + np.float32(offset)), normalise(image), atol=2e-3)


def test_contrast_turns_with_the_image():
    image = noise((100, 100))
    assert_allclose(normalise(-image), -normalise(image), atol=1e-5)


def test_outliers_end_at_the_clip():
    image = noise()
    image[40, 50], image[60, 20] = 100, -100
    out = normalise(image)
    assert out[40, 50] == CLIP
    assert out[60, 20] == -CLIP


def test_a_gradient_goes_and_a_particle_stays():
    shape = (160, 160)
    columns = np.indices(shape)[1]
    particle = -2 * spot(shape, 80, 80, sigma=6.0)
    image = normalise((noise(shape) + 0.2 * columns + particle).astype(np.float32))
    thirds = [image[:, 30:60].mean(), image[:, 100:130].mean()]
    assert abs(thirds[0] - thirds[1]) < 0.1  # 14 before
    assert image[76:85, 76:85].mean() < -1.2


def test_a_constant_image_becomes_zero_and_the_input_is_kept():
    image = np.full((64, 64), 3.0, np.float32)
    assert_array_equal(normalise(image), 0)
    assert_array_equal(image, 3.0)


# --- padding ----------------------------------------------------------------------------------------------------------


def framed(inner, top, bottom, left, right, mode):
    """Pad as filters do: with one value, or with copies of the outermost row."""
    settings = {"constant_values": 0.3} if mode == "constant" else {}
    return np.pad(inner, ((top, bottom), (left, right)), mode, **settings).astype(np.float32)


@pytest.mark.parametrize("mode", ["constant", "edge"])
@pytest.mark.parametrize("widths", [(12, 0, 0, 0), (0, 7, 20, 0), (15, 15, 11, 21)])
def test_padded_borders_are_measured_to_a_row_or_two(mode, widths):
    found = padding(framed(noise((160, 200)), *widths, mode))
    assert all(width <= seen <= width + 2 if width else seen == 0 for seen, width in zip(found, widths, strict=True))


def test_a_few_rows_from_the_other_side_may_lie_beyond_the_padding():
    image = framed(noise((160, 200)), 0, 15, 0, 0, "edge")
    image = np.concatenate([image, image[:4]])
    assert_allclose(padding(image), (0, 20, 0, 0), atol=1)


def test_padding_survives_the_loss_of_a_jpg():
    import cv2

    grey = np.clip(128 + 30 * framed(noise((160, 200)), 16, 0, 0, 12, "edge"), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert_allclose(padding(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(np.float32)), (16, 0, 0, 12), atol=8)


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(5))
def test_noise_and_particles_at_the_border_are_no_padding(factor, seed):
    image = noise((160, 200), seed) - 3 * spot((160, 200), 2, 80, 9)
    assert padding(rescale(image, factor)) == (0, 0, 0, 0)


def test_an_image_of_one_value_has_no_padding():
    assert padding(np.full((90, 80), 3.0, np.float32)) == (0, 0, 0, 0)


def test_padding_becomes_zero_and_changes_nothing_inside():
    inner = noise((160, 200)) + 40
    whole = normalise(framed(inner, 15, 0, 11, 0, "constant"))
    assert not whole[:16].any()
    assert not whole[:, :12].any()
    assert_allclose(whole[16:, 12:], normalise(inner[1:, 1:]), atol=1e-5)


def test_limits_are_those_of_the_median_to_the_last_bit():
    image = noise((55, 57), mean=100.0)
    image[3, 4] = 1e6
    middle = np.median(image)
    assert clip_outliers(image)[3, 4] == np.float32(middle + 10 * 1.4826 * np.median(np.abs(image - middle)))


def test_what_is_no_number_is_not_taken_for_the_largest():
    image = noise((60, 60))
    image[5, 5] = np.nan
    assert np.isnan(normalise(image)).all()


@pytest.mark.parametrize("shape", [(200, 333), (20, 90), (21, 91)])
def test_an_image_is_normalised_to_the_same_bits_as_with_scipy(shape):
    image = np.random.default_rng(3).normal(100, 20, shape).astype(np.float32)
    flat = image - uniform_filter(uniform_filter(image, 49, mode="reflect"), 49, mode="reflect")
    flat -= np.median(flat)
    flat /= 1.4826 * np.median(np.abs(flat))

    assert_array_equal(normalise(image), np.clip(flat, -CLIP, CLIP))
