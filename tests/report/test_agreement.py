"""Hits at every threshold against plain matching, the choice of what the galleries show, and the crops."""

import cv2
import numpy as np
import pytest

from cryotx_cli.coordinates.agreement import one_to_one
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.report.agreement import (
    CROP_DIAMETERS,
    MOST_CROPS,
    Place,
    Truth,
    crop_jpeg,
    hits_at_cuts,
    misses_and_false_picks,
    places_to_show,
)


def particles_of(points, scores=None, diameter=40.0):
    n = len(points)
    return Particles(np.reshape(points, (n, 2)), np.ones(n) if scores is None else scores, np.full(n, diameter), 1.0)


def plainly_matched(picks, truth, radius):
    """Nearest first, one to one, over all distances."""
    distances = np.linalg.norm(picks[:, None] - truth[None], axis=2)
    hits = 0
    while distances.size and distances.min() <= radius:
        i, j = np.unravel_index(np.argmin(distances), distances.shape)
        distances[i], distances[:, j] = np.inf, np.inf
        hits += 1
    return hits


@pytest.mark.parametrize("size", [60, 1500])  # crowded: most have several partners to choose from; and sparse
def test_hits_at_every_cut_are_those_of_matching_what_is_left(size):
    rng = np.random.default_rng(size)
    points, true = rng.uniform(0, size, (120, 2)), rng.uniform(0, size, (90, 2))
    points[:40] = true[:40] + rng.normal(0, 3, (40, 2))
    cuts = np.sort(rng.integers(0, 101, 120))[::-1]
    truth = Truth(particles_of(true), 20.0, 10.0, 0)
    pairs = truth.pairs(particles_of(points))
    hits = hits_at_cuts(cuts, pairs, 101)
    for cut in range(101):
        expected = plainly_matched(points[cuts >= cut], true, 10.0)
        assert hits[cut] == expected
        assert len(one_to_one(pairs, int(np.count_nonzero(cuts >= cut)))) == expected


def test_hits_without_candidates_or_without_truth_are_none():
    for points, true in (([], [[1, 1]]), ([[1, 1]], []), ([], [])):
        truth = Truth(particles_of(true), 20.0, 10.0, 0)
        candidates = particles_of(points)
        assert not hits_at_cuts(np.full(len(points), 50), truth.pairs(candidates), 101).any()


def test_misses_know_the_candidate_that_a_lower_threshold_would_find():
    candidates = particles_of([[100, 100], [300, 300], [504, 500], [508, 500]], [0.9, 0.8, 0.3, 0.2])
    truth = Truth(particles_of([[103, 100], [500, 500], [900, 900]]), 40.0, 20.0, 1)
    found = set(misses_and_false_picks(7, candidates, 2, truth))
    assert found == {
        Place("miss", 7, 1, 500.0, 500.0, 40.0, 0.3),  # the nearest, not the last
        Place("miss", 7, 2, 900.0, 900.0, 40.0, None),
        Place("false", 7, 1, 300.0, 300.0, 40.0, 0.8),
    }


def test_galleries_show_the_surest_false_picks_and_misses_of_every_kind():
    scores = np.random.default_rng(0).uniform(0, 1, 500)
    false = [Place("false", 0, i, 0.0, 0.0, 9.0, float(score)) for i, score in enumerate(scores)]
    misses = [Place("miss", 0, i, 0.0, 0.0, 9.0, float(score) if i % 2 else None) for i, score in enumerate(scores)]
    chosen = places_to_show([*misses, *false])
    assert [one.score for one in chosen if one.kind == "false"] == sorted(scores, reverse=True)[:MOST_CROPS]
    shown = [one.score for one in chosen if one.kind == "miss"]
    known = [score for score in shown if score is not None]
    assert len(shown) == MOST_CROPS
    assert known == sorted(known, reverse=True)
    assert shown[: len(known)] == known  # those that no candidate was near come last
    assert 50 < len(known) < 70
    assert known[0] == max(scores[1::2])
    few = places_to_show(misses[:5])
    assert len(few) == 5


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED).astype(float)


@pytest.mark.parametrize("diameter", [9.0, 40.0, 333.0])
@pytest.mark.parametrize("at_border", [False, True])
def test_a_crop_shows_the_particle_in_the_middle_and_as_large_as_it_says(diameter, at_border):
    side = round(6 * diameter)
    x, y = (diameter * 0.2, diameter * 0.7) if at_border else (side / 2 + 0.37, side / 2 - 1.2)
    rows, columns = np.indices((side, side))
    distance = np.hypot(columns - x, rows - y)
    image = np.where(distance <= diameter / 2, -3.0, 0.0) + np.random.default_rng(1).normal(0, 0.3, (side, side))
    image[side - 2, side - 3] = 1e6
    crop = decoded(crop_jpeg(image.astype(np.float32), x, y, diameter))
    assert crop.shape == (120, 120)
    rows, columns = (np.indices(crop.shape) - 59.5) * CROP_DIAMETERS / 120
    away = np.hypot(rows, columns)  # in diameters
    inside = away < 0.35
    outside = (away > 0.7) & ((columns > 0) & (rows > 0) if at_border else True)
    assert crop[inside].mean() < crop[outside].mean() - 100
    if not at_border:
        dark = crop < (crop[inside].mean() + crop[outside].mean()) / 2
        centre = [float(np.average(axis[dark])) for axis in (rows, columns)]
        assert np.abs(centre).max() < 0.04
        assert np.sqrt(4 * dark.mean() * CROP_DIAMETERS**2 / np.pi) == pytest.approx(1, abs=0.12)


def test_a_crop_of_nothing_is_grey():
    assert np.ptp(decoded(crop_jpeg(np.full((50, 50), 7.0, np.float32), 20, 20, 20))) < 3
