"""Matching and scores against brute force and closed formulas."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.coordinates.agreement import (
    Counts,
    average_precision,
    dice,
    disc_overlap,
    match,
    match_thinned,
    near_pairs,
    one_to_one,
    precision_recall_curve,
)
from cryotx_cli.coordinates.particles import Particles


def nearest_pairs_first(picks, truth, radius):
    """Every pair in order of distance, then of pick, then of truth."""
    partner = [-1] * len(picks)
    pairs = itertools.product(range(len(picks)), range(len(truth)))
    for _, i, j in sorted((float(np.hypot(*(picks[i] - truth[j]))), i, j) for i, j in pairs):
        close = np.hypot(*(picks[i] - truth[j])) <= radius
        if close and partner[i] < 0 and j not in partner:
            partner[i] = j
    return partner


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 25), st.integers(0, 25), st.integers(0, 10**6), st.floats(0.1, 40), st.booleans())
def test_match_agrees_with_brute_force(n, m, seed, radius, on_grid):
    rng = np.random.default_rng(seed)
    picks, truth = rng.uniform(0, 100, (n, 2)), rng.uniform(0, 100, (m, 2))
    if on_grid:  # many equal distances
        picks, truth = np.round(picks / 10) * 10, np.round(truth / 10) * 10
    assert_array_equal(match(picks, truth, radius), nearest_pairs_first(picks, truth, radius))


def test_a_particle_is_found_only_once():
    assert_array_equal(match([[0, 0], [1, 0], [2, 0]], [[1.2, 0]], 5), [-1, 0, -1])


def test_of_two_beside_each_other_only_the_better_one_is_matched():
    # The worse one lies on the true centre and would have it; 3 px apart, the better one 3 px from the centre.
    found = Particles(np.array([[10.0, 10], [13, 10], [50, 50]]), [0.2, 0.9, 0.5], np.full(3, 8.0), 1.0)
    kept, partners = match_thinned(found, [[10, 10], [80, 80]], 4.0)
    assert kept.scores.tolist() == [0.9, 0.5]
    assert partners.tolist() == [0, -1]
    kept, partners = match_thinned(found, [[10, 10]], 4.0, apart_px=2.0)
    assert partners.tolist() == [0, -1, -1]
    kept, partners = match_thinned(found, [[10, 10]], 2.0, apart_px=4.0)
    assert (len(kept), partners.tolist()) == (2, [-1, -1])


def test_the_radius_itself_still_matches():
    assert_array_equal(match([[0.0, 0.0]], [[3.0, 4.0]], 5.0), [0])
    assert_array_equal(match([[0.0, 0.0]], [[3.0, 4.0]], 4.99), [-1])


@pytest.mark.parametrize(("picks", "truth"), [([], []), ([], [[1, 2]]), ([[1, 2]], [])])
def test_without_picks_or_without_particles_there_is_no_pair(picks, truth):
    assert near_pairs(picks, truth, 5.0).shape == (0, 2)
    assert match(picks, truth, 5.0).tolist() == [-1] * len(picks)


def test_the_first_picks_alone_are_paired():
    # The nearest pair is that of pick 2: without it, its particle is left to pick 1.
    pairs = near_pairs([[0, 0], [12, 0], [10, 0]], [[1, 0], [10.5, 0]], 3.0)
    assert pairs.tolist() == [[2, 1], [0, 0], [1, 1]]
    assert one_to_one(pairs, 3) == [(2, 1), (0, 0)]
    assert one_to_one(pairs, 2) == [(0, 0), (1, 1)]
    assert one_to_one(pairs, 0) == []


def test_counts_add_up_to_micro_averages():
    total = Counts(picks=10, truth=8, matched=4) + Counts(picks=2, truth=8, matched=2)
    assert total == Counts(12, 16, 6) == total + Counts()
    assert total.precision == pytest.approx(6 / 12)
    assert total.recall == pytest.approx(6 / 16)
    precision, recall = 6 / 12, 6 / 16
    assert total.f1 == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Counts(0, 0, 0), (1, 1, 1)),
        (Counts(0, 5, 0), (0, 0, 0)),
        (Counts(5, 0, 0), (0, 0, 0)),
        (Counts(3, 3, 3), (1, 1, 1)),
        (Counts(1, 1, 1), (1, 1, 1)),
    ],
)
def test_counts_with_an_empty_side(counts, expected):
    assert (counts.precision, counts.recall, counts.f1) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 10**6), st.booleans())
def test_curve_agrees_with_counting_at_each_threshold(n, truth, seed, with_ties):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, n)
    scores = np.round(scores, 1) if with_ties else scores
    hits = rng.uniform(size=n) < 0.6
    hits[np.cumsum(hits) > truth] = False
    curve = precision_recall_curve(scores, hits, truth)
    assert_array_equal(curve.thresholds, sorted(set(scores), reverse=True))
    for threshold, precision, recall in zip(curve.thresholds, curve.precision, curve.recall, strict=True):
        kept = scores >= threshold
        assert precision == pytest.approx(hits[kept].sum() / kept.sum())
        assert recall == pytest.approx(hits[kept].sum() / truth)


def test_without_particles_nothing_is_recalled():
    curve = precision_recall_curve([0.5, 0.9], [False, False], 0)
    assert (curve.precision.tolist(), curve.recall.tolist()) == ([0, 0], [0, 0])


def test_average_precision_by_hand():
    # Ranking: hit, miss, hit, miss; 4 particles. AP = 1/4 * 1/1 + 1/4 * 2/3.
    assert average_precision([0.9, 0.8, 0.7, 0.6], [True, False, True, False], 4) == pytest.approx(
        1 / 4 + 1 / 4 * 2 / 3
    )


def test_average_precision_does_not_depend_on_the_order_of_equal_scores():
    # Without a ranking there is one operating point: precision 1/2 at recall 1/4.
    assert average_precision([1.0, 1.0], [True, False], 4) == pytest.approx(1 / 8)
    assert average_precision([1.0, 1.0], [False, True], 4) == pytest.approx(1 / 8)


@pytest.mark.parametrize(("scores", "truth", "expected"), [([], 0, 1.0), ([0.5], 0, 0.0), ([], 5, 0.0)])
def test_average_precision_with_an_empty_side(scores, truth, expected):
    assert average_precision(scores, [False] * len(scores), truth) == expected


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 150), st.floats(20, 300), st.floats(-3000, 3000))
def test_two_discs_overlap_in_a_lens(distance, diameter, shift):
    r = diameter / 2
    lens = 0.0
    if distance < diameter:
        lens = 2 * r**2 * np.arccos(distance / 2 / r) - distance / 2 * np.sqrt(4 * r**2 - distance**2)
    common, total = disc_overlap([[shift, 7.3]], [[shift, 7.3 + distance]], diameter)
    assert_allclose(total, 2 * np.pi * r**2, rtol=0.01)
    assert_allclose(common, lens, atol=0.01 * np.pi * r**2)


def test_overlapping_picks_count_their_area_once():
    twice, total_of_twice = disc_overlap([[50, 50], [50, 50]], [[50, 50]], 40)
    once, total_of_once = disc_overlap([[50, 50]], [[50, 50]], 40)
    assert (twice, total_of_twice) == (once, total_of_once)


def test_dice_is_pooled_over_micrographs():
    assert dice([(10.0, 40.0), (30.0, 40.0)]) == pytest.approx(2 * 40 / 80)
    assert dice([]) == 1.0
    assert dice([disc_overlap([], [], 10)]) == 1.0
    assert dice([disc_overlap([[1, 1]], [], 10)]) == 0.0


def test_dice_of_many_discs_agrees_with_a_pixel_mask():
    rng = np.random.default_rng(3)
    picks, truth, diameter = rng.uniform(40, 460, (30, 2)), rng.uniform(40, 460, (25, 2)), 61.0
    y, x = np.mgrid[0:500:0.5, 0:500:0.5]

    def mask(points):
        return np.any([(x - px) ** 2 + (y - py) ** 2 <= diameter**2 / 4 for px, py in points], axis=0)

    a, b = mask(picks), mask(truth)
    assert_allclose(dice([disc_overlap(picks, truth, diameter)]), 2 * (a & b).sum() / (a.sum() + b.sum()), atol=0.003)


def test_without_discs_there_is_no_area():
    assert disc_overlap([], [], 10) == (0.0, 0.0)


def test_discs_that_are_few_cells_wide_have_their_area_on_average():
    # On a line of 8192 cells of 10 px, discs of 2.9 cells' radius.
    rng = np.random.default_rng(0)
    line = np.column_stack([np.linspace(0, 81_860, 600) + rng.uniform(-9, 9, 600), rng.uniform(0, 30, 600)])
    common, total = disc_overlap(line, line, 58.0)
    assert total == 2 * common
    assert common == pytest.approx(600 * np.pi * 29**2, rel=0.01)


def test_far_strays_do_not_need_the_memory_of_a_whole_plane():
    common, total = disc_overlap([[0, 0], [1e9, 1e9]], [[0, 0]], 50)
    assert np.isfinite([common, total]).all()
