"""Calibration recovers known probabilities, keeps ranks, and is judged by a formula written out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cryotx_cli.training.center.calibration import expected_calibration_error, fit_calibration


def logistic(z):
    return 1 / (1 + np.exp(-z))


def detections(n, slope=1.0, shift=0.0, seed=0):
    """Logits, and hits that are right with the probability logistic(slope z + shift)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, n)
    return logits, rng.random(n) < logistic(slope * logits + shift)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (2.0, 1.0), (0.5, -0.7)])
def test_a_known_distortion_is_recovered(slope, shift):
    calibration = fit_calibration(*detections(40_000, slope, shift))
    z = np.linspace(-2.4, 2.4, 50)  # nine tenths of the detections
    assert_allclose(calibration(z), logistic(slope * z + shift), atol=0.035)


def test_calibrated_scores_of_new_detections_mean_what_they_say():
    calibration = fit_calibration(*detections(20_000, 2.0, 1.0))
    logits, hits = detections(20_000, 2.0, 1.0, seed=1)
    assert expected_calibration_error(logistic(logits), hits) > 0.09
    assert expected_calibration_error(calibration(logits), hits) < 0.02


def test_calibration_keeps_the_order_of_all_detections():
    logits, hits = detections(3000, 0.3)
    scores = fit_calibration(logits, hits)(np.sort(logits))
    assert (np.diff(scores) > 0).all()
    assert scores[0] > 0
    assert scores[-1] < 1


def test_knots_and_probabilities_rise():
    for seed in range(5):
        calibration = fit_calibration(*detections(150, 0.2, seed=seed))
        assert (np.diff(calibration.logits) > 0).all()
        assert (np.diff(calibration.probabilities) > 0).all()
        assert len(calibration.logits) == 22


def test_scores_that_say_nothing_become_the_share_of_hits():
    # Better logits are hit less often, so the best rising curve is flat.
    logits, hits = detections(5000, -1.0)
    calibration = fit_calibration(logits, hits)
    assert_allclose(calibration(np.linspace(-2, 2, 9)), hits.mean(), atol=0.001)


@pytest.mark.parametrize("hit", [False, True])
def test_detections_that_are_all_alike_stay_within_zero_and_one(hit):
    logits, _ = detections(200)
    scores = fit_calibration(logits, np.full(200, hit))(np.array([-50, -1, 0, 1, 50]))
    assert ((scores > 0) & (scores < 1)).all()
    assert_allclose(scores[1:4], hit, atol=0.001)


def test_the_order_of_detections_does_not_matter():
    logits, hits = detections(500)
    turned = np.random.default_rng(1).permutation(500)
    assert fit_calibration(logits, hits) == fit_calibration(logits[turned], hits[turned])


def test_too_few_detections_are_refused():
    with pytest.raises(ValueError, match="99 detections"):
        fit_calibration(*detections(99))
    fit_calibration(*detections(100))


def test_the_calibration_error_is_the_weighted_gap_of_its_bins():
    p = np.array([0.1, 0.3, 0.45, 0.6, 0.9, 1.0])
    hits = np.array([0, 1, 0, 1, 1, 0])
    low = abs((0.1 + 0.3 + 0.45) / 3 - 1 / 3) * 3 / 6
    high = abs((0.6 + 0.9 + 1.0) / 3 - 2 / 3) * 3 / 6
    assert expected_calibration_error(p, hits, bins=2) == pytest.approx(low + high)


def test_the_calibration_error_by_a_plain_loop():
    rng = np.random.default_rng(0)
    p, hits = rng.random(400), rng.random(400) < 0.5
    expected = 0.0
    for b in range(15):
        inside = [i for i in range(400) if b / 15 <= p[i] < (b + 1) / 15]
        expected += abs(sum(p[i] - hits[i] for i in inside)) / 400
    assert expected_calibration_error(p, hits) == pytest.approx(expected)


def test_certain_and_right_has_no_calibration_error():
    hits = np.array([True, False, True])
    assert expected_calibration_error(hits.astype(float), hits) == 0
    assert_array_equal(expected_calibration_error([0.0, 1.0], [True, False]), 1.0)
