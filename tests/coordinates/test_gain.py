"""The spread of a gain, against leaving out by hand, the delta method, and experiments in which there is no gain."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from cryotx_cli.coordinates.agreement import Counts
from cryotx_cli.coordinates.gain import paired_gain


def counts(rows):
    return [Counts(int(picks), int(truth), int(matched)) for picks, truth, matched in rows]


def test_three_micrographs_by_hand():
    before, after = [(10, 10, 5), (20, 20, 10), (30, 30, 15)], [(10, 10, 7), (20, 20, 11), (30, 30, 21)]

    gain = paired_gain(counts(before), counts(after))

    # F1 is .5 before whatever is left out; after 39 / 60, and without each 32 / 50, 28 / 40, 18 / 30.
    assert gain.difference == pytest.approx(39 / 60 - 0.5)
    without = np.array([32 / 50, 28 / 40, 18 / 30]) - 0.5
    error = math.sqrt(2 / 3 * np.sum((without - without.mean()) ** 2))
    assert gain.spread == pytest.approx(4.302653 * error, rel=1e-6)  # Student's t with two degrees of freedom
    assert not gain.is_shown


def drawn(rng, parts, labels=60, better=0.0):
    """Two pickers on the same parts, some harder than others; the second finds a share of the others' misses more."""
    before, after = [], []
    for _ in range(parts):
        truth = rng.poisson(labels)
        share = rng.beta(16, 4)
        common = rng.binomial(truth, share * 0.95)
        first, second = (rng.binomial(truth - common, 0.2 + gain) for gain in (0.0, better))
        false = rng.poisson(10, 2)
        before.append((common + first + false[0], truth, common + first))
        after.append((common + second + false[1], truth, common + second))
    return counts(before), counts(after)


@pytest.mark.parametrize("parts", [8, 40])
def test_the_spread_is_that_of_the_delta_method(parts):
    """F1 is a ratio of sums, 2 TP over picks and truth: its variance is that of the residuals, to first order."""
    before, after = drawn(np.random.default_rng(parts), parts)
    residuals = np.zeros(parts)
    for sign, side in ((-1, before), (1, after)):
        hits = np.array([2 * one.matched for one in side])
        both = np.array([one.picks + one.truth for one in side])
        residuals += sign * (hits - hits.sum() / both.sum() * both) / both.sum()
    error = math.sqrt(parts * residuals.var(ddof=1))

    gain = paired_gain(before, after)

    assert_allclose(gain.spread, stats.t.ppf(0.975, parts - 1) * error, rtol=0.05)


@pytest.mark.parametrize("parts", [8, 20])
def test_without_a_gain_one_is_seldom_shown(parts):
    """The interval is two-sided with 95 %: 2.5 % of differences that chance has made are called a gain."""
    rng = np.random.default_rng(1)
    shown = np.mean([paired_gain(*drawn(rng, parts)).is_shown for _ in range(1500)])

    assert 0.01 < shown < 0.045


def test_a_gain_that_is_there_is_shown():
    assert np.mean([paired_gain(*drawn(np.random.default_rng(n), 12, better=0.4)).is_shown for n in range(50)]) > 0.9


def test_how_hard_the_parts_are_does_not_count():
    """Found in each part, three more of what is there: F1 differs between parts, the gain does not."""
    before = [Counts(100, 100, found) for found in (20, 50, 80, 90)]
    after = [Counts(100, 100, found + 3) for found in (20, 50, 80, 90)]

    gain = paired_gain(before, after)

    assert gain.difference == pytest.approx(0.03)
    assert gain.spread == pytest.approx(0, abs=1e-9)
    assert gain.is_shown


@pytest.mark.parametrize("parts", [[], [Counts(10, 10, 5)]])
def test_one_part_tells_of_no_spread(parts):
    gain = paired_gain(parts, [Counts(10, 10, 9)] * len(parts))

    assert gain.spread == math.inf
    assert not gain.is_shown


def test_nothing_gained_is_not_shown():
    same = [Counts(10, 10, 5)] * 4

    assert not paired_gain(same, same).is_shown
    with pytest.raises(ValueError, match="shorter"):
        paired_gain(same, same[:3])
