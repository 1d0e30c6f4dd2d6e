"""Picks that fit no average: made-up fits and scores with truth."""

import numpy as np
import pytest

from cryotx_cli.averages.leftovers import LOST, UNSURE, asked_for, fits_beyond_noise, leftovers


def made_up(particles: int, junk: int, fit: float, seed: int = 0):
    """Fits and scores of particles, then of junk, which fits and scores as what detectors find in noise does.

    All in a class that agrees, and none stands out.
    """
    rng = np.random.default_rng(seed)
    fits = np.concatenate([rng.normal(fit, 3, particles), rng.normal(2.1, 1.5, junk)])
    scores = np.concatenate([rng.beta(8, 1, particles), rng.beta(1, 6, junk)])
    return fits, scores, np.zeros(particles + junk), np.zeros(particles + junk, int), np.ones(1, bool)


def test_junk_is_left_over_and_next_to_no_particle() -> None:
    left = np.stack([leftovers(*made_up(1000, 400, 15, seed)) for seed in range(10)])

    assert left[:, 1000:].mean() > 0.6
    assert left[:, :1000].mean(1).max() <= LOST


def test_where_detectors_take_much_noise_for_particles_more_goes_but_not_all() -> None:
    """Scores promise a fifth of the junk to be particles; that it fits as noise does says that little of it is.

    A protein that is too faint to fit may be among it, so twice what the scores promise is the most.
    """
    fits, scores, *rest = made_up(1000, 800, 15)
    scores[1000:] = np.random.default_rng(1).uniform(0.1, 0.3, 800)

    left = leftovers(fits, scores, *rest)

    assert 1.9 * LOST * scores.sum() < scores[left].sum() <= 2 * LOST * scores.sum()
    assert not left[:1000].any()


def test_nothing_is_left_over_where_averages_do_not_part_particles_from_noise() -> None:
    assert not leftovers(*made_up(1000, 400, 4)).any()


def test_nothing_is_left_over_where_all_picks_are_sure() -> None:
    fits, _, *rest = made_up(1000, 400, 15)

    assert not leftovers(fits, np.full(1400, UNSURE), *rest).any()


def test_particles_that_the_detector_does_not_know_stay_where_they_fit() -> None:
    """A second protein of low scores fits its averages."""
    fits, scores, *rest = made_up(1000, 100, 15)
    scores[:300] = 0.2

    left = leftovers(fits, scores, *rest)

    assert left[1000:].mean() > 0.3
    assert left[:300].mean() < 0.03


def test_unlikely_particles_stay_where_averages_say_that_they_are_some() -> None:
    """However few there are: what may be lost is no reason to lose it."""
    fits, scores, *rest = made_up(1000, 0, 15)
    scores[:20] = 0.1
    fits[:20] = 15

    assert not leftovers(fits, scores, *rest)[:20].any()


def test_picks_that_stand_out_go_though_they_fit_and_others_stay() -> None:
    """Dirt fits better than noise, and sure picks do not look like it."""
    fits, scores, out, *rest = made_up(1000, 600, 15)
    scores[1000:], fits[1000:] = 0.15, 9
    out[1000:1300] = 10

    left = leftovers(fits, scores, out, *rest)

    assert left[1000:1300].mean() > 0.3
    assert not left[1300:].any()
    assert not left[:1000].any()
    assert not leftovers(fits, scores, np.zeros(1600), *rest).any()


def test_picks_whose_fit_was_not_asked_for_change_next_to_nothing() -> None:
    """The sure ones tell what the middle particle is like, and a part of them does."""
    fits, scores, *rest = made_up(3000, 400, 15)
    known = asked_for(scores)
    some = np.where(known, fits, np.nan)

    alike = leftovers(fits, scores, *rest) == leftovers(some, scores, *rest)

    assert known.mean() < 0.6
    assert known[scores < UNSURE].all()
    assert np.count_nonzero(~alike) < 20


def test_nothing_is_asked_for_where_the_detector_is_sure() -> None:
    assert not asked_for(np.full(1000, 0.9)).any()


def test_a_class_that_agrees_and_is_new_to_the_detector_stays() -> None:
    fits, scores, out, classes, _ = made_up(1000, 400, 15)
    classes[1000:1200] = 1

    left = leftovers(fits, scores, out, classes, np.ones(2, bool))

    assert not left[1000:1200].any()
    assert left[1200:].any()


def test_a_class_of_particles_that_averages_to_nothing_stays() -> None:
    """Fits say nothing of a view too faint to average."""
    fits, scores, out, classes, _ = made_up(1000, 400, 15)
    classes[[*range(100), *range(1000, 1020)]] = 1

    left = leftovers(fits, scores, out, classes, np.array([True, False]))

    assert scores[classes == 1].mean() > 0.7
    assert not left[classes == 1].any()
    assert left[1020:].any()


def test_of_a_class_that_may_be_a_faint_view_next_to_nothing_goes() -> None:
    fits, scores, out, classes, _ = made_up(1000, 400, 15)
    mixed = [*range(100), *range(1000, 1080)]
    classes[mixed] = 1

    left = leftovers(fits, scores, out, classes, np.array([True, False]))
    free = leftovers(fits, scores, out, classes, np.array([True, True]))

    assert 0.35 < scores[mixed].mean() < 0.7
    assert scores[left & (classes == 1)].sum() <= 0.03 * scores[mixed].sum()
    assert free[mixed].sum() > left[mixed].sum() > 0


def test_fits_are_deviations_of_places_in_noise_beyond_their_best() -> None:
    """Noise drawn anew has a mean of 0 and a deviation of 1, however the averages differ in what fits them."""
    rng = np.random.default_rng(1)
    usual, spread = np.array([0.1, 0.5, 0.3]), np.array([0.02, 0.05, 0.1])
    noise, same, better = (rng.normal(usual + by * spread, spread, (20000, 3)) for by in (0, 0, 4))
    halves = [
        (half, of[half], noise) for of in (np.concatenate([same, better]),) for half in (first(40000), ~first(40000))
    ]

    fits = fits_beyond_noise(halves)

    assert fits[:20000].mean() == pytest.approx(0, abs=0.05)
    assert fits[:20000].std() == pytest.approx(1, abs=0.05)
    assert fits[20000:].mean() > 4


def first(count: int) -> np.ndarray:
    """Which of so many are even: one of two halves."""
    return np.arange(count) % 2 == 0
