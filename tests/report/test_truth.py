"""Hits at every threshold against plain matching, and the choice of what the galleries show."""

import numpy as np
import pytest

from cryotx_cli.coordinates.agreement import one_to_one
from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.report.truth import (
    MOST_CROPS,
    Disagreement,
    Truth,
    disagreements_to_show,
    hits_at_cuts,
    misses_and_false_picks,
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
        Disagreement("miss", 7, 1, 500.0, 500.0, 40.0, 0.3),  # the nearest, not the last
        Disagreement("miss", 7, 2, 900.0, 900.0, 40.0, None),
        Disagreement("false", 7, 1, 300.0, 300.0, 40.0, 0.8),
    }


def test_galleries_show_the_surest_false_picks_and_misses_of_every_kind():
    scores = np.random.default_rng(0).uniform(0, 1, 500)
    false = [Disagreement("false", 0, i, 0.0, 0.0, 9.0, float(score)) for i, score in enumerate(scores)]
    misses = [
        Disagreement("miss", 0, i, 0.0, 0.0, 9.0, float(score) if i % 2 else None) for i, score in enumerate(scores)
    ]
    chosen = disagreements_to_show([*misses, *false])
    assert [one.score for one in chosen if one.kind == "false"] == sorted(scores, reverse=True)[:MOST_CROPS]
    shown = [one.score for one in chosen if one.kind == "miss"]
    known = [score for score in shown if score is not None]
    assert len(shown) == MOST_CROPS
    assert known == sorted(known, reverse=True)
    assert shown[: len(known)] == known  # those that no candidate was near come last
    assert 50 < len(known) < 70
    assert known[0] == max(scores[1::2])
    few = disagreements_to_show(misses[:5])
    assert len(few) == 5
