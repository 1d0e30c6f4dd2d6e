"""Where particles sit, how they are turned and how their projections add up."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import cKDTree

from cryotx_cli.simulator import specimen
from cryotx_cli.simulator.structures import Structure, procedural_structure


def rng(seed=0):
    return np.random.default_rng(seed)


def grid(height, width):
    return torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")


def moments(field):
    """Sum and centroid (x, y)."""
    yy, xx = np.indices(field.shape)
    total = field.sum()
    return total, np.array([(xx * field).sum(), (yy * field).sum()]) / total


@pytest.fixture
def ball():
    points = rng(1).normal(size=(1200, 3))
    points *= 40 * rng(2).random((1200, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    return Structure.from_beads(points, np.full(1200, 470.0), "ball", rng())


# --- places ----------------------------------------------------------------------------------------------------------


def test_particles_keep_their_distance_stay_in_the_field_and_reach_their_number():
    # Clusters (15 %) may reach over the border; clusters and patches may run out of room.
    reached, strayed = 0, 0
    for seed in range(60):
        centres = specimen.place_particles(300, 400, 24.0, 0.25, rng(seed), margin=20.0)
        target = int(0.25 * 340 * 440 / (math.pi / 4 * 24**2))
        assert 0 < len(centres) <= target
        strayed += ((centres < -20) | (centres > np.array([420, 320]))).any()
        if len(centres) > 1:
            assert cKDTree(centres).query(centres, 2)[0][:, 1].min() >= 0.55 * 24
        reached += len(centres) == target
    assert reached >= 30
    assert strayed <= 15


@pytest.mark.parametrize("coverage", [0.05, 0.2])
def test_coverage_is_the_share_of_the_area_under_discs(coverage):
    counts = [len(specimen.place_particles(400, 400, 20.0, coverage, rng(seed), margin=0.0)) for seed in range(40)]
    assert np.median(counts) * math.pi / 4 * 20**2 / 400**2 == pytest.approx(coverage, rel=0.05)


def test_nothing_covers_nothing():
    for seed in range(8):
        assert specimen.place_particles(200, 200, 24.0, 0.0, rng(seed), margin=0.0).shape == (0, 2)


def test_places_fill_a_wide_field_in_x_and_y():
    centres = np.concatenate([specimen.place_particles(100, 500, 10.0, 0.2, rng(s), margin=0.0) for s in range(20)])
    assert_allclose(np.quantile(centres, [0.1, 0.5, 0.9], axis=0).T, np.outer([500, 100], [0.1, 0.5, 0.9]), rtol=0.2)


# --- orientations ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def orientations():
    return [specimen.random_rotations(1500, rng(seed)) for seed in range(12)]


def test_orientations_are_proper_rotations(orientations):
    for turns in orientations:
        assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-5)
        assert_allclose(np.linalg.det(turns), 1, atol=1e-5)


def test_the_angle_in_the_plane_is_uniform(orientations):
    # The first two rows turn about the beam, whatever the preferred view.
    for turns in orientations:
        assert np.abs(turns[:, :2].mean(0)).max() < 0.07  # 4.5 standard errors


def test_some_specimens_prefer_views_and_some_do_not(orientations):
    # Eigenvalues of the mean outer product of viewing directions are 1/3 each if they are uniform.
    largest = [np.linalg.eigvalsh(turns[:, 2].T @ turns[:, 2] / len(turns)).max() for turns in orientations]
    assert min(largest) < 0.37
    assert max(largest) > 0.45


# --- projections -----------------------------------------------------------------------------------------------------


def test_splatting_keeps_sum_and_first_moment():
    xy = torch.from_numpy(rng().uniform((5, 5), (55, 35), (500, 2))).double()
    amounts = torch.from_numpy(rng(1).uniform(0, 2, 500))
    field = torch.zeros(40, 60, dtype=torch.float64)
    specimen.splat(field, xy, amounts)
    total, centre = moments(field.numpy())
    assert total == pytest.approx(float(amounts.sum()))
    assert_allclose(centre, np.average(xy, axis=0, weights=amounts), rtol=1e-9)


def test_splatting_shares_one_bead_among_four_pixels():
    field = torch.zeros(6, 8)
    specimen.splat(field, torch.tensor([[3.25, 2.5], [6.0, 4.0]]), torch.tensor([8.0, 1.0]))
    expected = np.zeros((6, 8))
    expected[2:4, 3] = 8 * 0.75 * 0.5
    expected[2:4, 4] = 8 * 0.25 * 0.5
    expected[4, 6] = 1
    assert_allclose(field, expected, atol=1e-6)


def test_what_falls_outside_is_lost():
    field = torch.zeros(6, 8)
    specimen.splat(field, torch.tensor([[-0.5, 2.0], [7.5, 2.0], [3.0, -1.0], [3.0, 5.5]]), torch.ones(4))
    assert_array_equal(field, 0)


def test_beads_between_the_last_two_pixels_stay_in_place_beside_others_that_are_lost():
    field = torch.zeros(6, 8)
    specimen.splat(
        field, torch.tensor([[6.25, 4.5], [0.0, 0.75], [9.0, 2.0], [3.0, 5.0]]), torch.tensor([8.0, 4, 1, 1])
    )
    expected = np.zeros((6, 8))
    expected[4:, 6], expected[4:, 7] = 8 * 0.75 * 0.5, 8 * 0.25 * 0.5
    expected[:2, 0] = 4 * 0.25, 4 * 0.75
    assert_allclose(field, expected, atol=1e-6)


@pytest.mark.parametrize("pixel_size", [2.0, 6.0])
def test_projection_conserves_the_potential(ball, pixel_size):
    # Contrast varies by 10 % and one in twenty has lost 10 to 50 %: together -1.5 % on average.
    side = int(2400 / pixel_size)
    centres = rng().uniform(60 / pixel_size, side - 60 / pixel_size, (400, 2))
    field = torch.zeros(side, side)
    specimen.project(field, ball, centres, pixel_size, rng(3))
    integral = float(field.double().sum()) * pixel_size**2
    assert integral / 400 == pytest.approx(0.985 * ball.weights.sum(), rel=0.015)


def test_projection_is_centred_on_its_place(ball):
    misses = []
    for seed in range(20):
        field = torch.zeros(70, 90)
        specimen.project(field, ball, np.array([[51.3, 30.8]]), 3.0, rng(seed))
        misses.append(moments(field.numpy())[1] - [51.3, 30.8])
    assert np.median(np.abs(misses)) < 0.02  # a broken one may be off
    assert np.abs(np.median(misses, axis=0)).max() < 0.02


def test_thinned_projection_keeps_the_weight():
    structure = procedural_structure(rng(1))
    assert len(structure.beads) == 6000
    totals = []
    for seed in range(30):
        field = torch.zeros(128, 128)
        specimen.project(field, structure, np.array([[64.0, 64.0]]), structure.diameter / 40, rng(seed), beads_each=300)
        totals.append(float(field.sum()) * (structure.diameter / 40) ** 2)
    assert np.median(totals) == pytest.approx(structure.weights.sum(), rel=0.06)


def test_no_particles_add_nothing(ball):
    field = torch.zeros(20, 20)
    specimen.project(field, ball, np.zeros((0, 2)), 3.0, rng())
    assert_array_equal(field, 0)


# --- everything else -------------------------------------------------------------------------------------------------


def test_the_distance_to_a_film_grows_by_the_pixel_size():
    yy, xx = grid(120, 160)
    for seed in range(12):
        distance = specimen.distance_to_edge(xx, yy, rng(seed), 4.0, (-0.1, 0.45)).numpy().astype(float)
        slope = np.hypot(*np.gradient(distance))[1:-1, 1:-1]
        # But for the few pixels around the middle of a crystal, where the distance has its peak.
        assert np.quantile(np.abs(slope / 4 - 1), 0.99) < 0.01


def test_the_edge_of_a_film_lies_where_it_is_wanted():
    yy, xx = grid(400, 400)
    for offset, film_in_the_middle in ((-0.3, True), (0.3, False)):
        shares = []
        for seed in range(30):
            distance = specimen.distance_to_edge(xx, yy, rng(seed), 4.0, (offset, offset))
            shares.append(float((distance > 0).float().mean()))
            # One in ten is a crystal anywhere.
            at_middle = float(distance[200, 200])
            shares[-1] = math.nan if abs(abs(at_middle) - 480) > 10 else shares[-1]
            assert math.isnan(shares[-1]) or (at_middle > 0) == film_in_the_middle
        shares = np.array(shares)[~np.isnan(shares)]
        assert len(shares) >= 20
        assert (shares > 0.6).all() if film_in_the_middle else (shares < 0.45).all()


def test_blobs_and_fibres_are_profiles_between_zero_and_one():
    yy, xx = grid(150, 150)
    peaks = []
    for seed in range(25):
        profile = specimen.blob(xx, yy, 25.0, rng(seed))
        fibre = specimen.filament(xx, yy, 10.0, rng(seed))
        for field in (profile, fibre):
            assert torch.isfinite(field).all()
            assert field.min() > -0.01
            assert field.max() <= 1
        assert fibre.max() > 0.9  # it runs through the field
        peaks.append(float(profile.max()))
    assert np.median(peaks) > 0.9


def test_a_blob_has_about_the_area_of_its_radius():
    yy, xx = grid(300, 300)
    areas = [float(specimen.blob(xx, yy, 20.0, rng(seed)).sum()) for seed in range(60)]
    # Rings (one in five) and those cut by the border have less.
    assert np.quantile(areas, 0.7) == pytest.approx(math.pi * 20**2, rel=0.25)


def test_balls_of_ice_are_as_thick_as_they_are_wide():
    # 4.57 V of ice over 2 R, up to twice as dark where crystals diffract.
    whole = 0
    for seed in range(20):
        field, junk = torch.zeros(121, 141), torch.zeros(121, 141)
        specimen.ice_balls(field, junk, 1, 12.0, 12.0, 5.0, rng(seed))
        if junk[0].any() or junk[-1].any() or junk[:, 0].any() or junk[:, -1].any():
            continue
        area, peak = float(junk.sum()), float(field.max())
        assert area == pytest.approx(math.pi * 12**2, rel=0.2)  # slightly oval
        assert 0.65 < peak / (4.57 * 2 * 12 * 5) < 2.05
        assert float(field.sum()) == pytest.approx(2 / 3 * area * peak, rel=0.03)  # the volume of an ellipsoid
        whole += 1
    assert whole >= 10


def test_balls_of_ice_have_many_sizes_and_none_where_none_are_asked_for():
    field, junk = torch.zeros(600, 600), torch.zeros(600, 600)
    specimen.ice_balls(field, junk, 0, 3.0, 12.0, 5.0, rng())
    assert not field.any()
    specimen.ice_balls(field, junk, 60, 3.0, 12.0, 5.0, rng())
    assert set(junk.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(field > 0, junk > 0)
    mean_area = math.pi * (12**2 - 3**2) / (2 * math.log(4))  # of radii drawn evenly in their logarithm
    assert float(junk.sum()) == pytest.approx(60 * mean_area, rel=0.35)


def test_clutter_is_neither_larger_nor_much_darker_than_particles_and_no_two_lumps_are_alike(ball):
    pixel_size = 4.0
    empty = torch.zeros(200, 200)
    specimen.clutter(empty, 0, ball, pixel_size, rng())
    assert not empty.any()
    totals, widths = [], []
    for seed in range(40):
        field = torch.zeros(400, 400)
        specimen.clutter(field, 1, ball, pixel_size, rng(seed))
        total, centre = moments(field.numpy())
        if ((centre < 60) | (centre > 340)).any():
            continue
        yy, xx = np.indices(field.shape)
        spread = (field.numpy() * ((xx - centre[0]) ** 2 + (yy - centre[1]) ** 2)).sum() / total
        totals.append(total * pixel_size**2 / ball.weights.sum())
        widths.append(2 * math.sqrt(spread) * pixel_size / ball.diameter)
    assert len(totals) > 15
    assert min(totals) > 0
    assert max(totals) < 1.3 * 1.001
    assert max(widths) < 1.0
    assert np.std(totals) > 0.15
    assert np.std(widths) > 0.08
