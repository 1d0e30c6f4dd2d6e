"""Agreement with incomplete labels, and probabilities that follow from it, against draws and plain loops."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

from cryotx_cli.coordinates.agreement import Counts, average_precision
from cryotx_cli.coordinates.chance import Field, pairs_by_chance
from cryotx_cli.detector.calibration import Calibration
from cryotx_cli.detector.center.checkpoint import Checkpoint
from cryotx_cli.detector.center.picker import Detections
from cryotx_cli.training.center.label_agreement import Detected, agreement, best_f1, detect, recalibrated
from cryotx_cli.training.center.labelled_data import LabelledImage

FIELD = Field((0.0, 0.0), (900.0, 900.0))


def detected(logits, hits, judged, labels, seed=0):
    """Detections somewhere in a field of 900 px, those with a label upon it; `labels` is how many there are."""
    rng = np.random.default_rng(seed)
    centres, wanted = rng.uniform(0, 900, (len(logits), 2)), rng.uniform(0, 900, (labels, 2))
    wanted[: int(hits.sum())] = centres[hits]
    return Detected(logits, hits, judged, centres, wanted, 12.0, FIELD)


PLAIN = Calibration()  # the logistic function
WEIGHTS = Checkpoint({}, calibration=PLAIN)


def drawn(count, slope, shift, share, seed=0):
    """Detections whose particles have the log-odds slope * logit + shift, `share` of which are labelled."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2.5, count)
    particles = rng.random(count) < expit(slope * logits + shift)
    hits = particles & (rng.random(count) < share)
    return detected(logits, hits, np.ones(count, bool), int(hits.sum()))


@pytest.mark.parametrize(("slope", "shift", "share"), [(1.0, -1.5, 0.95), (1.6, -0.5, 0.8), (0.7, 1.0, 0.9)])
def test_probabilities_follow_the_particles_and_not_the_missing_labels(slope, shift, share):
    at = np.linspace(-4, 4, 9)

    said = recalibrated(PLAIN, [drawn(20_000, slope, shift, share)])(at)

    assert_allclose(said, expit(slope * at + shift), atol=0.06)


def test_few_detections_change_little():
    said = recalibrated(PLAIN, [detected(np.array([1.0]), np.array([False]), np.array([True]), 0)])

    assert_allclose(said(np.linspace(-3, 3, 7)), expit(np.linspace(-3, 3, 7)), atol=0.15)


def test_a_calibration_that_fits_stays():
    said = recalibrated(PLAIN, [drawn(5000, 1.0, 0.0, 0.92)])

    assert_allclose(said(np.linspace(-4, 4, 9)), expit(np.linspace(-4, 4, 9)), atol=0.05)


def test_detections_where_nobody_labelled_do_not_count():
    seen = drawn(2000, 1.0, -1.0, 0.9)
    border = detected(np.full(2000, 3.0), np.zeros(2000, bool), np.zeros(2000, bool), 0)

    assert recalibrated(PLAIN, [seen, border]) == recalibrated(PLAIN, [seen])
    assert best_f1([seen, border]) == best_f1([seen])
    assert agreement([seen, border], WEIGHTS).counts == agreement([seen], WEIGHTS).counts
    assert agreement([seen, border], WEIGHTS).dice == agreement([seen], WEIGHTS).dice


def test_adapted_weights_are_judged_with_the_picks_that_are_less_sure_than_their_fellows():
    sure = np.concatenate([np.full(40, 6.0), np.full(10, 1.0)])  # the odds of 1.0 are far below those of 6.0
    seen = detected(sure, np.ones(50, bool), np.ones(50, bool), 50)

    assert agreement([seen], WEIGHTS).counts.picks == 40
    assert agreement([seen], replace(WEIGHTS, training={"fine_tuned_steps": 200})).counts.picks == 50


def test_the_best_f1_is_that_of_the_best_cut():
    seen = [drawn(60, 1.0, -0.5, 0.9, seed) for seed in (1, 2)]
    logits, hits = (np.concatenate([getattr(one, name) for one in seen]) for name in ("logits", "hits"))
    labels = sum(len(one.labels) for one in seen) + 7
    seen[1] = replace(seen[1], labels=np.vstack([seen[1].labels, np.zeros((7, 2))]))

    expected = max(
        2 * int(hits[logits >= cut].sum()) / (int((logits >= cut).sum()) + labels) for cut in logits.tolist()
    )

    assert best_f1(seen) == pytest.approx(expected)


def test_no_detection_has_an_f1_of_zero():
    assert best_f1([detected(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), 5)]) == 0


def test_agreement_counts_what_a_user_gets():
    """Expected F1 of probabilities .9 .8 .1 is highest at two picks: 3.4 / 3.8 against 1.8 / 2.8 and 3.6 / 4.8."""
    probabilities = np.array([0.9, 0.1, 0.8])
    logits = np.log(probabilities / (1 - probabilities))
    one = detected(logits, np.array([True, True, False]), np.ones(3, bool), 4)

    calibration = Calibration(tuple(np.sort(logits)), tuple(np.sort(probabilities)))
    found = agreement([one], Checkpoint({}, calibration=calibration))

    assert (found.counts.picks, found.counts.truth, found.counts.matched) == (2, 4, 1)
    assert found.average_precision == average_precision(logits, one.hits, 4)


class Sees:
    """Stands in for a picker."""

    checkpoint = Checkpoint({})

    def __init__(self, centres, logits):
        self.found = Detections(np.array(centres, float), np.full(len(logits), 12.0), np.array(logits, float))

    def detect(self, image):
        return self.found


def test_detections_are_matched_one_to_one_where_people_labelled():
    labels = np.array([[50.0, 50.0], [100.0, 50.0]])
    image = LabelledImage("m.mrc", (np.zeros((100, 200), np.float16),), (1.0,), labels, margin=20.0)
    #       on a label, its double, beside it by a radius and more, off every label, near the border
    centres = [[52, 50], [55, 50], [100, 63], [150, 50], [5, 50]]

    found = detect(Sees(centres, [2.0, 1.0, 3.0, 0.0, 4.0]), image)

    order = np.argsort(found.logits)
    assert found.logits[order].tolist() == [0, 2, 3, 4]
    assert found.hits[order].tolist() == [False, True, False, False]
    assert found.judged[order].tolist() == [True, True, True, False]
    assert found.labels.tolist() == labels.tolist()
    assert (found.radius, found.field) == (12, Field((19.5, 19.5), (160, 60)))
    assert found.centres[order].tolist() == [[150, 50], [52, 50], [100, 63], [5, 50]]


@pytest.mark.parametrize(("micrographs", "parts"), [(1, 9), (2, 8), (3, 12), (4, 16), (5, 5), (8, 8)])
def test_few_micrographs_are_compared_in_parts(micrographs, parts):
    seen = [drawn(400, 1.0, 0.0, 0.9, seed) for seed in range(micrographs)]

    found = agreement(seen, WEIGHTS)

    assert len(found.parts) == parts
    assert sum(found.parts, Counts()) == found.counts


def test_the_parts_of_a_micrograph_have_what_lies_in_them():
    """Nine detections, eight with labels, in the middles of nine parts; a label without one in the last part."""
    middles = np.stack(np.meshgrid([150, 450, 750], [150, 450, 750]), -1).reshape(-1, 2) + 50.0
    hits = np.arange(9) > 0
    labels = np.vstack([middles[hits], [[950.0, 950.0]]])
    one = Detected(np.full(9, 4.0), hits, np.ones(9, bool), middles, labels, 12.0, Field((50.0, 50.0), (900.0, 900.0)))

    found = agreement([one], WEIGHTS)

    assert found.parts == (Counts(1, 0, 0), *[Counts(1, 1, 1)] * 7, Counts(1, 2, 1))
    assert found.dice == pytest.approx(2 * 8 / 18, abs=0.01)
    assert found.chance == pytest.approx(2 * pairs_by_chance(middles, labels, 12, one.field) / 18)
