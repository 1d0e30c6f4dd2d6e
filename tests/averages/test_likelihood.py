"""What fits make of scores, against made-up picks of which it is known what they are."""

import math

import numpy as np
import pytest

from cryotx_cli.averages.likelihood import density, gaussian, probabilities


def unsure(particles: int, junk: int, fit: float, score: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    fits = np.concatenate([rng.normal(fit, 1, particles), rng.normal(0, 1, junk)])
    of_all = gaussian(fits - fit)
    count = particles + junk
    return fits, of_all, np.full(count, score), np.zeros(count, np.int64), np.ones(count, bool)


@pytest.mark.parametrize(("particles", "junk"), [(50, 950), (500, 500), (850, 150)])
def test_a_run_corrects_scores_towards_what_fits_show(particles: int, junk: int) -> None:
    """From 0.3 towards the truth; rather too high, where particles and noise are both many."""
    before, after = probabilities(*unsure(particles, junk, 4, 0.3))

    share = particles / (particles + junk)
    assert abs(before.mean() - share) < abs(0.3 - share)
    assert share - 0.05 < before.mean() < share + 0.15
    assert after[:particles].mean() > 0.8
    assert after[particles:].mean() < before.mean() / 1.5


def test_a_class_may_be_better_than_the_run() -> None:
    fits, of_all, scores, classes, usual = unsure(100, 900, 4, 0.2)
    classes[:100] = 1
    classes[100:150] = 1

    before, _ = probabilities(fits, of_all, scores, classes, usual)

    assert before[classes == 1].mean() > 3 * before[classes == 0].mean()


def test_scores_of_picks_that_stand_out_stay_and_fits_raise_none() -> None:
    fits, of_all, scores, classes, usual = unsure(500, 500, 4, 0.3)
    usual[::2] = False

    before, after = probabilities(fits, of_all, scores, classes, usual)

    np.testing.assert_array_equal(before[::2], 0.3)
    assert (after[::2] <= 0.3).all()
    assert (after[1:500:2] > 0.3).mean() > 0.9


def test_density_is_that_of_the_weighted_values() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(0, 1, 20000), rng.normal(50, 1, 100)])
    at = np.array([-1.0, 0.0, 1.5])

    found = density(values, np.r_[np.ones(20000), np.zeros(100)], at)

    np.testing.assert_allclose(found, np.exp(-(at**2) / 2) / math.sqrt(2 * math.pi), rtol=0.06)
