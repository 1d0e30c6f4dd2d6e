"""COCO's average precision: by hand, and the same as COCOeval's on whole micrographs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cryotx_cli.coordinates.coco_agreement import CocoPrecision, PicksAndTruth, coco_average_precision


def judged(picks, truth, scores, diameter_px=30.0):
    return PicksAndTruth(np.reshape(picks, (-1, 2)), np.reshape(truth, (-1, 2)), np.array(scores), diameter_px)


# Of the picks by falling score a hit, a miss and a hit: up to a recall of a half, 51 of COCO's 101 recalls, precision
# is 1, and from there on 2/3.
HIT_MISS_HIT = (51 + 50 * 2 / 3) / 101


def test_a_case_by_hand():
    found = coco_average_precision([judged([[100, 100], [500, 500], [200, 200]], [[100, 100], [200, 200]], [3, 2, 1])])
    assert found == CocoPrecision(pytest.approx(HIT_MISS_HIT), pytest.approx(HIT_MISS_HIT))


def test_a_shifted_pick_is_a_pair_up_to_its_overlap():
    # Boxes of 30 px, 3 px apart, share 27 and cover 33 of 30 px rows: .818, which seven of the ten thresholds take.
    exact = [[100, 100], [500, 500], [200, 200]]
    shifted = coco_average_precision([judged(np.add(exact, [3, 0]), [[100, 100], [200, 200]], [3, 2, 1])])
    assert shifted == CocoPrecision(pytest.approx(0.7 * HIT_MISS_HIT), pytest.approx(HIT_MISS_HIT))


def test_micrographs_share_one_ranking_and_have_their_own_diameters():
    first = judged([[100, 100]], [[100, 100]], [0.9], 30)
    second = judged([[40, 40], [200, 200]], [[200, 200]], [0.8, 0.7], 60)
    found = coco_average_precision([first, second])
    assert found == CocoPrecision(pytest.approx(HIT_MISS_HIT), pytest.approx(HIT_MISS_HIT))
    # 15 px are a half of 30 px, an overlap of a third, and a quarter of 60 px, one of .6.
    assert coco_average_precision([judged([[115, 100]], [[100, 100]], [1], 30)]).at_half == 0
    assert coco_average_precision([judged([[115, 100]], [[100, 100]], [1], 60)]).at_half == pytest.approx(1)


def test_without_truth_there_is_no_figure_and_without_picks_it_is_nought(capfd):
    assert coco_average_precision([judged([[1, 1]], [], [1])]) is None
    assert coco_average_precision([judged([], [], [])]) is None
    assert coco_average_precision([judged([], [[1, 1]], [])]) == CocoPrecision(0, 0)
    assert coco_average_precision([judged([[1, 1]], [[1, 1]], [1]), judged([], [], [])]).average == pytest.approx(1)
    assert capfd.readouterr() == ("", "")


def test_picks_beyond_coco_s_hundred_count():
    truth = np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2) * 40.0
    found = coco_average_precision([judged(truth, truth, np.linspace(1, 0, 400))])
    assert found == CocoPrecision(pytest.approx(1), pytest.approx(1))


def by_coco(micrographs):
    """COCOeval on whole micrographs; equal scores in the order of the picks."""
    images = [{"id": number} for number in range(len(micrographs))]
    annotations, results = [], []
    for number, one in enumerate(micrographs):
        side = one.diameter_px
        for x, y in one.truth.tolist():
            box = [x - side / 2, y - side / 2, side, side]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": box}
            annotations.append({**entry, "area": side**2, "iscrowd": 0})
        for (x, y), score in zip(one.picks.tolist(), one.scores.tolist(), strict=True):
            box = [x - side / 2, y - side / 2, side, side]
            results.append({"image_id": number, "category_id": 1, "bbox": box, "score": score})
    truth = COCO()
    truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.params.maxDets = [1, 10, len(results)]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, -1]
    return precision.mean(), precision[0].mean()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([100.0, 400.0]))
def test_parts_of_micrographs_give_what_whole_ones_give(seed, width):
    rng = np.random.default_rng(seed)
    micrographs = []
    for count in rng.integers(1, 40, 2):
        truth = rng.uniform(0, width, (count, 2))
        near = truth[rng.random(count) < 0.7]
        picks = np.vstack([near + rng.normal(0, 3, near.shape), rng.uniform(0, width, (rng.integers(1, 10), 2))])
        scores = np.round(rng.random(len(picks)), rng.integers(1, 4))
        micrographs.append(judged(picks, truth, scores, 20.0))
    found = coco_average_precision(micrographs)
    assert (found.average, found.at_half) == pytest.approx(by_coco(micrographs))
