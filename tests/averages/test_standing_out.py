"""Picks on dirt stand out from those of which the detector is sure, by their coarse power."""

import numpy as np

from cryotx_cli.averages.crops import SIDE, levelled
from cryotx_cli.averages.standing_out import FAR, likelier_where_usual, stands_out

Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2


def crops(count: int, added: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (count, SIDE, SIDE)) + 0.5 * (np.hypot(X, Y) < 10)
    return levelled((noise + added).astype(np.float32))


def test_film_and_ice_stand_out_and_particles_do_not() -> None:
    edge, ball = 1.5 * (X > 12), 2.0 * (np.hypot(X - 20, Y + 15) < 12)
    images = np.concatenate([crops(200, np.zeros((SIDE, SIDE)), 1), crops(20, edge, 2), crops(20, ball, 3)])
    scores = np.r_[np.full(200, 0.9), np.full(40, 0.3)]

    out = stands_out(images, scores, np.ones(240, bool))

    assert (out[200:] > 2 * FAR).all()
    assert np.median(out[:200]) < 1.5
    assert (out[:200] > FAR).mean() < 0.1


def test_coarse_waves_count_and_fine_ones_and_levels_do_not() -> None:
    fine, coarse = (0.7 * np.cos(2 * np.pi * cycles * X / SIDE) for cycles in (12, 3))
    parts = [crops(100, added, seed) for seed, added in enumerate((0 * X, fine, coarse))]
    images = np.concatenate([*parts, parts[0] + 3])
    scores = np.r_[np.full(100, 0.9), np.full(300, 0.3)]

    out = stands_out(images, scores, np.ones(400, bool)).reshape(4, 100)

    assert np.median(out[2]) > 4 * FAR
    assert np.median(out[1]) < FAR
    np.testing.assert_allclose(out[3], out[0], atol=0.02)


def test_picks_that_were_not_asked_for_have_none() -> None:
    asked = np.arange(120) % 2 == 0
    images = crops(120, 0 * X, 4)

    out = stands_out(images, np.full(120, 0.9), asked)

    assert np.isnan(out[~asked]).all()
    assert np.isfinite(out[asked]).all()


def test_where_no_pick_is_sure_the_best_tell_what_is_usual() -> None:
    images = np.concatenate([crops(60, 0 * X, 5), crops(60, 2.0 * (X > 12), 6)])
    scores = np.r_[np.linspace(0.3, 0.5, 60), np.full(60, 0.1)]

    assert (stands_out(images, scores, np.ones(120, bool))[60:] > FAR).all()


def test_a_pick_is_less_likely_by_how_much_rarer_particles_stand_out() -> None:
    """One of a hundred particles does, and half of the others: 0.2 is the least that is believed."""
    out = np.r_[np.zeros(990), np.full(10, 6.0), np.zeros(500), np.full(500, 6.0)]
    scores = np.r_[np.ones(1000), np.full(1000, 0.3)]
    unsure = np.arange(1000, 2000)

    lower = likelier_where_usual(out, scores, unsure, 0.5)

    np.testing.assert_allclose(lower[:500], 0.3)
    np.testing.assert_allclose(lower[500:], 0.3 * 0.2 / (0.3 * 0.2 + 0.7))
