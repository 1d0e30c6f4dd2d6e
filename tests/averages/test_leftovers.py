"""Picks that fit no average: made-up fits and scores with truth."""

import numpy as np
import pytest

from cryotx_cli.averages.leftovers import LOST, UNSURE, asked_for, fits_beyond_noise, leftovers


def made_up(particles: int, junk: int, fit: float, seed: int = 0):
    """Fits and scores of particles, then of junk, which fits and scores as what detectors find in noise does."""
    rng = np.random.default_rng(seed)
    fits = np.concatenate([rng.normal(fit, 3, particles), rng.normal(2.1, 1.5, junk)])
    scores = np.concatenate([rng.beta(8, 1, particles), rng.beta(1, 6, junk)])
    return fits, scores, np.zeros(particles + junk, bool)


def test_junk_is_left_over_and_next_to_no_particle() -> None:
    left = np.stack([leftovers(*made_up(1000, 400, 15, seed)) for seed in range(10)])

    assert left[:, 1000:].mean() > 0.2
    assert left[:, :1000].mean(1).max() <= 2 * LOST


def test_nothing_is_left_over_where_averages_do_not_part_particles_from_noise() -> None:
    assert not leftovers(*made_up(1000, 400, 4)).any()


def test_nothing_is_left_over_where_all_picks_are_sure() -> None:
    fits, _, spared = made_up(1000, 400, 15)

    assert not leftovers(fits, np.full(1400, UNSURE), spared).any()


def test_particles_that_the_detector_does_not_know_stay_where_they_fit() -> None:
    """A second protein of low scores fits its averages: the excess over noise ends what is left over."""
    fits, scores, spared = made_up(1000, 100, 15)
    scores[:300] = 0.2

    left = leftovers(fits, scores, spared)

    assert left[1000:].mean() > 0.3
    assert left[:300].mean() < 0.03


def test_the_least_sure_go_first_and_their_scores_promise_next_to_nothing() -> None:
    bound = 0
    for seed in range(10):
        fits, scores, spared = made_up(1000, 400, 15, seed)
        scores[1000:] = np.random.default_rng(seed).uniform(0.2, 0.45, 400)
        left = leftovers(fits, scores, spared)
        bound = max(bound, scores[left].sum() / scores.sum())

    assert 0.015 < bound <= LOST  # all of the junk would promise a tenth


def test_picks_whose_fit_was_not_asked_for_change_next_to_nothing() -> None:
    """The sure ones tell what the middle particle is like, and a part of them does."""
    fits, scores, spared = made_up(3000, 400, 15)
    known = asked_for(scores)
    some = np.where(known, fits, np.nan)

    alike = leftovers(fits, scores, spared) == leftovers(some, scores, spared)

    assert known.mean() < 0.6
    assert known[scores < UNSURE].all()
    assert np.count_nonzero(~alike) < 20


def test_nothing_is_asked_for_where_the_detector_is_sure() -> None:
    assert not asked_for(np.full(1000, 0.9)).any()


def test_spared_picks_are_never_left_over() -> None:
    fits, scores, spared = made_up(1000, 400, 15)
    spared[1000:1200] = True

    left = leftovers(fits, scores, spared)

    assert not left[1000:1200].any()
    assert left[1200:].any()


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
