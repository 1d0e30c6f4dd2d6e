"""Particles: selection, rescaling and the minimum distance, against formulas and brute force."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.coordinates.particles import Particles, checked_particles
from cryotx_cli.errors import ParticleFileError


def particles_of(n, seed=0, size=1000.0, pixel_size=1.5):
    rng = np.random.default_rng(seed)
    return Particles(rng.uniform(0, size, (n, 2)), rng.uniform(0, 1, n), np.full(n, 40.0), pixel_size)


def test_empty_behaves_like_any_other():
    empty = Particles.empty(1.2)
    assert len(empty) == 0
    assert empty.centres.shape == (0, 2)
    for result in (empty.above(0.5), empty.inside(10, 10), empty.with_minimum_distance(5), empty.sorted_by_score()):
        assert len(result) == 0
        assert result.centres.shape == (0, 2)
    assert empty.at_pixel_size(2.4).pixel_size == 2.4
    assert len(empty.select([])) == 0


def test_empty_lists_are_no_particles():
    none = Particles([], [], [], 1.0)
    assert (len(none), none.centres.shape) == (0, (0, 2))


@pytest.mark.parametrize(
    ("centres", "scores", "diameters"),
    [
        (np.zeros((3, 2)), np.zeros(2), np.zeros(3)),
        (np.zeros((3, 2)), np.zeros(3), np.zeros(1)),
        (np.zeros((3, 3)), np.zeros(3), np.zeros(3)),
        (np.zeros(3), np.zeros(3), np.zeros(3)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(centres, scores, diameters):
    with pytest.raises(ValueError, match="centres"):
        Particles(centres, scores, diameters, 1.0)


def test_select_takes_masks_and_indices():
    p = particles_of(5)
    assert_array_equal(p.select([True, False, True, False, False]).centres, p.centres[[0, 2]])
    assert_array_equal(p.select([4, 0]).scores, p.scores[[4, 0]])
    assert p.select([4, 0]).pixel_size == p.pixel_size


def test_rescaling_keeps_the_border_of_the_image_in_place():
    # On an image of 100 px the border runs from -1/2 to 99 1/2; at half the size from -1/2 to 49 1/2.
    p = Particles([[-0.5, -0.5], [99.5, 99.5], [49.5, 49.5]], np.ones(3), np.full(3, 30.0), 1.0)
    half = p.at_pixel_size(2.0)
    assert_allclose(half.centres, [[-0.5, -0.5], [49.5, 49.5], [24.5, 24.5]])
    assert_allclose(half.diameters, 15.0)
    assert half.pixel_size == 2.0


def test_rescaling_follows_a_bright_spot_through_averaging():
    image = np.zeros((64, 64))
    image[20:24, 40:44] = 1  # centre of mass x = 41.5, y = 21.5
    binned = image.reshape(16, 4, 16, 4).mean(axis=(1, 3))
    y, x = (np.average(grid, weights=binned) for grid in np.indices(binned.shape))
    p = Particles([[41.5, 21.5]], [1.0], [4.0], 1.0).at_pixel_size(4.0)
    assert_allclose(p.centres[0], [x, y])


@given(st.floats(0.3, 8), st.floats(0.3, 8))
def test_rescaling_there_and_back_changes_nothing(a, b):
    p = particles_of(7, pixel_size=a)
    assert_allclose(p.at_pixel_size(b).at_pixel_size(a).centres, p.centres, atol=1e-8)


@pytest.mark.parametrize(("known", "wanted"), [(np.nan, 2.0), (0.0, 2.0), (-0.5, 2.0), (2.0, 0.0), (2.0, -0.5)])
def test_rescaling_without_a_pixel_size_is_a_mistake(known, wanted):
    with pytest.raises(ValueError, match="cannot rescale"):
        particles_of(2, pixel_size=known).at_pixel_size(wanted)


def test_above_keeps_the_threshold_itself():
    p = Particles(np.zeros((3, 2)), [0.2, 0.5, 0.9], np.ones(3), 1.0)
    assert_array_equal(p.above(0.5).scores, [0.5, 0.9])


def test_inside_measures_from_the_border_not_from_the_first_pixel_centre():
    xs = [-0.6, -0.5, 0.0, 19.5, 19.6]
    p = Particles([[x, 5.0] for x in xs], np.ones(5), np.ones(5), 1.0)
    assert_array_equal(p.inside(10, 20).centres[:, 0], [-0.5, 0.0, 19.5])
    # Three pixels from the border of 10 rows and 20 columns: y from 2.5 to 6.5, x from 2.5 to 16.5.
    corners = [[2.5, 2.5], [16.5, 6.5], [2.4, 5.0], [16.6, 5.0], [5.0, 2.4], [5.0, 6.6]]
    p = Particles(corners, np.ones(6), np.ones(6), 1.0)
    assert_array_equal(p.inside(10, 20, 3.0).centres, corners[:2])


def test_scaling_needs_no_pixel_size_and_agrees_with_it():
    p = Particles([[0, 0], [9.5, 3]], [1, 0.5], [8, np.nan], 2.0)
    scaled, same = p.scaled(4), p.at_pixel_size(0.5)
    assert_array_equal(scaled.centres, [[1.5, 1.5], [39.5, 13.5]])  # the middle of the 4 x 4 pixels of each old one
    assert_array_equal(scaled.centres, same.centres)
    assert_array_equal(scaled.diameters, [32, np.nan])
    assert scaled.pixel_size == same.pixel_size == 0.5
    assert np.isnan(Particles([[1, 1]], [1], [1], np.nan).scaled(2).pixel_size)
    assert replace(p, shape=(30, 50)).scaled(1.5).shape == (45, 75)
    assert scaled.shape is None


def test_flipping_turns_rows_round():
    p = Particles([[3, 0], [3, 6], [3, 2.25]], [1, 1, 1], [1, 1, 1], 1.0)
    assert_array_equal(p.flipped_y(7).centres, [[3, 6], [3, 0], [3, 3.75]])
    assert_array_equal(p.flipped_y(7).flipped_y(7).centres, p.centres)


def test_sorted_by_score_is_stable():
    p = Particles([[0, 0], [1, 0], [2, 0], [3, 0]], [0.5, 0.9, 0.5, 0.1], np.ones(4), 1.0)
    assert_array_equal(p.sorted_by_score().centres[:, 0], [1, 0, 2, 3])


def greedy(p, distance):
    """Independent rule: walk down the scores, keep what is far enough from everything kept."""
    kept = []
    for i in sorted(range(len(p)), key=lambda i: (-p.scores[i], i)):
        if all(np.hypot(*(p.centres[i] - p.centres[j])) >= distance for j in kept):
            kept.append(i)
    return sorted(kept)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 10**6), st.floats(0, 60), st.booleans())
def test_minimum_distance_is_the_greedy_choice(n, seed, distance, with_ties):
    p = particles_of(n, seed, size=150.0)
    if with_ties:
        p = Particles(np.round(p.centres / 10) * 10, np.round(p.scores, 1), p.diameters, p.pixel_size)
    assert_array_equal(p.with_minimum_distance(distance).centres, p.centres[greedy(p, distance)])


def test_the_better_of_two_stays():
    p = Particles([[0, 0], [4, 3]], [0.7, 0.9], np.ones(2), 1.0)
    assert p.with_minimum_distance(5.1).scores.tolist() == [0.9]
    assert p.with_minimum_distance(5.0).scores.tolist() == [0.7, 0.9]


def test_exactly_the_minimum_distance_is_allowed():
    p = Particles([[0, 0], [10, 0], [0, 9.99]], [0.9, 0.8, 0.7], np.ones(3), 1.0)
    assert_array_equal(p.with_minimum_distance(10).centres, [[0, 0], [10, 0]])


def test_a_structured_array_has_a_row_for_each_particle():
    particles = Particles(np.array([[1.0, 2.0], [3.5, 4.5]]), np.array([0.9, 0.4]), np.array([20.0, np.nan]), 1.5)

    table = particles.to_structured()

    assert table.dtype.names == ("x", "y", "score", "diameter")
    assert table[0].tolist() == (1.0, 2.0, 0.9, 20.0)
    assert table["y"].tolist() == [2.0, 4.5]
    assert np.isnan(table["diameter"][1])
    assert Particles.empty(1.5).to_structured().shape == (0,)


def test_the_side_of_boxes_goes_with_the_particles_and_scales_with_them():
    boxed = Particles([[1.0, 2.0], [30.0, 4.0]], [0.5, 1.0], [np.nan, np.nan], 1.5, box_px=60.0)
    for same in (boxed.select([1]), boxed.above(0.7), boxed.sorted_by_score(), boxed.flipped_y(50)):
        assert same.box_px == 60.0
    assert boxed.scaled(2).box_px == 120.0
    assert boxed.at_pixel_size(3.0).box_px == 30.0
    assert np.isnan(Particles.empty(1.0).box_px)


# --- what a file holds -----------------------------------------------------------------------------------------------

FILE = Path("a.box")
TWO = [[1.0, 2.0], [30.0, 4.0]]


def test_the_side_of_boxes_is_the_median_of_those_that_have_one():
    assert checked_particles(FILE, [[0, 0]] * 5, np.ones(5), sides=[0, 10, 30, 20, 0]).box_px == 20
    assert checked_particles(FILE, TWO, [1, 1], sides=[0.5, 0.25]).box_px == 0.375
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for none in ([], [0, 0], [np.nan, 0]):
            assert np.isnan(checked_particles(FILE, TWO, [1, 1], sides=none).box_px)


def test_a_diameter_of_zero_is_not_known():
    assert_array_equal(checked_particles(FILE, TWO, [1, 1], [0.0, 0.5]).diameters, [np.nan, 0.5])
    assert_array_equal(checked_particles(FILE, TWO, [1, 1], [np.nan, 7]).diameters, [np.nan, 7])
    assert_array_equal(checked_particles(FILE, TWO, [1, 1]).diameters, [np.nan, np.nan])


@pytest.mark.parametrize(
    ("centre", "diameter", "reason"),
    [
        ([np.nextafter(1e9, np.inf), 3.0], 5.0, "particle 2 has coordinates of 1e\\+09, 3 pixels"),
        ([3.0, -1.1e9], 5.0, "particle 2 has coordinates of 3, -1.1e\\+09 pixels"),
        ([np.nan, 0.0], 5.0, "particle 2 has coordinates of nan, 0 pixels"),
        ([3.0, 4.0], -0.5, "particle 2 has a size of -0.5 pixels"),
        ([3.0, 4.0], np.inf, "particle 2 has a size of inf pixels"),
    ],
)
def test_what_no_micrograph_has_is_refused_by_its_number(centre, diameter, reason):
    with pytest.raises(ParticleFileError, match=rf"^a\.box: {reason}"):
        checked_particles(FILE, [[1, 1], centre, centre], np.ones(3), [5.0, diameter, diameter])


def test_the_furthest_coordinates_are_read():
    assert_array_equal(checked_particles(FILE, [[1e9, -1e9]], [1]).centres, [[1e9, -1e9]])
