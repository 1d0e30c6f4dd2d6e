"""The threshold rules against brute force, simulation and cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryotx_cli.coordinates.particles import Particles
from cryotx_cli.runs.selection import ExpectedCount, ExpectedF1, Percentile, Threshold, choose, expected_f1_cut


def candidates(*probabilities):
    n = len(probabilities)
    return Particles(np.zeros((n, 2)), np.array(probabilities, float), np.full(n, 20.0), 2.0)


def plug_in_f1(probabilities, kept):
    """2 E[true positives] / (picks + E[particles]), with loops instead of cumulative sums."""
    return 2 * sum(p for p, k in zip(probabilities, kept, strict=True) if k) / (sum(kept) + sum(probabilities))


@given(st.lists(st.integers(0, 50).map(lambda n: n / 50), max_size=9), st.sampled_from([0.0, 0.25, 0.5]))
def test_no_subset_of_the_candidates_has_a_higher_expected_f1(probabilities, floor):
    kept = np.array(probabilities, float) >= expected_f1_cut(np.array(probabilities, float), floor)
    allowed = [p >= floor for p in probabilities]
    subsets = (
        [bool(bits >> i & 1) and allowed[i] for i in range(len(probabilities))]
        for bits in range(1, 2 ** len(probabilities))
    )
    best = max((plug_in_f1(probabilities, subset) for subset in subsets if any(subset)), default=None)
    assert not np.any(kept & ~np.array(allowed, bool))
    assert kept.any() == any(allowed)
    if best is not None:
        assert plug_in_f1(probabilities, kept) == pytest.approx(best)


def test_the_cut_is_the_best_one_for_simulated_labels():
    rng = np.random.default_rng(4)
    probabilities = np.sort(rng.beta(0.5, 0.7, 300))[::-1]
    labels = rng.random((4000, 300)) < probabilities
    true_positives = labels.cumsum(axis=1)
    f1 = (2 * true_positives / (np.arange(1, 301) + labels.sum(axis=1, keepdims=True))).mean(axis=0)
    kept = int(np.count_nonzero(probabilities >= expected_f1_cut(probabilities, floor=0.0)))
    assert (
        abs(kept - (np.argmax(f1) + 1)) <= 6
    )  # the maximum is flat: neighbours differ by less than the simulation errs
    assert f1[kept - 1] == pytest.approx(f1.max(), abs=1e-4)
    assert f1[kept - 1] > max(f1[kept - 60], f1[kept + 60])


def test_an_empty_micrograph_gets_nothing():
    assert not choose(candidates(0.24, 0.1, 0.05), ExpectedF1(floor=0.25)).any()
    assert choose(candidates(), ExpectedF1()).shape == (0,)
    assert expected_f1_cut(np.array([0.2, 0.1]), floor=0.25) == np.inf


def test_candidates_below_the_floor_still_count_as_particles_that_may_be_missed():
    # S = 1.2 particles: one pick 1.8 / 2.2 = 0.82, two 2.4 / 3.2 = 0.75. S = 5.2: 1.8 / 6.2 = 0.29, 2.4 / 7.2 = 0.33.
    assert choose(candidates(0.9, 0.3), ExpectedF1(floor=0.3)).tolist() == [True, False]
    assert choose(candidates(0.9, 0.3, *[0.2] * 20), ExpectedF1(floor=0.3)).tolist() == [True, True] + [False] * 20


def test_a_micrograph_of_guesses_keeps_only_what_convinces_alone():
    guesses = [0.3] * 300  # each cut among them would be wrong in 210 of 300
    assert not choose(candidates(*guesses), ExpectedF1()).any()
    assert choose(candidates(0.9, 0.8, 0.6, *guesses), ExpectedF1()).sum() == 2
    assert choose(candidates(*guesses), Threshold(0.3)).all()
    assert not choose(candidates(*[0.49] * 300), ExpectedF1()).any()
    assert choose(candidates(*[0.51] * 300), ExpectedF1()).all()


def test_picks_far_less_sure_than_their_fellows_are_left_out():
    # Odds of 0.96 are 24, a twelfth of them are 2, those of 2/3.
    assert choose(candidates(*[0.96] * 30, 0.7, 0.66, 0.6), ExpectedF1()).sum() == 31
    # However sure most picks are, 0.96 is sure enough.
    assert choose(candidates(*[0.99999] * 30, 0.96, 0.95), ExpectedF1()).sum() == 31
    # Where most are not sure, and where there are few of them, the highest expected F1 alone decides.
    unsure = [*[0.8] * 30, 0.7, 0.66, 0.6]
    assert choose(candidates(*unsure), ExpectedF1()).all()
    assert choose(candidates(*[0.96] * 6, 0.6), ExpectedF1()).all()
    assert choose(candidates(*[0.96] * 30, 0.6), Threshold(0.5)).all()


def test_the_order_of_the_candidates_does_not_matter():
    rng = np.random.default_rng(1)
    probabilities = rng.choice([0.1, 0.3, 0.31, 0.6, 0.9], 60)
    order = rng.permutation(60)
    for rule in (ExpectedF1(), Threshold(0.31)):
        kept = choose(candidates(*probabilities), rule)
        assert choose(candidates(*probabilities[order]), rule).tolist() == kept[order].tolist()


def test_threshold_is_inclusive():
    assert choose(candidates(0.2, 0.5, 0.49, 0.9), Threshold(0.5)).tolist() == [False, True, False, True]


@pytest.mark.parametrize(("percent", "kept"), [(0, 8), (25, 6), (50, 4), (99, 1), (100, 0)])
def test_percentile_drops_the_lowest_of_those_above_the_floor(percent, kept):
    probabilities = [0.05, 0.3, 0.9, 0.4, 0.8, 0.1, 0.5, 0.7, 0.6, 0.35]  # eight at or above 0.25
    mask = choose(candidates(*probabilities), Percentile(percent, floor=0.25))
    assert sorted(np.array(probabilities)[mask]) == sorted(probabilities)[10 - kept :]


def test_expected_count_keeps_the_best():
    probabilities = candidates(0.2, 0.9, 0.1, 0.5)
    assert choose(probabilities, ExpectedCount(2)).tolist() == [False, True, False, True]
    assert choose(probabilities, ExpectedCount(9)).all()
